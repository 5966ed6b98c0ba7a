"""Reading the log: one consumer for each topic partition, into one bounded queue.

A consumer asks its broker one question at a time. With several partitions in it, a partition whose records were just
taken waits until the question about the others is answered (up to `fetch_max_wait_ms`); with one partition there is
nothing to wait for, so a record arrives in about a millisecond and an idle reader asks twice a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from services.chassis.faults import StartRefused
from services.chassis.kafka import Incoming, start_consumer
from services.chassis.logs import logger
from services.verdicts.adapters.store import Place

_QUEUED_BATCHES = 8


class Readers:
    """Follows partitions from given offsets. `batch` hands out what came, in the order it came."""

    def __init__(self, bootstrap: str, *, most_records: int) -> None:
        self._bootstrap = bootstrap
        self._most_records = most_records
        self._queue: asyncio.Queue[list[Incoming]] = asyncio.Queue(maxsize=_QUEUED_BATCHES)
        self._lags: dict[Place, int] = {}

    async def follow(self, place: Place, start: int) -> None:
        """Reads one partition until cancelled.

        Raises:
            StartRefused: the partition ends before `start`: it is not the log that was projected.
        """
        partition = TopicPartition(*place)
        consumer = await start_consumer(self._bootstrap)
        try:
            consumer.assign([partition])
            await self._check(consumer, partition, start)
            consumer.seek(partition, start)
            while True:
                try:
                    came = await consumer.getmany(partition, timeout_ms=1000, max_records=self._most_records)
                except KafkaError as error:
                    logger().warning("reading_interrupted", topic=place[0], partition=place[1], error=repr(error))
                    await asyncio.sleep(0.2)
                    continue
                messages = came.get(partition, [])
                if messages:
                    await self._queue.put([Incoming.of(message) for message in messages])
                await self._measure(consumer, partition)
        finally:
            await consumer.stop()

    async def batch(self) -> list[Incoming]:
        """Waits for records, then takes what else is there, up to about the most that a transaction should hold."""
        taken = await self._queue.get()
        while len(taken) < self._most_records:
            try:
                taken = taken + self._queue.get_nowait()
            except asyncio.QueueEmpty:
                break
        return taken

    def lags(self) -> Mapping[Place, int]:
        """Records between what was read and what is committed, by partition."""
        return dict(self._lags)

    async def _check(self, consumer: Any, partition: TopicPartition, start: int) -> None:
        end = await _end(consumer, partition)
        if end < start:
            raise StartRefused(
                f"expected {partition.topic}/{partition.partition} to reach offset {start}, came its end {end}: "
                "this database was projected from another log"
            )

    async def _measure(self, consumer: Any, partition: TopicPartition) -> None:
        stable = consumer.last_stable_offset(partition)
        if stable is not None:
            self._lags[partition.topic, partition.partition] = max(0, stable - await consumer.position(partition))


async def _end(consumer: Any, partition: TopicPartition) -> int:
    """The end of a partition; waits until its topic is there."""
    while True:
        try:
            ends: dict[TopicPartition, int] = await consumer.end_offsets([partition])
        except KafkaError as error:
            logger().warning("topic_awaited", topic=partition.topic, error=repr(error))
            await asyncio.sleep(0.5)
        else:
            return ends[partition]
