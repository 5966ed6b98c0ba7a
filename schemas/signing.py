"""Ed25519 signatures over DSSE's pre-authentication encoding of exact bytes.

The type that is signed names event and version, so that bytes of one kind are never accepted as another
(https://github.com/secure-systems-lab/dsse). Private keys are PEM files that only their owner may read; public keys
are `KeyPublished` events, signed by the root key, whose public half is the anchor of trust.
Verify before decoding; never re-encode signed bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from schemas.errors import PoisonEvent

SPEC_TYPE = "application/vnd.assize.execution-spec.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who signed, and the 64 bytes."""

    key_id: str
    value: bytes


class KeyRefused(Exception):
    """A private key file that must not be used: start is refused."""


def event_payload_type(event_type: str, version: int) -> str:
    """The DSSE payload type of a framed event."""
    return f"application/vnd.assize.{event_type}.v{version}+avro"


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """DSSEv1 PAE: "DSSEv1" SP len(type) SP type SP len(body) SP body."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id_of(name: str, public_key: bytes) -> str:
    return f"{name}-{hashlib.sha256(public_key).hexdigest()[:16]}"


class SigningKey:
    """A private key and its id."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public_key = private_key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self.key_id = key_id_of(name, self.public_key)

    def sign(self, payload_type: str, payload: bytes) -> Signature:
        value = self._private_key.sign(pre_authentication_encoding(payload_type, payload))
        return Signature(key_id=self.key_id, value=value)

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Reads `<name>.key`.

        Raises:
            KeyRefused: missing, not a regular file, readable by others than its owner, or not an Ed25519 key.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise KeyRefused(f"expected a private key at {path}, came: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            mode = stat.S_IMODE(status.st_mode)
            if not stat.S_ISREG(status.st_mode) or mode != 0o600:
                raise KeyRefused(f"expected {path} to be a regular file of mode 0600, came mode {mode:04o}")
            if status.st_uid != os.geteuid():
                raise KeyRefused(f"expected {path} to belong to uid {os.geteuid()}, came uid {status.st_uid}")
            data = file.read()
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except ValueError as error:
            raise KeyRefused(f"expected an Ed25519 private key in PEM at {path}, came something else") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyRefused(f"expected an Ed25519 private key at {path}, came {type(key).__name__}")
        return cls(path.stem, key)

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """Like `load`; makes the key first when there is none. Never overwrites."""
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            data = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            partial = path.with_name(f".{path.name}.{os.getpid()}")
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                os.fsync(file.fileno())
            try:
                os.link(partial, path)
            except FileExistsError:
                pass  # Another process made it first; its key counts.
            finally:
                partial.unlink()
        return cls.load(path)


class KeyRing:
    """Public keys by id; grows as `KeyPublished` events are read."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)

    def add(self, key_id: str, public_key: bytes) -> None:
        self._keys[key_id] = public_key

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    def verify(self, signature: Signature | None, payload_type: str, payload: bytes) -> None:
        """Returns when the signature is good.

        Raises:
            PoisonEvent: no signature, an unknown key (`unknown_key`), or a signature over other bytes.
        """
        if signature is None:
            raise PoisonEvent("unsigned", f"expected a signature over {payload_type}, came none")
        public_key = self._keys.get(signature.key_id)
        if public_key is None:
            raise PoisonEvent("unknown_key", f"expected a published key, came {signature.key_id!r}")
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(
                signature.value, pre_authentication_encoding(payload_type, payload)
            )
        except InvalidSignature as error:
            raise PoisonEvent(
                "bad_signature", f"expected the signature of {signature.key_id} over {payload_type}, came another"
            ) from error
