"""The ports of the executor: what judging needs from isolation, and nothing about how it is done.

`services.executor.core` decides with these types; `services.executor.adapters` implement them (containers
now; gVisor and microVM speak the same runner protocol). What a contestant's program does is a value here
(`RunOutcome`), never an exception; what we fail to do is a `JudgeFault`.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


class Phase(enum.StrEnum):
    """What a run is for: compiling writes the artifact folder, a test run may only read it."""

    COMPILE = "COMPILE"
    TEST = "TEST"


class Ending(enum.StrEnum):
    """How the run's first process ended."""

    EXITED = "EXITED"
    SIGNALED = "SIGNALED"
    STOPPED_BY_LIMIT = "STOPPED_BY_LIMIT"
    """The runner stopped it because a limit expired; `RunOutcome.limit_expired` names which."""
    NOT_STARTED = "NOT_STARTED"
    """`argv[0]` could not be executed (missing, not executable, no program at all); standard error says why.
    Of a file in the artifact folder that is the program's doing, of a file in the image it is ours."""
    SANDBOX_LOST = "SANDBOX_LOST"
    """The whole sandbox ended (out of memory took the runner). The sandbox is of no further use."""


class Limit(enum.StrEnum):
    """Which limit was exceeded in a run."""

    NONE = "NONE"
    CPU_TIME = "CPU_TIME"
    WALL_TIME = "WALL_TIME"
    MEMORY = "MEMORY"
    OUTPUT = "OUTPUT"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Limits of one run. All are positive and are enforced by the sandbox, not trusted to the program."""

    cpu_time_limit_ns: int
    wall_time_limit_ns: int
    memory_limit_bytes: int
    """Of the whole cgroup, tmpfs pages included; no swap."""
    output_limit_bytes: int
    """Standard output; one byte more is `Limit.OUTPUT`."""
    error_kept_bytes: int
    """Standard error is kept up to this (head and tail), the rest is read, counted and dropped."""
    process_limit: int
    """Processes and threads of the program, the first one included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedInput:
    """Bytes for a run's standard input: a sealed memfd owned by the input store, shared by all runs of a test."""

    descriptor: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file of the submission, placed flat in the artifact folder. `name` was validated at admission."""

    name: str
    content: bytes
    executable: bool = False
    """For programs of ours that are placed ready-made (a compiled validator, the preflight's probe)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One execution inside a claimed sandbox. `argv[0]` is an absolute path in the image or artifact folder."""

    phase: Phase
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    limits: RunLimits
    stdin: SealedInput | None
    """None is an empty standard input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The kept part of a stream: whole when `len(head) + len(tail) == length_bytes`."""

    head: bytes
    tail: bytes
    length_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """What the sandbox saw of one run. Never called a verdict."""

    ending: Ending
    exit_code: int | None
    signal: int | None
    limit_expired: Limit
    cpu_time_ns: int
    """From the cgroup account, never from rusage (which a program can forge)."""
    wall_time_ns: int
    memory_peak_bytes: int
    """Peak of the cgroup during this run, less what the idle sandbox holds."""
    stdout: bytes
    """At most `output_limit_bytes`."""
    stdout_length_bytes: int
    """True length as far as it was read; more than the limit when `limit_expired` is OUTPUT."""
    stderr: Kept
    stopped_processes: int
    """Processes left when the first one had ended (or the limit expired), stopped by the sweep."""
    runnable_wait_ns: int
    """How long the first process's first thread was ready and had no CPU; 0 where the host cannot tell."""
    refused_calls: int
    """System calls that seccomp refused, where the host can count them; else 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderLimits:
    """What each writable folder of a sandbox may hold, fixed when the sandbox is made. Pages count as its memory."""

    artifact_bytes: int
    artifact_inodes: int
    work_bytes: int
    work_inodes: int
    """The same holds for the temporary folder, which is a file system of its own."""


DEFAULT_FOLDER_LIMITS = FolderLimits(
    artifact_bytes=256 * 1024 * 1024, artifact_inodes=4096, work_bytes=64 * 1024 * 1024, work_inodes=1024
)


class InputStore(Protocol):
    """Test inputs as sealed memory, one per digest however many runs read it, within a budget of bytes."""

    def hold(self, digest: str) -> AbstractAsyncContextManager[SealedInput]:
        """The input named `digest` (`sha256:<64 hex>`), fetched if it is not held yet.

        The descriptor stays valid inside the block, so the block must outlast the run that was given it.

        Raises:
            JudgeFault: the bytes could not be had, or are not those that the digest names.
        """


class Sandbox(Protocol):
    """One claimed sandbox; used by one submission, then destroyed. Not safe for concurrent callers."""

    @property
    def sandbox_id(self) -> str: ...

    @property
    def image_digest(self) -> str: ...

    async def pin(self, cpu: int) -> None:
        """Binds everything in the sandbox to one CPU of the host: a warm sandbox learns its slot when it is claimed.

        Raises:
            JudgeFault: it could not be bound.
        """

    async def place(self, files: Sequence[SourceFile]) -> None:
        """Writes the files into the artifact folder (`ARTIFACT_FOLDER`), before anything ran.

        Raises:
            JudgeFault: the sandbox did not take them.
        """

    def run(self, request: RunRequest) -> Awaitable[RunOutcome]:
        """Queues a run; runs go in the order of the calls. At most two may be outstanding (pipelining).

        The outcome is awaited to its end even if nobody wants it any more: cancelling the awaitable leaves the
        sandbox good only for `destroy`.

        Raises:
            JudgeFault: when awaited, the sandbox answered nothing, or nothing that can be believed.
        """

    async def seal(self) -> None:
        """Makes the artifact folder read-only for every later run, whatever modes the compiler left.

        Compile runs come before it and test runs after it, also where a language compiles nothing: the runner
        refuses any other order. Waits for the runs before it.

        Raises:
            JudgeFault: the folder could not be sealed.
        """

    async def destroy(self) -> None:
        """Removes the sandbox and everything in it. Never raises; idempotent."""


class Isolation(Protocol):
    """A backend that makes sandboxes of language images."""

    @property
    def name(self) -> str:
        """`container`, `gvisor` or `microvm`."""

    async def create(
        self,
        *,
        image_digest: str,
        cpu: int | None,
        memory_limit_bytes: int,
        process_limit: int,
        folders: FolderLimits = DEFAULT_FOLDER_LIMITS,
    ) -> Sandbox:
        """Starts a fresh sandbox whose runner has answered; `cpu` pins it.

        `memory_limit_bytes` and `process_limit` bound the sandbox as a whole; `RunLimits` bound each run within.

        Raises:
            JudgeFault: no sandbox could be made. Nothing is left behind.
        """

    async def remove_orphans(self) -> int:
        """Removes sandboxes that a dead executor of the same name left, and says how many."""

    async def close(self) -> None: ...


ARTIFACT_FOLDER = "/box"
"""In the sandbox: sources and what the compiler makes of them. Read-only to test runs."""
WORK_FOLDER = "/work"
"""In the sandbox: the current folder of every test run; empty at its start."""
