"""Test inputs as sealed memory files: written once, readable by any number of runs at a time, changed by none.

A run gets a descriptor of its own (an offset of its own) on the same pages: no copy, and nothing that counts as the
sandbox's memory. The budget bounds what is kept beyond what is in use.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from services.executor.core.faults import JudgeFault
from services.executor.core.ports import SealedInput

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

Fetch = Callable[[str], Awaitable[bytes]]
"""Gives the bytes that a digest names. Raises JudgeFault or OSError when they cannot be had."""


@dataclass(slots=True, kw_only=True)
class _Kept:
    input: SealedInput
    holders: int = 0


class SealedInputs:
    """The input store of one executor; on one event loop."""

    def __init__(self, *, fetch: Fetch, budget_bytes: int) -> None:
        self._fetch = fetch
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._fetching: dict[str, asyncio.Lock] = {}

    @property
    def held_bytes(self) -> int:
        """Bytes of all inputs in memory, in use or not."""
        return sum(each.input.size_bytes for each in self._kept.values())

    @asynccontextmanager
    async def hold(self, digest: str) -> AsyncIterator[SealedInput]:
        """See `ports.InputStore.hold`."""
        kept = self._kept.get(digest) or await self._load(digest)
        kept.holders += 1
        self._kept.move_to_end(digest)
        try:
            yield kept.input
        finally:
            kept.holders -= 1
            self._shrink()

    def close(self) -> None:
        """Gives all inputs up. None may be in use."""
        for kept in self._kept.values():
            os.close(kept.input.descriptor)
        self._kept.clear()

    async def _load(self, digest: str) -> _Kept:
        async with self._fetching.setdefault(digest, asyncio.Lock()):
            try:
                if (kept := self._kept.get(digest)) is not None:
                    return kept
                try:
                    content = await self._fetch(digest)
                except OSError as error:
                    raise JudgeFault(f"input {digest}: {error}", stage="input", retriable=True) from error
                found = f"sha256:{await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())}"
                if found != digest:
                    raise JudgeFault(f"expected the input {digest}, got {found}", stage="input", retriable=True)
                kept = _Kept(input=await asyncio.to_thread(seal, content))
                self._kept[digest] = kept
                return kept
            finally:
                self._fetching.pop(digest, None)

    def _shrink(self) -> None:
        excess = self.held_bytes - self._budget_bytes
        for digest, kept in list(self._kept.items()):
            if excess <= 0:
                return
            if kept.holders == 0:
                os.close(kept.input.descriptor)
                del self._kept[digest]
                excess -= kept.input.size_bytes


def seal(content: bytes) -> SealedInput:
    """Bytes as a sealed memory file. The caller closes its descriptor.

    Raises:
        JudgeFault: the memory for it could not be had.
    """
    descriptor = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        # Readable by all and writable by none: a program that opens its own standard input anew cannot write, and
        # cannot touch the times either, which the next program could read.
        os.fchmod(descriptor, 0o444)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError as error:
        os.close(descriptor)
        raise JudgeFault(f"{len(content)} bytes of input: {error}", stage="input", retriable=True) from error
    return SealedInput(descriptor=descriptor, size_bytes=len(content))


def reader(sealed: SealedInput) -> int:
    """A new read-only descriptor at offset zero. The caller closes it."""
    return os.open(f"/proc/self/fd/{sealed.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
