"""Durable writing that outlives its caller.

An idempotent producer keeps a record until the brokers have it, also over their restart. So a write is a task of its
own: a request that waits no longer is told 503, the task goes on, and the same request coming again waits for the same
task instead of writing a second record.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    UnknownProducerId,
)

from services.chassis.kafka import EventWriter, Outgoing, start_producer
from services.chassis.logs import logger

_LINGER_MS = 1
_ATTEMPTS = 3
_BROKEN = (InvalidProducerEpoch, OutOfOrderSequenceNumber, ProducerClosed, ProducerFenced, UnknownProducerId)
"""Errors after which a producer writes nothing any more."""


class Publisher:
    """One idempotent producer (acks=all), replaced when it is broken for good."""

    def __init__(self, bootstrap: str, *, source: str) -> None:
        self._bootstrap = bootstrap
        self._source = source
        self._producer: AIOKafkaProducer | None = None
        self._replacing = asyncio.Lock()

    async def start(self) -> None:
        """Waits for a broker."""
        self._producer = await start_producer(self._bootstrap, linger_ms=_LINGER_MS)

    async def stop(self) -> None:
        producer = self._producer
        if producer is not None:
            await producer.stop()

    async def write(self, outgoing: Outgoing) -> None:
        """Returns when the brokers have the record durably.

        Raises:
            KafkaError: they refused it.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            producer = self._producer
            assert producer is not None, "write() comes after start()"
            try:
                await EventWriter(producer, source=self._source).write(outgoing)
            except _BROKEN as error:
                if attempt == _ATTEMPTS:
                    raise
                await self._replace(producer, error)
            else:
                return

    async def _replace(self, broken: AIOKafkaProducer, error: KafkaError) -> None:
        async with self._replacing:
            if id(self._producer) != id(broken):
                return  # Another write has replaced it while this one waited.
            logger().warning("producer_replaced", error=repr(error))
            fresh: AIOKafkaProducer = await start_producer(self._bootstrap, linger_ms=_LINGER_MS)
            self._producer = fresh
            await broken.stop()
