"""The loop that moves the log into Postgres, and tells those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiokafka.structs import TopicPartition
from opentelemetry.metrics import CallbackOptions, Observation

from schemas.codec import decode_as, schema_of
from schemas.errors import PoisonEvent
from schemas.events import CapacityReported, QueueReported
from schemas.topics import CAPACITY, DECISIONS, JUDGEMENTS, KEYS
from services.chassis.clock import Clock
from services.chassis.kafka import Incoming, read_to_end, start_consumer, verify_incoming
from services.chassis.keys import TrustedKeys
from services.chassis.logs import logger
from services.chassis.telemetry import meter, span
from services.verdicts.adapters.hub import Activity, Hub
from services.verdicts.adapters.publisher import Publisher
from services.verdicts.adapters.readers import Readers
from services.verdicts.adapters.store import Place, Projected, Store, record_of
from services.verdicts.core.acceptance import PROJECTED, Believed, Refused, check_event
from services.verdicts.core.board import Board

_LOOK_BACK_RECORDS = 200


def places(cell_count: int) -> tuple[Place, ...]:
    """Every topic partition that is projected, keys first."""
    return tuple(
        (topic.name, partition) for topic in PROJECTED for partition in range(topic.partition_count(cell_count))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Who is told of a committed batch."""

    publisher: Publisher
    hub: Hub
    activity: Activity
    board: Board


class Projector:
    """Takes what the readers bring and applies it to the store, batch by batch."""

    def __init__(self, store: Store, readers: Readers, audience: Audience, *, bootstrap: str, clock: Clock) -> None:
        self._store = store
        self._readers = readers
        self._audience = audience
        self._bootstrap = bootstrap
        self._clock = clock
        self._projected = meter().create_counter("assize_verdicts_events_projected", description="Records projected")
        self._parked = meter().create_counter("assize_verdicts_parked", description="Records not believed, by code")
        self._alarms = meter().create_counter("assize_verdicts_alarms", description="What a person must look at")
        self._latency = meter().create_histogram(
            "assize_verdicts_verdict_latency", unit="s", description="From the conclusion to the committed verdict"
        )
        self._batches = meter().create_histogram("assize_verdicts_batch_records", description="Records a transaction")
        meter().create_observable_gauge(
            "assize_verdicts_lag_records", [self._observe_lag], description="Records committed and not yet read"
        )

    async def run(self) -> None:
        """Projects until cancelled.

        Raises:
            Fenced: another process has taken over.
        """
        while True:
            batch = await self._with_missing_keys(await self._readers.batch())
            projected = await self._store.apply(batch)
            if projected.records:
                self._tell(projected)

    async def _with_missing_keys(self, batch: Sequence[Incoming]) -> Sequence[Incoming]:
        """A key is published before it signs, but lies on another topic: reads on there before a record is parked."""
        if all(self._store.knows_key(entry) for entry in batch if entry.topic == JUDGEMENTS.name):
            return batch
        start = self._store.next[KEYS.name, 0]
        return [*await read_to_end(self._bootstrap, KEYS.name, [0], start={0: start}), *batch]

    def _tell(self, projected: Projected) -> None:
        sheet, audience = projected.sheet, self._audience
        now_us = self._clock.now_us()
        if sheet.changes:
            audience.publisher.wake()
            audience.hub.push(sheet.changes)
        for change in sheet.changes:
            with span("verdicts.project", traceparent=change.traceparent, cursor=change.cursor):
                self._latency.record(max(0, now_us - change.judged_at_us) / 1e6)
        for submission_id in sheet.touched_submissions:
            audience.activity.touch(sheet.submissions[submission_id].tenant, submission_id)
        self._feed_board(projected.came)
        self._projected.add(projected.records)
        self._batches.record(projected.records)
        for parked in sheet.parked:
            self._parked.add(1, {"code": parked.code})
            logger().warning(
                "record_parked",
                topic=parked.topic,
                partition=parked.partition,
                offset=parked.offset,
                code=parked.code,
                reason=parked.reason,
            )
        for alarm in sheet.alarms:
            self._alarms.add(1, {"code": alarm.code})
            logger().error(
                "alarm",
                topic=alarm.topic,
                partition=alarm.partition,
                offset=alarm.offset,
                code=alarm.code,
                event_id=alarm.event_id,
                detail=alarm.detail,
            )

    def _feed_board(self, came: Iterable[Believed | Refused]) -> None:
        for entry in came:
            if not (isinstance(entry, Believed) and isinstance(entry.event, QueueReported)):
                continue
            if self._audience.board.take_queue(entry.event):
                self._audience.activity.touch_board()

    def _observe_lag(self, _options: CallbackOptions) -> Iterable[Observation]:
        lags: dict[str, int] = {}
        for (topic, _), lag in self._readers.lags().items():
            lags[topic] = lags.get(topic, 0) + lag
        return [Observation(lag, {"topic": topic}) for topic, lag in sorted(lags.items())]


