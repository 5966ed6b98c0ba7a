"""Writes `VerdictRecorded` for every verdict change, in cursor order, once.

The producer is transactional with one fixed id, so a zombie is fenced and its open transaction aborted when the next
one starts. Where to go on is read from the end of the topic itself: the transaction that wrote a cursor wrote it to
both topics or to none. The `publication` row only tells people how far that is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.structs import TopicPartition

from schemas.codec import decode_as
from schemas.errors import PoisonEvent
from schemas.events import Verdict, VerdictCause, VerdictRecorded
from schemas.topics import VERDICTS, VERDICTS_LATEST
from services.chassis.clock import Clock
from services.chassis.faults import StartRefused
from services.chassis.kafka import EventWriter, Outgoing, start_consumer, start_producer
from services.chassis.logs import logger
from services.chassis.telemetry import meter, span
from services.verdicts.adapters.database import queries
from services.verdicts.core.rows import ChangeRow

TRANSACTIONAL_ID = "assize-verdicts-publisher"
_BATCH_CHANGES = 200
_LOOK_BACK_RECORDS = 64


class Publisher:
    """`run` it; `wake` it after each commit; `cursor` is the highest published one."""

    def __init__(self, pool: Any, *, bootstrap: str, clock: Clock, transactional_id: str) -> None:
        self._pool: asyncpg.Pool[asyncpg.Record] = pool
        self._bootstrap = bootstrap
        self._clock = clock
        self._transactional_id = transactional_id
        self._awake = asyncio.Event()
        self._sql = queries("projection")
        self.cursor: int | None = None
        """None until the end of the topic was read."""
        self._latency = meter().create_histogram(
            "assize_verdicts_publication", unit="s", description="From the conclusion to the verdict on its topic"
        )
        self._count = meter().create_counter("assize_verdicts_published", description="VerdictRecorded written")

    def wake(self) -> None:
        self._awake.set()

    async def run(self) -> None:
        """Publishes until cancelled; a broker that goes away is waited for.

        Raises:
            ProducerFenced: another process publishes.
            StartRefused: the topic holds other verdicts than this database.
        """
        while True:
            producer = await start_producer(self._bootstrap, transactional_id=self._transactional_id)
            try:
                await self._follow(producer)
            except ProducerFenced:
                raise
            except KafkaError as error:
                logger().warning("publication_interrupted", error=repr(error))
                await asyncio.sleep(0.2)
            finally:
                await _stop(producer)

    async def _follow(self, producer: Any) -> None:
        writer = EventWriter(producer, source="/assize/verdicts")
        last = await last_published(self._bootstrap)
        self.cursor = 0 if last is None else last.cursor
        if last is not None:
            await self._check(last)
        logger().info("publication_resumed", cursor=self.cursor)
        while True:
            self._awake.clear()
            rows = await self._pool.fetch(self._sql["changes_after"], self.cursor, _BATCH_CHANGES)
            if not rows:
                await self._awake.wait()
                continue
            changes = [ChangeRow(**dict(row)) for row in rows]
            await self._publish(producer, writer, changes)
            self.cursor = changes[-1].cursor
            await self._pool.execute(self._sql["move_publication"], self.cursor)

    async def _publish(self, producer: Any, writer: EventWriter, changes: list[ChangeRow]) -> None:
        async with producer.transaction():
            for change in changes:
                with span("verdicts.publish", traceparent=change.traceparent, cursor=change.cursor):
                    for topic in (VERDICTS, VERDICTS_LATEST):
                        await writer.send(
                            Outgoing(topic=topic, partition=0, key=change.submission_id, event=verdict_recorded(change))
                        )
        now_us = self._clock.now_us()
        for change in changes:
            self._latency.record(max(0, now_us - change.judged_at_us) / 1e6)
        self._count.add(len(changes))

    async def _check(self, last: VerdictRecorded) -> None:
        """A database projected anew may number verdicts otherwise; publishing on would break every reader's cursor."""
        rows = await self._pool.fetch(self._sql["changes_after"], last.cursor - 1, 1)
        if rows and rows[0]["event_id"] != last.event_id:
            raise StartRefused(
                f"expected cursor {last.cursor} to be {last.event_id} as {VERDICTS.name} has it, "
                f"came {rows[0]['event_id']}: this database was not projected in the order that was published"
            )


def verdict_recorded(change: ChangeRow) -> VerdictRecorded:
    """The event of a change."""
    return VerdictRecorded(
        event_id=change.event_id,
        at_us=change.at_us,
        cursor=change.cursor,
        tenant=change.tenant,
        contest=change.contest,
        team=change.team,
        submission_id=change.submission_id,
        judgement_id=change.judgement_id,
        problem=change.problem,
        problem_version=change.problem_version,
        language=change.language,
        verdict=Verdict(change.verdict),
        previous=None if change.previous is None else Verdict(change.previous),
        cause=VerdictCause(change.cause),
        score=change.score,
        cpu_time_ns=change.cpu_time_ns,
        wall_time_ns=change.wall_time_ns,
        memory_peak_bytes=change.memory_peak_bytes,
        submitted_at_us=change.submitted_at_us,
        judged_at_us=change.judged_at_us,
    )


async def last_published(bootstrap: str) -> VerdictRecorded | None:
    """The verdict with the highest cursor on the topic: looks back from its end, further when only markers are there."""
    consumer = await start_consumer(bootstrap)
    place = TopicPartition(VERDICTS.name, 0)
    try:
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        back = _LOOK_BACK_RECORDS
        while end > 0:
            start = max(0, end - back)
            found = await _highest(consumer, place, start, end)
            if found is not None or start == 0:
                return found
            back *= 4
        return None
    finally:
        await consumer.stop()


async def _highest(consumer: Any, place: TopicPartition, start: int, end: int) -> VerdictRecorded | None:
    consumer.seek(place, start)
    highest: VerdictRecorded | None = None
    while await consumer.position(place) < end:
        for messages in (await consumer.getmany(timeout_ms=500)).values():
            for message in messages:
                try:
                    event = decode_as(message.value or b"", VerdictRecorded)
                except PoisonEvent as error:
                    logger().error("foreign_record_on_verdicts", offset=message.offset, reason=str(error))
                    continue
                assert isinstance(event, VerdictRecorded)
                if highest is None or event.cursor > highest.cursor:
                    highest = event
    return highest


async def _stop(producer: Any) -> None:
    try:
        await producer.stop()
    except KafkaError as error:
        logger().warning("producer_not_stopped", error=repr(error))
