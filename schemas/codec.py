"""Events to bytes and back: Avro in Confluent framing, strict in both directions.

Frame: byte 0, the schema id as four bytes big endian, the Avro body. The ids are those of `released.lock`, so any
Confluent-compatible client reads our topics and nobody needs a registry server to write them.

Writing refuses unknown and missing fields. Reading refuses an unknown frame or id, a body that is not consumed to
its last byte, and the enum symbol UNKNOWN: such a record is parked, never guessed. Old versions are lifted by the
one-step upcasters of `schemas.upcasters` after decoding; signed bytes are never re-encoded.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import io
import struct
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, cast

import fastavro

from schemas import events
from schemas.errors import PoisonEvent
from schemas.registry import Registry, ReleasedSchema, registry
from schemas.upcasters import upcast

_FRAME = struct.Struct(">bI")
MAX_EVENT_BYTES = 8 * 1024 * 1024
"""Longest record that is read; Kafka's topics are configured to the same bound."""


def encode(event: events.Event) -> bytes:
    """Encodes an event with the newest released version of its schema.

    Raises:
        ValueError: a value does not fit its field, or an enum is UNKNOWN (both are bugs of the caller).
    """
    released = registry().newest(type(event).__name__)
    out = io.BytesIO()
    out.write(_FRAME.pack(0, released.schema_id))
    try:
        fastavro.schemaless_writer(out, released.parsed, _to_record(event), strict=True)
    except (TypeError, OverflowError, AttributeError) as error:
        raise ValueError(f"{type(event).__name__} does not fit its schema v{released.version}: {error}") from error
    return out.getvalue()


def decode(data: bytes) -> events.Event:
    """Decodes one framed record into the newest class of its type.

    Raises:
        PoisonEvent: not our frame, an unknown schema id, a damaged or longer body, or an UNKNOWN symbol.
    """
    return decode_as(data, None)


def decode_as(
    data: bytes, expected: type[events.Event] | None, *, released_schemas: Registry | None = None
) -> events.Event:
    """Like `decode`, and refuses any other type than `expected` (None allows every type)."""
    released = schema_of(data, released_schemas=released_schemas)
    if expected is not None and released.name != expected.__name__:
        raise PoisonEvent("wrong_type", f"expected {expected.__name__}, came {released.name}")
    body = io.BytesIO(data)
    body.seek(_FRAME.size)
    try:
        record = fastavro.schemaless_reader(body, released.parsed, None)
    except Exception as error:
        raise PoisonEvent("undecodable", f"expected a body of {released.full_name}, came damage: {error!r}") from error
    if body.tell() != len(data):
        raise PoisonEvent(
            "trailing_bytes", f"expected {released.full_name} to end at byte {body.tell()}, came {len(data)} bytes"
        )
    name, lifted = upcast(released.name, released.version, cast("dict[str, Any]", record))
    return cast("events.Event", _from_record(events.EVENT_TYPES[name], lifted))


def schema_of(data: bytes, *, released_schemas: Registry | None = None) -> ReleasedSchema:
    """The released schema that a framed record names.

    Raises:
        PoisonEvent: too short, too long, another magic byte, or an id that was never released.
    """
    if len(data) < _FRAME.size:
        raise PoisonEvent("no_frame", f"expected a frame of at least {_FRAME.size} bytes, came {len(data)}")
    if len(data) > MAX_EVENT_BYTES:
        raise PoisonEvent("too_long", f"expected at most {MAX_EVENT_BYTES} bytes, came {len(data)}")
    magic, schema_id = _FRAME.unpack_from(data)
    if magic != 0:
        raise PoisonEvent("no_frame", f"expected magic byte 0, came {magic}")
    released = (released_schemas or registry()).by_id(schema_id)
    if released is None:
        raise PoisonEvent("unknown_schema", f"expected a released schema id, came {schema_id}")
    return released


def _to_record(value: object) -> object:
    """Turns a class into what fastavro writes; enum symbols stay strings, UNKNOWN is refused."""
    if isinstance(value, enum.Enum):
        if value.value == "UNKNOWN":
            raise ValueError(f"{type(value).__name__}.UNKNOWN is never stored as a fact")
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _to_record(getattr(value, name)) for name in _field_names(type(value))}
    if isinstance(value, tuple):
        return [_to_record(item) for item in value]
    return value


@functools.cache
def _field_names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


def _from_record(cls: type, record: Mapping[str, Any]) -> object:
    return cls(**{name: reader(record[name]) for name, reader in _readers(cls)})


@functools.cache
def _readers(cls: type) -> tuple[tuple[str, Callable[[Any], object]], ...]:
    hints = typing.get_type_hints(cls, vars(events))
    return tuple((name, _reader(hints[name])) for name in _field_names(cls))


def _reader(hint: Any) -> Callable[[Any], object]:
    """The function that turns a decoded Avro value into the type of a field."""
    origin = typing.get_origin(hint)
    if origin is types.UnionType or origin is typing.Union:
        inner = _reader(next(arg for arg in typing.get_args(hint) if arg is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        item = _reader(typing.get_args(hint)[0])
        return lambda value: tuple(item(entry) for entry in value)
    if dataclasses.is_dataclass(hint):
        return functools.partial(_from_record, cast("type", hint))
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return functools.partial(_read_symbol, hint)
    return _identity


def _read_symbol(cls: type[enum.StrEnum], value: str) -> enum.StrEnum:
    if value == "UNKNOWN":
        raise PoisonEvent("unknown_symbol", f"expected a known {cls.__name__}, came UNKNOWN")
    return cls(value)


def _identity(value: object) -> object:
    return value
