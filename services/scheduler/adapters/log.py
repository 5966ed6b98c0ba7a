"""A cell's transactional log: where its state comes from, and where its decisions go, all of a batch or none.

Theory of operation. Starting the producer under the cell's fixed transactional id fences whoever wrote for the cell
before and ends its open transaction; only then the log is read, read_committed, to its end. Whatever fails in a
transaction ends the process: the state in memory has gone on, and what it became is only true once it is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from schemas.codec import MAX_EVENT_BYTES, decode
from schemas.events import SchedulerSnapshotTaken
from schemas.headers import traceparent_of
from schemas.topics import DECISIONS
from services.chassis.kafka import EventWriter, Incoming, Outgoing, start_consumer, start_producer
from services.chassis.logs import logger
from services.scheduler.core.rules import Rules
from services.scheduler.core.snapshot import restore, take_snapshot
from services.scheduler.core.state import CellState, Decision, DecisionEvent, fold

_TRANSACTION_SECONDS = 45.0
"""Less than the broker's own bound of 60 s, so that an outcome is known when this gives up."""
_WINDOW_RECORDS = 16_384
_LARGEST_SNAPSHOT_BYTES = MAX_EVENT_BYTES - 64 * 1024


class DecisionLog:
    """The log of one cell and the only writer of it."""

    def __init__(self, producer: AIOKafkaProducer, *, cell: int, snapshot_every: int) -> None:
        self._producer = producer
        self._writer = EventWriter(producer, source="/assize/scheduler")
        self._cell = cell
        self._snapshot_every = snapshot_every
        self._records_since_snapshot = 0

    @classmethod
    async def open(cls, bootstrap: str, *, cell: int, snapshot_every: int) -> DecisionLog:
        """Takes the log of a cell over from whoever had it."""
        producer = await start_producer(bootstrap, transactional_id=f"assize-scheduler-cell-{cell}")
        return cls(producer, cell=cell, snapshot_every=snapshot_every)

    async def recover(self, bootstrap: str, *, rules: Rules) -> CellState:
        """The state as the log tells it: its newest snapshot and what follows, or all of it."""
        tail = await _read_tail(bootstrap, self._cell)
        at = max(
            (index for index, (event, _) in enumerate(tail) if isinstance(event, SchedulerSnapshotTaken)), default=0
        )
        state = CellState(cell=self._cell, concluded_kept=rules.concluded_kept)
        if tail and isinstance(snapshot := tail[at][0], SchedulerSnapshotTaken):
            state = restore(snapshot, concluded_kept=rules.concluded_kept)
        for event, traceparent in tail[at:]:
            fold(state, Decision(event=event, key="", traceparent=traceparent))
        self._records_since_snapshot = len(tail) - at
        logger().info(
            "cell_recovered",
            cell=self._cell,
            records=len(tail) - at,
            unconcluded=len(state.judgements),
            applied=state.applied,
        )
        return state

    async def write(self, decisions: Sequence[Decision]) -> None:
        """Writes decisions in one transaction; all are durable and readable when it returns.

        Raises:
            KafkaError, TimeoutError: what was written is not known; the process must end.
        """
        async with asyncio.timeout(_TRANSACTION_SECONDS), self._producer.transaction():
            sent = [await self._writer.send(self._outgoing(decision)) for decision in decisions]
            # Awaited before the commit: a record that failed must end the transaction, not be missing in it.
            await asyncio.gather(*sent)
        self._records_since_snapshot += len(decisions)

    async def write_snapshot_when_due(self, state: CellState, *, now_us: int) -> None:
        if self._records_since_snapshot < self._snapshot_every:
            return
        taken = take_snapshot(state, now_us=now_us)
        assert isinstance(taken.event, SchedulerSnapshotTaken)
        self._records_since_snapshot = 0
        if len(taken.event.state) > _LARGEST_SNAPSHOT_BYTES:
            logger().warning("snapshot_too_large", cell=self._cell, size_bytes=len(taken.event.state))
            return
        fold(state, taken)
        await self.write((taken,))
        self._records_since_snapshot = 0

    async def close(self) -> None:
        await self._producer.stop()

    def _outgoing(self, decision: Decision) -> Outgoing:
        return Outgoing(
            topic=DECISIONS,
            partition=self._cell,
            key=decision.key,
            event=decision.event,
            traceparent=decision.traceparent,
        )


async def _read_tail(bootstrap: str, cell: int) -> list[tuple[DecisionEvent, str | None]]:
    """The end of the log from before its newest snapshot; from its beginning when there is none."""
    consumer = await start_consumer(bootstrap)
    try:
        partition = TopicPartition(DECISIONS.name, cell)
        consumer.assign([partition])
        first = (await consumer.beginning_offsets([partition]))[partition]
        end = (await consumer.end_offsets([partition]))[partition]
        window = _WINDOW_RECORDS
        while True:
            start = max(first, end - window)
            consumer.seek(partition, start)
            tail: list[tuple[DecisionEvent, str | None]] = []
            while await consumer.position(partition) < end:
                for messages in (await consumer.getmany(partition, timeout_ms=500)).values():
                    tail.extend(_decided(Incoming.of(message)) for message in messages if message.offset < end)
            if start == first or any(isinstance(event, SchedulerSnapshotTaken) for event, _ in tail):
                return tail
            window *= 4
    finally:
        await consumer.stop()


def _decided(incoming: Incoming) -> tuple[DecisionEvent, str | None]:
    event = decode(incoming.value)
    assert isinstance(event, DecisionEvent), f"expected a decision in {DECISIONS.name}, came {type(event).__name__}"
    return event, traceparent_of(incoming.headers)