class BoardFollower:
    """Follows capacity reports from shortly before the end; the past of the board is of no use to anyone."""

    def __init__(
        self, bootstrap: str, board: Board, activity: Activity, trusted: TrustedKeys, *, cell_count: int
    ) -> None:
        self._bootstrap = bootstrap
        self._board = board
        self._activity = activity
        self._trusted = trusted
        self._cells = range(cell_count)
        self._refused = meter().create_counter("assize_verdicts_reports_refused", description="Capacity not believed")

    async def run(self) -> None:
        await self._look_back_for_queues()
        consumer = await start_consumer(self._bootstrap)
        try:
            partitions = [TopicPartition(CAPACITY.name, cell) for cell in self._cells]
            await self._seek_back(consumer, partitions)
            while True:
                came = await consumer.getmany(timeout_ms=1000)
                changed = [self._take(Incoming.of(message)) for messages in came.values() for message in messages]
                if any(changed):
                    self._activity.touch_board()
        finally:
            await consumer.stop()

    async def _look_back_for_queues(self) -> None:
        """The last queue report may lie just before where the projection goes on."""
        consumer = await start_consumer(self._bootstrap)
        try:
            partitions = [TopicPartition(DECISIONS.name, cell) for cell in self._cells]
            ends = await self._seek_back(consumer, partitions)
            while any([await consumer.position(place) < ends[place] for place in partitions]):
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    for message in messages:
                        self._take_queue(message.value or b"")
        finally:
            await consumer.stop()
        self._activity.touch_board()

    async def _seek_back(self, consumer: object, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        consumer.assign(partitions)  # type: ignore[attr-defined]  # aiokafka ships no types
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)  # type: ignore[attr-defined]
        begins = await consumer.beginning_offsets(partitions)  # type: ignore[attr-defined]
        for place in partitions:
            consumer.seek(place, max(begins[place], ends[place] - _LOOK_BACK_RECORDS))  # type: ignore[attr-defined]
        return ends

    def _take(self, incoming: Incoming) -> bool:
        try:
            verify_incoming(incoming, self._trusted.ring)
            event = decode_as(incoming.value, CapacityReported)
            check_event(record_of(incoming), event)
        except PoisonEvent as error:
            self._refused.add(1, {"code": error.code})
            logger().debug("report_refused", offset=incoming.offset, code=error.code, reason=str(error))
            return False
        assert isinstance(event, CapacityReported)
        return self._board.take_capacity(event)

    def _take_queue(self, value: bytes) -> None:
        try:
            if schema_of(value).name != QueueReported.__name__:
                return
            event = decode_as(value, QueueReported)
        except PoisonEvent:
            return  # The projector parks it and says so.
        assert isinstance(event, QueueReported)
        self._board.take_queue(event)


async def until_one_ends(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Waits until one of the tasks ends, then ends all of them.

    Raises:
        Exception: what ended that task.
    """
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
