"""The input store on real memory files: one copy for each digest, within its budget, changed by nobody."""

from __future__ import annotations

import asyncio
import hashlib
import os

import pytest

from services.executor.adapters.inputs import SealedInputs, reader, seal
from services.executor.core.faults import JudgeFault


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Blobs:
    """What can be fetched, and how often it was."""

    def __init__(self, *contents: bytes) -> None:
        self.contents = {digest(each): each for each in contents}
        self.fetched: list[str] = []

    async def fetch(self, name: str) -> bytes:
        self.fetched.append(name)
        await asyncio.sleep(0)
        if name not in self.contents:
            raise FileNotFoundError(name)
        return self.contents[name]


def content_of(descriptor: int) -> bytes:
    return os.pread(descriptor, 1 << 20, 0)


async def test_input_is_fetched_once_however_many_hold_it() -> None:
    blobs = Blobs(b"one")
    store = SealedInputs(fetch=blobs.fetch, budget_bytes=100)

    async def hold() -> bytes:
        async with store.hold(digest(b"one")) as held:
            await asyncio.sleep(0)
            return content_of(held.descriptor)

    assert await asyncio.gather(*(hold() for _ in range(5))) == [b"one"] * 5
    assert blobs.fetched == [digest(b"one")]
    store.close()


async def test_budget_drops_what_was_used_longest_ago_and_never_what_is_in_use() -> None:
    contents = [bytes([65 + i]) * 40 for i in range(3)]
    blobs = Blobs(*contents)
    store = SealedInputs(fetch=blobs.fetch, budget_bytes=100)
    async with store.hold(digest(contents[0])) as first:
        for each in contents[1:]:
            async with store.hold(digest(each)):
                pass
        assert content_of(first.descriptor) == contents[0]
        assert store.held_bytes == 80
    for each in (contents[0], contents[2]):
        async with store.hold(digest(each)):
            pass
    assert len(blobs.fetched) == 3
    async with store.hold(digest(contents[1])):
        pass
    assert len(blobs.fetched) == 4
    store.close()


async def test_input_beyond_the_budget_serves_and_goes() -> None:
    store = SealedInputs(fetch=Blobs(b"x" * 50).fetch, budget_bytes=10)
    async with store.hold(digest(b"x" * 50)) as held:
        assert held.size_bytes == 50
    assert store.held_bytes == 0
    store.close()


async def test_missing_or_false_bytes_are_our_fault_and_are_not_kept() -> None:
    blobs = Blobs()
    store = SealedInputs(fetch=blobs.fetch, budget_bytes=10)
    with pytest.raises(JudgeFault, match=r"input sha256:"):
        async with store.hold(digest(b"missing")):
            pass
    blobs.contents[digest(b"true")] = b"false"
    with pytest.raises(JudgeFault, match=r"expected the input sha256:"):
        async with store.hold(digest(b"true")):
            pass
    blobs.contents[digest(b"true")] = b"true"
    async with store.hold(digest(b"true")) as held:
        assert content_of(held.descriptor) == b"true"
    store.close()


def test_sealed_bytes_cannot_be_changed_and_readers_have_their_own_offset() -> None:
    sealed = seal(b"abcdef")
    for attempt in (
        lambda: os.pwrite(sealed.descriptor, b"x", 0),
        lambda: os.ftruncate(sealed.descriptor, 1),
        lambda: os.ftruncate(sealed.descriptor, 99),
    ):
        with pytest.raises(PermissionError):
            attempt()
    first, second = reader(sealed), reader(sealed)
    assert (os.read(first, 3), os.read(second, 4), os.read(first, 9)) == (b"abc", b"abcd", b"def")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(first, b"x")
    for descriptor in (first, second, sealed.descriptor):
        os.close(descriptor)
