"""Following the topics that admission depends on, from the log's start to now and then live."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka.structs import TopicPartition

from schemas.codec import decode
from schemas.errors import PoisonEvent
from schemas.events import (
    ContestRegistered,
    JudgementAssigned,
    JudgementConcluded,
    LeaseRevoked,
    PolicyChanged,
    ProblemPublished,
    QueueReported,
    SchedulerSnapshotTaken,
    SubmissionQueued,
    SubmissionReceived,
)
from schemas.topics import CONTESTS, DECISIONS, PROBLEMS, SUBMISSIONS
from services.chassis.kafka import Incoming, start_consumer
from services.chassis.logs import logger
from services.ingest.adapters.counters import Counters
from services.ingest.core.registry import Registry

_DECISIONS_LOOKED_BACK = 2_000
"""Records before the end that are read to find the newest queue report."""
_POLL_MS = 1_000


class Follower:
    """Feeds the registry. `caught_up` is set when everything that was there at the start is folded."""

    def __init__(
        self,
        bootstrap: str,
        *,
        registry: Registry,
        counters: Counters,
        cell_count: int,
        remembered_requests: int,
    ) -> None:
        self._bootstrap = bootstrap
        self._registry = registry
        self._counters = counters
        self._remembered_requests = remembered_requests
        cells = range(cell_count)
        self._partitions = [
            TopicPartition(PROBLEMS.name, 0),
            TopicPartition(CONTESTS.name, 0),
            *(TopicPartition(SUBMISSIONS.name, cell) for cell in cells),
            *(TopicPartition(DECISIONS.name, cell) for cell in cells),
        ]
        self.caught_up = asyncio.Event()

    async def run(self) -> None:
        """Follows until it is cancelled; a broker that is away is waited for."""
        consumer = await start_consumer(self._bootstrap)
        try:
            consumer.assign(self._partitions)
            first = await consumer.beginning_offsets(self._partitions)
            ends = await consumer.end_offsets(self._partitions)
            for partition in self._partitions:
                consumer.seek(partition, self._start(partition, first[partition], ends[partition]))
            while True:
                if not self.caught_up.is_set() and await _has_reached(consumer, ends):
                    self.caught_up.set()
                    logger().info("registry_folded", requests=len(self._registry.requests))
                batches = await consumer.getmany(timeout_ms=_POLL_MS)
                for messages in batches.values():
                    for message in messages:
                        self.fold(Incoming.of(message))
        finally:
            await consumer.stop()

    def fold(self, incoming: Incoming) -> None:
        """Takes one record; what cannot be read is counted and passed over."""
        try:
            event = decode(incoming.value)
        except PoisonEvent as error:
            self._counters.poison(topic=incoming.topic)
            logger().error(
                "poison_record",
                topic=incoming.topic,
                partition=incoming.partition,
                offset=incoming.offset,
                code=error.code,
                reason=str(error),
            )
            return
        match event:
            case ProblemPublished():
                self._registry.fold_problem(event)
            case ContestRegistered():
                self._registry.fold_contest(event)
            case SubmissionReceived():
                self._registry.fold_submission(event, offset=incoming.offset)
            case QueueReported():
                self._registry.fold_queue(event)
                self._registry.fold_applied(incoming.partition, event.applied)
            case (
                SubmissionQueued()
                | JudgementAssigned()
                | LeaseRevoked()
                | JudgementConcluded()
                | PolicyChanged()
                | SchedulerSnapshotTaken()
            ):
                self._registry.fold_applied(incoming.partition, event.applied)
            case _:
                self._counters.poison(topic=incoming.topic)

    def _start(self, partition: TopicPartition, first: int, end: int) -> int:
        if partition.topic == DECISIONS.name:
            return max(first, end - _DECISIONS_LOOKED_BACK)
        if partition.topic == SUBMISSIONS.name:
            return max(first, end - self._remembered_requests)
        return first


async def _has_reached(consumer: object, ends: Mapping[TopicPartition, int]) -> bool:
    positions = [await consumer.position(partition) for partition in ends]  # type: ignore[attr-defined]
    return all(position >= end for position, end in zip(positions, ends.values(), strict=True))
