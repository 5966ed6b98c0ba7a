"""Keys: the scheduler's own, which signs specs, and those of the executors, followed as they are published."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from aiokafka.structs import TopicPartition

from schemas.errors import PoisonEvent
from schemas.signing import SPEC_TYPE, KeyRefused, SigningKey
from schemas.topics import KEYS
from services.chassis.faults import StartRefused
from services.chassis.kafka import Incoming, start_consumer
from services.chassis.keys import TrustedKeys, root_ring
from services.chassis.logs import logger


class SpecSigner:
    """Signs execution specs with the scheduler's key."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    @property
    def key_id(self) -> str:
        return self._key.key_id

    def sign_spec(self, spec: bytes) -> bytes:
        return self._key.sign(SPEC_TYPE, spec).value


def load_signer(keys_dir: Path) -> SpecSigner:
    """The scheduler's key.

    Raises:
        StartRefused: it is missing, or somebody else could read it.
    """
    try:
        return SpecSigner(SigningKey.load(keys_dir / "scheduler.key"))
    except KeyRefused as error:
        raise StartRefused(str(error)) from error


class KeyFollower:
    """The published keys, from the first on and as they come."""

    def __init__(self, bootstrap: str, keys_dir: Path) -> None:
        self._bootstrap = bootstrap
        self.trusted = TrustedKeys(root_ring(keys_dir))

    async def run(self, caught_up: asyncio.Event) -> None:
        """Follows the topic until it is cancelled; sets `caught_up` when all that was published before is known."""
        consumer = await start_consumer(self._bootstrap)
        try:
            partition = TopicPartition(KEYS.name, 0)
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            end = (await consumer.end_offsets([partition]))[partition]
            while True:
                if not caught_up.is_set() and await consumer.position(partition) >= end:
                    caught_up.set()
                for messages in (await consumer.getmany(partition, timeout_ms=1000)).values():
                    for message in messages:
                        self._feed(Incoming.of(message))
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await consumer.stop()

    def _feed(self, incoming: Incoming) -> None:
        try:
            self.trusted.feed(incoming)
        except PoisonEvent as error:
            logger().warning("key_parked", offset=incoming.offset, code=error.code, reason=str(error))
