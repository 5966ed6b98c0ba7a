"""Kafka as every service uses it: idempotent durable writing, read_committed reading, our headers.

Values are framed Avro events (`schemas.codec`), keys are plain ids, the partition is always explicit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import TopicPartition

from schemas.codec import MAX_EVENT_BYTES, decode, encode, schema_of
from schemas.errors import PoisonEvent
from schemas.events import Event, SubmissionRequested
from schemas.headers import headers_for, signature_of
from schemas.registry import registry
from schemas.signing import KeyRing, SigningKey, event_payload_type
from schemas.topics import Topic
from services.chassis.logs import logger
from services.chassis.telemetry import current_traceparent


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One record to be written. Its id and time are the event's; a `SubmissionRequested` is named by its request."""

    topic: Topic
    partition: int
    key: str
    event: Any
    traceparent: str | None = None
    """None takes the current span's."""


class EventWriter:
    """Encodes, signs and writes events. `key` signs every record when given."""

    def __init__(self, producer: AIOKafkaProducer, *, source: str, key: SigningKey | None = None) -> None:
        self._producer = producer
        self._source = source
        self._key = key

    def record(self, outgoing: Outgoing) -> tuple[bytes, list[tuple[str, bytes]]]:
        """The value and the headers of a record, signed when this writer has a key."""
        event = outgoing.event
        value = encode(event)
        signature = None
        if self._key is not None:
            name = type(event).__name__
            signature = self._key.sign(event_payload_type(name, registry().newest(name).version), value)
        headers = headers_for(
            event,
            source=self._source,
            subject=outgoing.key,
            time_us=event.requested_at_us if isinstance(event, SubmissionRequested) else event.at_us,
            event_id=event.request_id if isinstance(event, SubmissionRequested) else event.event_id,
            traceparent=outgoing.traceparent or current_traceparent(),
            signature=signature,
        )
        return value, headers

    async def send(self, outgoing: Outgoing) -> asyncio.Future[Any]:
        """Hands a record to the producer; the future ends when the brokers have it."""
        value, headers = self.record(outgoing)
        future: asyncio.Future[Any] = await self._producer.send(
            outgoing.topic.name, value, key=outgoing.key.encode(), partition=outgoing.partition, headers=headers
        )
        return future

    async def write(self, outgoing: Outgoing) -> None:
        """Writes a record and waits until the brokers have it durably.

        Raises:
            KafkaError: they do not have it, or it is not known.
        """
        await (await self.send(outgoing))


async def start_producer(
    bootstrap: str, *, transactional_id: str | None = None, linger_ms: int = 0, **options: Any
) -> AIOKafkaProducer:
    """A started producer: acks=all, idempotent, transactional when an id is given. Waits for the broker."""
    while True:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            transactional_id=transactional_id,
            max_request_size=MAX_EVENT_BYTES + 64 * 1024,
            request_timeout_ms=15_000,
            linger_ms=linger_ms,
            **options,
        )
        try:
            await producer.start()
        except (KafkaConnectionError, KafkaError) as error:
            await producer.stop()
            logger().warning("kafka_awaited", bootstrap=bootstrap, error=repr(error))
            await asyncio.sleep(0.5)
            continue
        return producer


async def start_consumer(bootstrap: str, *, group_id: str | None = None, **options: Any) -> AIOKafkaConsumer:
    """A started read_committed consumer that commits nothing by itself. Waits for the broker."""
    while True:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group_id,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 * 1024 * 1024,
            # The broker answers at the first byte; a longer wait only makes an idle consumer ask less often.
            fetch_max_wait_ms=2000,
            **options,
        )
        try:
            await consumer.start()
        except (KafkaConnectionError, KafkaError) as error:
            await consumer.stop()
            logger().warning("kafka_awaited", bootstrap=bootstrap, error=repr(error))
            await asyncio.sleep(0.5)
            continue
        return consumer


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One record as it was read: the exact bytes, where it lay, and its headers."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int

    @classmethod
    def of(cls, message: Any) -> Incoming:
        """From an aiokafka record; a null value is empty bytes."""
        return cls(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            key=message.key,
            value=message.value or b"",
            headers=tuple((name, value or b"") for name, value in message.headers),
            timestamp_ms=message.timestamp,
        )


def decode_incoming(incoming: Incoming, keys: KeyRing | None = None) -> Event:
    """Verifies (when a key ring is given), then decodes.

    Raises:
        PoisonEvent: with the reason for parking it.
    """
    if keys is not None:
        verify_incoming(incoming, keys)
    return decode(incoming.value)


def verify_incoming(incoming: Incoming, keys: KeyRing) -> None:
    """Checks the signature in the headers over the exact bytes, for the type and version that they name."""
    released = schema_of(incoming.value)
    keys.verify(signature_of(incoming.headers), event_payload_type(released.name, released.version), incoming.value)


async def read_to_end(
    bootstrap: str, topic: str, partitions: Sequence[int], *, start: Mapping[int, int] | None = None
) -> list[Incoming]:
    """Everything committed on these partitions at the time of the call, from `start` (0 by default)."""
    consumer = await start_consumer(bootstrap)
    try:
        assigned = [TopicPartition(topic, partition) for partition in partitions]
        consumer.assign(assigned)
        for entry in assigned:
            consumer.seek(entry, (start or {}).get(entry.partition, 0))
        ends = await consumer.end_offsets(assigned)
        read: list[Incoming] = []
        while any([await consumer.position(entry) < ends[entry] for entry in assigned]):
            batches = await consumer.getmany(timeout_ms=500)
            read.extend(
                Incoming.of(message)
                for entry, messages in batches.items()
                for message in messages
                if message.offset < ends[entry]
            )
        return read
    finally:
        await consumer.stop()


__all__ = [
    "EventWriter",
    "Incoming",
    "Outgoing",
    "PoisonEvent",
    "decode_incoming",
    "read_to_end",
    "start_consumer",
    "start_producer",
    "verify_incoming",
]
