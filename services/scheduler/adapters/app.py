"""The Faust application: which cells are ours, and their records in order.

Faust brings the group membership, the fetching and the flow control. Three things are made otherwise, because they
decide whether a kill can be seen in the verdicts (measured with kills in mid-stream):

- the consumer reads read_committed, which Faust does only with its own exactly_once;
- reading goes on where the cell's log says, not at the group's committed offsets, which only show the lag;
- all topics of a partition go to one member (range assignment), which is asserted at each assignment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from schemas.codec import MAX_EVENT_BYTES
from services.chassis.kafka import Incoming
from services.scheduler.adapters.intake import INPUT_TOPICS

APP_ID = "assize-scheduler"
Positions = Callable[[frozenset[int]], Awaitable[Mapping[tuple[str, int], int]]]
"""Takes over the cells of these partitions and says where to read each (topic, partition)."""


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        configuration = self.app.conf
        self._assignor = RangePartitionAssignor
        return AIOKafkaConsumer(
            client_id=configuration.broker_client_id,
            group_id=configuration.id,
            group_instance_id=configuration.consumer_group_instance_id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[RangePartitionAssignor],
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=None,
            max_poll_interval_ms=int(configuration.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=MAX_EVENT_BYTES,
            fetch_max_wait_ms=500,
            request_timeout_ms=int(configuration.broker_request_timeout * 1000),
            session_timeout_ms=int(configuration.broker_session_timeout * 1000),
            heartbeat_interval_ms=int(configuration.broker_heartbeat_interval * 1000),
        )


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Goes to where the cells' logs say.

        Faust also calls this for records that it fetched while partitions move: then it is left to the call that
        follows the new assignment, since taking a cell over here would fence the process that has it by now.
        """
        transport = cast("_Transport", self.transport)
        if not transport.is_settled:
            return
        assignment = self.assignment()
        cells = frozenset(partition.partition for partition in assignment)
        expected = {(topic.name, cell) for topic in INPUT_TOPICS for cell in cells}
        came = {(partition.topic, partition.partition) for partition in assignment}
        assert came == expected, f"expected all topics of a cell together, came {sorted(came ^ expected)} apart"
        positions = await transport.positions(cells)
        earliest = await self.earliest_offsets(*assignment)
        ends = await self.highwaters(*assignment)
        goals = {}
        for partition in assignment:
            goal = max(positions[partition.topic, partition.partition], earliest[partition])
            assert goal <= ends[partition], (
                f"expected {partition.topic}/{partition.partition} to reach offset {goal}, it ends at {ends[partition]}: "
                "the topic was made anew while the log of decisions was kept"
            )
            goals[TP(partition.topic, partition.partition)] = goal
        await self.seek_wait(goals)


class _Transport(driver.Transport):
    Consumer = _Consumer
    positions: Positions
    is_settled = False
    """False from the moment partitions are revoked until all of the new ones are known."""


def build_app(
    *,
    bootstrap: str,
    instance: str,
    data_dir: Path,
    positions: Positions,
    revoked: Callable[[], Awaitable[None]],
    deliver: Callable[[Incoming], Awaitable[None]],
) -> faust.App:
    """An application that delivers every record of our cells in the order of its partition."""
    app = faust.App(
        APP_ID,
        broker=[f"kafka://{address}" for address in bootstrap.split(",")],
        store="memory://",
        datadir=str(data_dir),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_wait_empty=False,
        consumer_group_instance_id=f"{APP_ID}-{instance}",
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_commit_interval=1.0,
        broker_max_poll_interval=60.0,
        stream_buffer_maxsize=1024,
    )
    transport = _Transport(app.conf.broker_consumer, app)
    transport.positions = positions
    app.transport = transport
    source = app.topic(
        *(topic.name for topic in INPUT_TOPICS),
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
    )

    async def hand_over(stream: Any) -> None:
        async for event in stream.events():
            await deliver(_incoming(event.message))

    async def give_up(_app: Any, /, *_partitions: Any, signal: Any, **_more: Any) -> None:
        del signal
        transport.is_settled = False
        await revoked()

    def settle(_app: Any, /, *_nothing: Any, signal: Any, **_more: Any) -> None:
        del signal
        transport.is_settled = True

    app.agent(source, concurrency=1, name="cells")(hand_over)
    app.on_partitions_revoked.connect(give_up, weak=False)
    app.on_rebalance_complete.connect(settle, weak=False)
    return app


def _incoming(message: Any) -> Incoming:
    headers = message.headers or ()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return Incoming(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value or b"",
        headers=tuple((name, value or b"") for name, value in pairs),
        timestamp_ms=int((message.timestamp or 0) * 1000),
    )


async def watch(app: faust.App) -> None:
    """Waits for the application to stop or crash, and raises: nobody but this process's end may stop it."""
    await app.wait_for_stopped()
    raise RuntimeError("the Faust application ended by itself") from app.crash_reason
