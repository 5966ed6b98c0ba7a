"""Ids and digests. Every id is derived, so that a repeated step makes the same id and is seen as a repetition."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Sequence

_NAMESPACE = uuid.UUID("3f6d1d7e-6a41-5c0b-9a56-6f0f5a1c2e90")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LIVE_ORIGIN = "live"


def _derive(*parts: str) -> str:
    # JSON keeps the parts apart, so that ("a", "bc") and ("ab", "c") differ.
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts, ensure_ascii=True, separators=(",", ":"))))


def submission_id(tenant: str, request_id: str) -> str:
    """The same request of the same tenant is the same submission."""
    return _derive("submission", tenant, request_id)


def judgement_id(submission: str, origin: str, repeat: int) -> str:
    """`origin` is "live" or a rejudging's id; `repeat` counts repeats within it."""
    return _derive("judgement", submission, origin, str(repeat))


def event_id(event_type: str, *parts: str | int) -> str:
    """Id of an event: its type and what makes it unique (judgement, lease epoch, incarnation, ordinal …)."""
    return _derive("event", event_type, *(str(part) for part in parts))


def digest(data: bytes) -> str:
    """`sha256:<64 hex>` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def canonical_json(value: object) -> bytes:
    """Sorted keys, no spaces, ASCII, no NaN: the same value is the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def source_digest(files: Sequence[tuple[str, str]]) -> str:
    """Digest over (name, digest of the bytes) of each file, in the order given."""
    return digest(canonical_json([list(file) for file in files]))
