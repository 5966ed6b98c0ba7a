"""The executor's way into Kafka: its cell's decisions from now on, and the published keys from the beginning.

Nothing is committed and no group is joined: what an executor runs is in its capacity reports, and an assignment names
its incarnation, which nobody knows before the first report. So the end of the log is looked up before that report, and
what came before it cannot concern this process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from schemas.topics import DECISIONS, KEYS
from services.chassis.kafka import Incoming, start_consumer
from services.chassis.logs import logger


class DecisionReader:
    """Records of `assize.decisions.v1` of one cell from the end, and of `assize.keys.v1` from the first."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    @classmethod
    async def open(cls, bootstrap: str, cell: int) -> DecisionReader:
        """Waits for the broker and both topics, then stands at the end of the decisions."""
        consumer = await start_consumer(bootstrap)
        decisions, keys = TopicPartition(DECISIONS.name, cell), TopicPartition(KEYS.name, 0)
        ends = await _ends(consumer, [decisions, keys])
        consumer.seek(decisions, ends[decisions])
        consumer.seek(keys, 0)
        return cls(consumer)

    async def records(self) -> AsyncIterator[Incoming]:
        """Every record for ever, as it comes."""
        while True:
            batches = await self._consumer.getmany(timeout_ms=1000)
            # Keys first: an assignment may be signed with one that came in the same breath.
            for partition in sorted(batches, key=lambda entry: entry.topic != KEYS.name):
                for message in batches[partition]:
                    yield Incoming.of(message)

    async def close(self) -> None:
        await self._consumer.stop()


async def _ends(consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Assigns the partitions and says where they end, as soon as they exist."""
    while True:
        try:
            async with asyncio.timeout(10):
                consumer.assign(partitions)
                ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
                return ends
        except (KafkaError, TimeoutError) as error:
            logger().warning("topics_awaited", topics=[entry.topic for entry in partitions], error=repr(error))
        await asyncio.sleep(0.5)
