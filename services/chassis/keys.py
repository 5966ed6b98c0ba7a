"""Publishing and following public keys on `assize.keys.v1`.

The root key signs every `KeyPublished`; its public half (`keys/root.pub`) is what a verifier starts from.
"""

from __future__ import annotations

from pathlib import Path

from schemas.codec import decode_as
from schemas.errors import PoisonEvent
from schemas.events import KeyPublished
from schemas.identity import event_id
from schemas.signing import KeyRing, SigningKey, key_id_of
from schemas.topics import KEYS
from services.chassis.clock import Clock
from services.chassis.faults import StartRefused
from services.chassis.kafka import EventWriter, Incoming, Outgoing, read_to_end, start_producer, verify_incoming
from services.chassis.logs import logger


def root_ring(keys_dir: Path) -> KeyRing:
    """The trust anchor: a ring with the root's public key.

    Raises:
        StartRefused: there is no root public key in the folder.
    """
    path = keys_dir / "root.pub"
    try:
        public_key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise StartRefused(f"expected the root public key as 64 hex at {path}, came {error}") from error
    return KeyRing({key_id_of("root", public_key): public_key})


class TrustedKeys:
    """The ring of published keys: feed it the records of `assize.keys.v1` in order."""

    def __init__(self, root: KeyRing) -> None:
        self._root = root
        self.ring = KeyRing({})

    def feed(self, incoming: Incoming) -> None:
        """Takes one record.

        Raises:
            PoisonEvent: not signed by the root.
        """
        verify_incoming(incoming, self._root)
        try:
            event = decode_as(incoming.value, KeyPublished)
        except PoisonEvent as error:
            if error.code == "wrong_type":
                return  # Retirement and revocation flag what was signed; they take no key away here.
            raise
        assert isinstance(event, KeyPublished)
        self.ring.add(event.key_id, event.public_key)


async def load_trusted_keys(bootstrap: str, keys_dir: Path) -> TrustedKeys:
    """All keys published so far; a record that the root did not sign is passed over, and said so."""
    trusted = TrustedKeys(root_ring(keys_dir))
    for incoming in await read_to_end(bootstrap, KEYS.name, [0]):
        try:
            trusted.feed(incoming)
        except PoisonEvent as error:
            logger().warning("key_ignored", offset=incoming.offset, code=error.code, reason=str(error))
    return trusted


async def publish_keys(bootstrap: str, keys_dir: Path, keys: list[SigningKey], clock: Clock) -> int:
    """Publishes those of the keys that the topic does not have yet, signed by the root; returns how many."""
    root = SigningKey.load(keys_dir / "root.key")
    (keys_dir / "root.pub").write_text(root.public_key.hex() + "\n")
    known = (await load_trusted_keys(bootstrap, keys_dir)).ring
    fresh = [key for key in keys if key.key_id not in known]
    if not fresh:
        return 0
    producer = await start_producer(bootstrap)
    try:
        writer = EventWriter(producer, source="/assize/keys", key=root)
        for key in fresh:
            event = KeyPublished(
                event_id=event_id("KeyPublished", key.key_id),
                at_us=clock.now_us(),
                key_id=key.key_id,
                owner=key.key_id.rsplit("-", 1)[0],
                public_key=key.public_key,
            )
            await writer.write(Outgoing(topic=KEYS, partition=0, key=key.key_id, event=event))
    finally:
        await producer.stop()
    return len(fresh)
