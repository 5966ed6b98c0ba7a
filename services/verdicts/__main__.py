"""The process of the verdict store: projector, publisher, board, HTTP and page in one loop."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from services.chassis.blobs import FolderBlobStore
from services.chassis.clock import SystemClock
from services.chassis.http import serve
from services.chassis.keys import TrustedKeys, root_ring
from services.chassis.lifecycle import run_service
from services.chassis.logs import logger
from services.chassis.tokens import TokenStore
from services.verdicts.adapters.access import Doorkeeper
from services.verdicts.adapters.api import make_app
from services.verdicts.adapters.database import connect_pool, migrate
from services.verdicts.adapters.hub import Activity, Hub
from services.verdicts.adapters.projector import Audience, BoardFollower, Projector, places, until_one_ends
from services.verdicts.adapters.publisher import TRANSACTIONAL_ID, Publisher
from services.verdicts.adapters.queries import Queries
from services.verdicts.adapters.readers import Readers
from services.verdicts.adapters.store import Store
from services.verdicts.adapters.streams import Streams
from services.verdicts.config import VerdictsSettings
from services.verdicts.core.board import Board

_POOL_CONNECTIONS = 8
_GRACE_SECONDS = 4.0


async def live(settings: VerdictsSettings, stopping: asyncio.Event) -> None:
    """Runs the service until `stopping`, which also ends the waiting for a peer at the start."""
    serving, told = asyncio.create_task(_serve(settings, stopping)), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
        # The HTTP door closes by itself when it is told, and everything else with it.
        await asyncio.wait({serving}, timeout=_GRACE_SECONDS)
    finally:
        told.cancel()
        serving.cancel()
        await asyncio.gather(serving, told, return_exceptions=True)
    if not serving.cancelled():
        serving.result()


async def _serve(settings: VerdictsSettings, stopping: asyncio.Event) -> None:
    """Everything in one loop.

    Raises:
        StartRefused: the database, the tokens, the keys or the log are not as they must be.
        Fenced: another process projects into the same schema.
    """
    clock = SystemClock()
    tokens = TokenStore(settings.state_dir / "tokens.json")
    trusted = TrustedKeys(root_ring(settings.keys_dir))
    pool = await connect_pool(settings.postgres_dsn, settings.schema_name, most=_POOL_CONNECTIONS)
    try:
        async with pool.acquire() as writing:
            logger().info("migrated", applied=await migrate(writing, settings.schema_name))
            store = Store(writing, trusted)
            followed = places(settings.cell_count)
            await store.open(followed)
            board = Board(silent_after_us=settings.silent_after_ms * 1000)
            hub = Hub(queue_messages=settings.stream_queue_messages)
            activity = Activity(pool, board, clock, queue_messages=settings.stream_queue_messages)
            publisher = Publisher(
                pool, bootstrap=settings.kafka_bootstrap, clock=clock, transactional_id=TRANSACTIONAL_ID
            )
            readers = Readers(settings.kafka_bootstrap, most_records=settings.batch_records)
            projector = Projector(
                store,
                readers,
                Audience(publisher=publisher, hub=hub, activity=activity, board=board),
                bootstrap=settings.kafka_bootstrap,
                clock=clock,
            )
            follower = BoardFollower(settings.kafka_bootstrap, board, activity, trusted, cell_count=settings.cell_count)
            doorkeeper, queries = Doorkeeper(tokens), Queries(pool, FolderBlobStore(settings.blobs_dir))
            streams = Streams(doorkeeper, queries, hub, activity, most_clients=settings.stream_clients)

            async def ready() -> dict[str, Any]:
                lags = readers.lags()
                return {
                    "ready": publisher.cursor is not None and len(lags) == len(followed),
                    "cursor": store.cursor,
                    "published_cursor": publisher.cursor,
                    "lag_records": sum(lags.values()),
                }

            app = make_app(
                doorkeeper=doorkeeper, queries=queries, streams=streams, board=board, clock=clock, ready=ready
            )
            door = serve(
                app,
                host=settings.http_host,
                port=settings.http_port,
                stopping=stopping,
                ws="websockets-sansio",
                ws_max_size=64 * 1024,
                ws_ping_interval=10.0,
                ws_ping_timeout=20.0,
            )
            running = [door, projector.run(), publisher.run(), activity.run(), follower.run()]
            running.extend(readers.follow(place, store.next[place]) for place in followed)
            await until_one_ends([asyncio.create_task(work) for work in running])
    finally:
        pool.terminate()


def main() -> int:
    return run_service(VerdictsSettings, live)


if __name__ == "__main__":
    sys.exit(main())
