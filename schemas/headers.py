"""Kafka headers of every record: CloudEvents binary mode, W3C trace context, signature.

CloudEvents 1.0 Kafka binding: attributes as `ce_*` headers, the event itself is the value.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from schemas.events import Event
from schemas.registry import registry
from schemas.signing import Signature

CONTENT_TYPE = b"application/vnd.confluent.avro"
Headers = Sequence[tuple[str, bytes]]


def headers_for(
    event: Event,
    *,
    source: str,
    subject: str,
    time_us: int,
    event_id: str,
    traceparent: str | None,
    signature: Signature | None,
) -> list[tuple[str, bytes]]:
    """Headers for one record. `source` is `/assize/<service>[/<name>]`, `subject` the key's id."""
    version = registry().newest(type(event).__name__).version
    moment = dt.datetime.fromtimestamp(time_us / 1_000_000, tz=dt.UTC)
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", f"assize.{type(event).__name__}.v{version}".encode()),
        ("ce_source", source.encode()),
        ("ce_subject", subject.encode()),
        ("ce_time", moment.isoformat(timespec="microseconds").replace("+00:00", "Z").encode()),
        ("content-type", CONTENT_TYPE),
    ]
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    if signature is not None:
        headers.append(("assize_key_id", signature.key_id.encode()))
        headers.append(("assize_signature", signature.value))
    return headers


def header(headers: Headers, name: str) -> bytes | None:
    """The last header of that name, or None."""
    return next((value for key, value in reversed(headers) if key == name), None)


def traceparent_of(headers: Headers) -> str | None:
    value = header(headers, "traceparent")
    return None if value is None else value.decode("ascii", "replace")


def signature_of(headers: Headers) -> Signature | None:
    """The signature that came with a record, unverified; None when there is none."""
    key_id, value = header(headers, "assize_key_id"), header(headers, "assize_signature")
    if key_id is None or value is None:
        return None
    return Signature(key_id=key_id.decode("ascii", "replace"), value=value)
