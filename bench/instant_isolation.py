"""Executors that judge instantly: a verified in-memory `Isolation`, for measuring and testing everything around it.

It keeps the port's contract (a sandbox is fresh, serves one submission, wants place, compile, seal, test in that order,
holds at most two runs, and is destroyed), and refuses what breaks it with an assertion. What a run does is a function
of the caller's: by default a program that copies its input, so that a problem whose answers are its inputs is AC.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from services.chassis.blobs import BlobMissing, BlobStore
from services.executor.adapters.warm import LanguageImage, PoolProof
from services.executor.core.faults import JudgeFault
from services.executor.core.ports import (
    DEFAULT_FOLDER_LIMITS,
    Ending,
    FolderLimits,
    Kept,
    Limit,
    Phase,
    RunOutcome,
    RunRequest,
    Sandbox,
    SealedInput,
    SourceFile,
)

Program = Callable[[RunRequest, Sequence[SourceFile], bytes], RunOutcome]
"""What a run does: the request, the placed files, the standard input."""


def exited(stdout: bytes = b"", *, exit_code: int = 0, stderr: bytes = b"", cpu_time_ns: int = 1_000_000) -> RunOutcome:
    """An outcome of a program that ended by itself."""
    return RunOutcome(
        ending=Ending.EXITED,
        exit_code=exit_code,
        signal=None,
        limit_expired=Limit.NONE,
        cpu_time_ns=cpu_time_ns,
        wall_time_ns=cpu_time_ns,
        memory_peak_bytes=1024 * 1024,
        stdout=stdout,
        stdout_length_bytes=len(stdout),
        stderr=Kept(head=stderr, tail=b"", length_bytes=len(stderr)),
        stopped_processes=0,
        runnable_wait_ns=0,
        refused_calls=0,
    )


def copies_its_input(request: RunRequest, _files: Sequence[SourceFile], stdin: bytes) -> RunOutcome:
    return exited() if request.phase is Phase.COMPILE else exited(stdin)


class InstantInputs:
    """Inputs as descriptors of memory files; every hold makes and closes one."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self.held = 0

    @asynccontextmanager
    async def hold(self, digest: str) -> AsyncIterator[SealedInput]:
        try:
            data = await self._blobs.get(digest)
        except BlobMissing as error:
            raise JudgeFault(str(error), stage="data", retriable=True) from error
        descriptor = os.memfd_create("input")
        self.held += 1
        try:
            os.write(descriptor, data)
            yield SealedInput(descriptor=descriptor, size_bytes=len(data))
        finally:
            self.held -= 1
            os.close(descriptor)


@dataclass(slots=True, kw_only=True, eq=False)
class InstantSandbox:
    """One sandbox; asserts that it is used as the port says."""

    sandbox_id: str
    image_digest: str
    made_by: InstantIsolation
    cpu: int | None = None
    files: tuple[SourceFile, ...] = ()
    outstanding: int = 0
    is_placed: bool = False
    is_sealed: bool = False
    is_destroyed: bool = False
    fault: JudgeFault | None = None
    ran: list[Phase] = field(default_factory=list)

    def dies(self, fault: JudgeFault) -> None:
        """Lets everything that is asked of this sandbox end in a fault."""
        self.fault = fault

    async def pin(self, cpu: int) -> None:
        assert not self.ran, "a sandbox is pinned before anything ran"
        self.cpu = cpu

    async def place(self, files: Sequence[SourceFile]) -> None:
        assert not self.is_destroyed, "a destroyed sandbox is used"
        assert not self.is_placed, "a sandbox serves one submission"
        if self.fault is not None:
            raise self.fault
        self.files = tuple(files)
        self.is_placed = True

    def run(self, request: RunRequest) -> Awaitable[RunOutcome]:
        assert not self.is_destroyed, "a destroyed sandbox is used"
        assert self.outstanding < 2, "a sandbox holds at most two runs"
        assert self.is_sealed is (request.phase is Phase.TEST), f"{request.phase} came on the wrong side of the seal"
        self.outstanding += 1
        self.ran.append(request.phase)
        return asyncio.ensure_future(self._run(request))

    async def _run(self, request: RunRequest) -> RunOutcome:
        try:
            stdin = b""
            if request.stdin is not None:
                stdin = os.pread(request.stdin.descriptor, request.stdin.size_bytes, 0)
            if self.made_by.before_run is not None:
                await self.made_by.before_run(request)
            if self.fault is not None:
                raise self.fault
            return self.made_by.program(request, self.files, stdin)
        finally:
            self.outstanding -= 1

    async def seal(self) -> None:
        assert self.outstanding == 0, "sealing waits for the runs before it"
        self.is_sealed = True

    async def destroy(self) -> None:
        if not self.is_destroyed:
            self.is_destroyed = True
            self.made_by.alive.discard(self)


class InstantIsolation:
    """Makes sandboxes in memory. `alive` are those that nobody destroyed yet, `made` counts all."""

    name = "container"

    def __init__(self, program: Program = copies_its_input) -> None:
        self.program = program
        self.alive: set[InstantSandbox] = set()
        self.made = 0
        self.fault: JudgeFault | None = None
        """Set it to let the engine be down."""
        self.before_run: Callable[[RunRequest], Awaitable[None]] | None = None
        """Set it to hold runs up."""

    async def create(
        self,
        *,
        image_digest: str,
        cpu: int | None,
        memory_limit_bytes: int,
        process_limit: int,
        folders: FolderLimits = DEFAULT_FOLDER_LIMITS,
    ) -> Sandbox:
        assert min(memory_limit_bytes, process_limit, folders.work_bytes) > 0, "limits are positive"
        if self.fault is not None:
            raise self.fault
        self.made += 1
        sandbox = InstantSandbox(
            sandbox_id=f"instant-{self.made}",
            image_digest=image_digest,
            made_by=self,
            cpu=cpu,
        )
        self.alive.add(sandbox)
        return sandbox

    async def remove_orphans(self) -> int:
        if self.fault is not None:
            raise self.fault
        return 0

    async def close(self) -> None:
        return


async def prove_nothing(_language: str, _image: LanguageImage) -> PoolProof:
    """The proof of a backend that runs nothing: there is no limit to exceed."""
    return PoolProof(holds=True, reason="", digest="sha256:" + "0" * 64)
