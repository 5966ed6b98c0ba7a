"""Performs preflight: exceeds every limit in a real sandbox of an image. What is tried and expected is in the core."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, Protocol

from services.chassis.clock import Clock
from services.executor.core.faults import JudgeFault
from services.executor.core.ports import FolderLimits, Phase, RunRequest, Sandbox, SourceFile
from services.executor.core.preflight import (
    EXCEEDINGS,
    FOLDERS,
    PROBE_NAME,
    PROBE_PATH,
    SANDBOX_MEMORY_BYTES,
    SANDBOX_PROCESSES,
    Exceeding,
    Finding,
    PreflightReport,
    emptiness,
    tried,
    untried,
)

BUILT_PROBE: Final = Path(__file__).resolve().parent.parent / "runner" / "build" / "assize-probe"


class ProvableSandbox(Sandbox, Protocol):
    """A sandbox whose processes the host can count."""

    def processes(self) -> tuple[int, ...]:
        """The processes in it, the runner included."""


class ProvableIsolation(Protocol):
    """What preflight needs of a backend: the port, and sandboxes that can be looked into."""

    @property
    def name(self) -> str: ...

    async def create(
        self,
        *,
        image_digest: str,
        cpu: int | None,
        memory_limit_bytes: int,
        process_limit: int,
        folders: FolderLimits = ...,
    ) -> ProvableSandbox: ...


async def prove(
    isolation: ProvableIsolation, *, image_digest: str, clock: Clock, cpu: int | None = None, probe: Path = BUILT_PROBE
) -> PreflightReport:
    """Tries every limit once.

    Raises:
        JudgeFault: no sandbox could be made, or the probe is missing: nothing could even be tried.
    """
    try:
        content = await asyncio.to_thread(probe.read_bytes)
    except OSError as error:
        raise JudgeFault(
            f"expected the probe: {error}; `make runner` builds it", stage="preflight", retriable=False
        ) from error
    sandbox = await isolation.create(
        image_digest=image_digest,
        cpu=cpu,
        memory_limit_bytes=SANDBOX_MEMORY_BYTES,
        process_limit=SANDBOX_PROCESSES,
        folders=FOLDERS,
    )
    try:
        await sandbox.place([SourceFile(name=PROBE_NAME, content=content, executable=True)])
        await sandbox.seal()
        findings = [await _try(sandbox, each, clock) for each in EXCEEDINGS]
        findings.append(emptiness(len(sandbox.processes()), elapsed_ms=0.0))
    finally:
        await sandbox.destroy()
    return PreflightReport(image_digest=image_digest, isolation=isolation.name, findings=tuple(findings))


async def _try(sandbox: Sandbox, exceeding: Exceeding, clock: Clock) -> Finding:
    request = RunRequest(
        phase=Phase.TEST,
        argv=(PROBE_PATH, *exceeding.arguments),
        environment=(),
        limits=exceeding.run_limits(),
        stdin=None,
    )
    started_ns = clock.monotonic_ns()

    def elapsed_ms() -> float:
        return round((clock.monotonic_ns() - started_ns) / 1e6, 1)

    try:
        outcome = await sandbox.run(request)
    except JudgeFault as fault:
        return untried(exceeding, str(fault), elapsed_ms=elapsed_ms())
    return tried(exceeding, outcome, elapsed_ms=elapsed_ms())
