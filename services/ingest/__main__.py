"""The ingest process: puts the parts together and lives until it is told to stop."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

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


async def run(settings: IngestSettings, stopping: asyncio.Event) -> None:
    """Serves HTTP at once; admits as soon as the log is folded; then reads intake, too."""
    clock, counters = SystemClock(), Counters()
    tokens = TokenStore(settings.tokens_file)
    registry = Registry(remembered_requests=settings.remembered_requests)
    publisher = Publisher(settings.kafka_bootstrap, source=_SOURCE)
    blobs = FolderBlobStore(settings.blobs_dir)
    languages = load_recipes()
    admissions = Admissions(
        rules=Rules(
            limits=Limits(source_bytes=settings.source_limit_bytes, files=settings.files_limit),
            languages=languages,
            cell_count=settings.cell_count,
        ),
        registry=registry,
        publisher=publisher,
        blobs=blobs,
        clock=clock,
        counters=counters,
        pending_limit=settings.pending_limit,
    )
    announcements = Announcements(registry=registry, publisher=publisher, blobs=blobs, clock=clock)
    follower = Follower(
        settings.kafka_bootstrap,
        registry=registry,
        counters=counters,
        cell_count=settings.cell_count,
        remembered_requests=settings.remembered_requests,
    )
    intake = Intake(
        settings.kafka_bootstrap,
        tokens=tokens,
        admissions=admissions,
        publisher=publisher,
        clock=clock,
        counters=counters,
    )
    opened = asyncio.Event()

    async def ready() -> dict[str, Any]:
        is_folded = opened.is_set()
        return {"ready": is_folded, "registry": is_folded, "pending": admissions.pending_count}

    async def take_in() -> None:
        await publisher.start()
        await follower.caught_up.wait()
        await announcements.register_files(settings.contests_dir)
        opened.set()
        await intake.run(stopping)

    observe("assize_ingest_pending", "Submissions that wait for the brokers", lambda: [(admissions.pending_count, {})])
    observe("assize_ingest_remembered", "Idempotency keys in memory", lambda: [(len(registry.requests), {})])
    app = build_app(
        Parts(
            settings=settings,
            tokens=tokens,
            registry=registry,
            admissions=admissions,
            announcements=announcements,
            languages=languages,
            clock=clock,
            counters=counters,
            ready=ready,
        )
    )
    serving = asyncio.create_task(
        serve(
            app,
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
        await _finish(admissions, publisher)


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
