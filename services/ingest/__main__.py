"""The ingest process: puts the parts together and lives until it is told to stop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from deploy.images.recipe import load_recipes
from services.chassis.blobs import FolderBlobStore
from services.chassis.clock import SystemClock
from services.chassis.http import serve
from services.chassis.lifecycle import run_service
from services.chassis.tokens import TokenStore
from services.ingest.adapters.admissions import Admissions
from services.ingest.adapters.announcements import Announcements
from services.ingest.adapters.connections import ImpatientProtocol
from services.ingest.adapters.counters import Counters, observe
from services.ingest.adapters.follower import Follower
from services.ingest.adapters.http import Parts, build_app
from services.ingest.adapters.intake import Intake
from services.ingest.adapters.publisher import Publisher
from services.ingest.config import IngestSettings
from services.ingest.core.admission import Rules
from services.ingest.core.registry import Registry
from services.ingest.core.rules import Limits

_KEEP_ALIVE_SECONDS = 30
_DRAIN_SECONDS = 5.0
_SOURCE = "/assize/ingest"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """The parts that live as long as the process."""

    settings: IngestSettings
    clock: SystemClock
    counters: Counters
    tokens: TokenStore
    registry: Registry
    publisher: Publisher
    admissions: Admissions
    announcements: Announcements
    rules: Rules

    @classmethod
    def of(cls, settings: IngestSettings) -> _Process:
        clock, counters = SystemClock(), Counters()
        registry = Registry(remembered_requests=settings.remembered_requests)
        publisher = Publisher(settings.kafka_bootstrap, source=_SOURCE)
        blobs = FolderBlobStore(settings.blobs_dir)
        rules = Rules(
            limits=Limits(source_bytes=settings.source_limit_bytes, files=settings.files_limit),
            languages=load_recipes(),
            cell_count=settings.cell_count,
        )
        admissions = Admissions(
            rules=rules,
            registry=registry,
            publisher=publisher,
            blobs=blobs,
            clock=clock,
            counters=counters,
            pending_limit=settings.pending_limit,
        )
        return cls(
            settings=settings,
            clock=clock,
            counters=counters,
            tokens=TokenStore(settings.tokens_file),
            registry=registry,
            publisher=publisher,
            admissions=admissions,
            announcements=Announcements(registry=registry, publisher=publisher, blobs=blobs, clock=clock),
            rules=rules,
        )

    def follower(self) -> Follower:
        return Follower(
            self.settings.kafka_bootstrap,
            registry=self.registry,
            counters=self.counters,
            cell_count=self.settings.cell_count,
            remembered_requests=self.settings.remembered_requests,
        )

    def intake(self) -> Intake:
        return Intake(
            self.settings.kafka_bootstrap,
            tokens=self.tokens,
            admissions=self.admissions,
            publisher=self.publisher,
            clock=self.clock,
            counters=self.counters,
        )

    def app(self, ready: Callable[[], Awaitable[dict[str, Any]]]) -> FastAPI:
        return build_app(
            Parts(
                settings=self.settings,
                tokens=self.tokens,
                registry=self.registry,
                admissions=self.admissions,
                announcements=self.announcements,
                languages=self.rules.languages,
                clock=self.clock,
                counters=self.counters,
                ready=ready,
            )
        )


async def run(settings: IngestSettings, stopping: asyncio.Event) -> None:
    """Serves HTTP at once; admits as soon as the log is folded; then reads intake, too."""
    process = _Process.of(settings)
    admissions, registry = process.admissions, process.registry
    follower, intake = process.follower(), process.intake()
    opened = asyncio.Event()

    async def ready() -> dict[str, Any]:
        is_folded = opened.is_set()
        return {"ready": is_folded, "registry": is_folded, "pending": admissions.pending_count}

    async def take_in() -> None:
        await process.publisher.start()
        await follower.caught_up.wait()
        await process.announcements.register_files(settings.contests_dir)
        opened.set()
        await intake.run(stopping)

    observe("assize_ingest_pending", "Submissions that wait for the brokers", lambda: [(admissions.pending_count, {})])
    observe("assize_ingest_remembered", "Idempotency keys in memory", lambda: [(len(registry.requests), {})])
    serving = asyncio.create_task(
        serve(
            process.app(ready),
            host=settings.http_host,
            port=settings.http_port,
            stopping=stopping,
            http=ImpatientProtocol,
            limit_concurrency=settings.connections_limit,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
    )
    following, taking = asyncio.create_task(follower.run()), asyncio.create_task(take_in())
    try:
        # Whichever ends first ends the process: told to stop, or with the error that the lifecycle reports.
        done, _ = await asyncio.wait({serving, following, taking}, return_when=asyncio.FIRST_COMPLETED)
        stopping.set()
        await serving
        await _end(taking, after_seconds=_DRAIN_SECONDS)
        for task in done:
            task.result()
    finally:
        await _end(following, after_seconds=0)
        await _end(taking, after_seconds=0)
        await _finish(admissions, process.publisher)


async def _end(task: asyncio.Task[None], *, after_seconds: float) -> None:
    """Lets a task finish for a while, then cancels it; its error is told elsewhere."""
    await asyncio.wait({task}, timeout=after_seconds)
    task.cancel()
    await asyncio.wait({task})


async def _finish(admissions: Admissions, publisher: Publisher) -> None:
    """Gives the brokers a last moment for what was sent; nobody was told yet that it is taken."""
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            await admissions.drain()
            await publisher.stop()
    except TimeoutError:
        return


def main() -> int:
    """Entry of `python -m services.ingest`; returns the exit code."""
    return run_service(IngestSettings, run)


if __name__ == "__main__":
    sys.exit(main())
