"""The published language: released bytes decode for ever, and nothing is guessed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import struct
import typing
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from schemas import events
from schemas.codec import decode, decode_as, encode
from schemas.errors import PoisonEvent
from schemas.registry import load, registry
from schemas.topics import TOPICS, intake_topic
from schemas.upcasters import upcast
from tests.contract.samples import sample

GOLDEN = Path(__file__).parent / "golden"
ALL_EVENTS = [pytest.param(cls, id=name) for name, cls in events.EVENT_TYPES.items()]
ALL_RELEASED = [pytest.param(entry, id=f"{entry.name}.v{entry.version}") for entry in registry().all()]


@pytest.mark.parametrize("cls", ALL_EVENTS)
def test_sample_survives_the_way_there_and_back(cls: type) -> None:
    event = sample(cls)
    assert decode(encode(event)) == event


@pytest.mark.parametrize("released", ALL_RELEASED)
def test_golden_bytes_of_every_released_version_decode(released: Any) -> None:
    data = (GOLDEN / f"{released.name}.v{released.version}.bin").read_bytes()
    assert data[:5] == struct.pack(">bI", 0, released.schema_id)
    assert decode(data) == sample(events.EVENT_TYPES[released.name])


@pytest.mark.parametrize("released", ALL_RELEASED)
def test_a_client_with_the_released_text_alone_reads_the_golden_bytes(released: Any) -> None:
    import io

    data = (GOLDEN / f"{released.name}.v{released.version}.bin").read_bytes()
    body = io.BytesIO(data[5:])
    record = fastavro.schemaless_reader(body, fastavro.parse_schema(json.loads(released.text)), None)
    assert isinstance(record, dict)
    assert set(record) == {field["name"] for field in json.loads(released.text)["fields"]}
    assert body.tell() == len(data) - 5


@pytest.mark.parametrize("cls", ALL_EVENTS)
def test_class_mirrors_its_newest_schema(cls: type) -> None:
    schema = json.loads(registry().newest(cls.__name__).text)
    assert [field["name"] for field in schema["fields"]] == [field.name for field in dataclasses.fields(cls)]


def test_every_enum_has_unknown_as_its_default_and_mirrors_its_class() -> None:
    found = {}
    for released in registry().all():
        for enum_schema in _enums(json.loads(released.text)):
            found[enum_schema["name"]] = enum_schema
    assert found
    for name, enum_schema in found.items():
        assert enum_schema["default"] == "UNKNOWN"
        assert enum_schema["symbols"] == [symbol.value for symbol in getattr(events, name)]


def test_no_schema_uses_a_32_bit_number() -> None:
    for released in registry().all():
        assert '"int"' not in released.text
        assert '"float"' not in released.text


def test_every_event_lies_on_a_topic_and_every_topic_names_known_events() -> None:
    on_topics = {name for topic in (*TOPICS, intake_topic("demo")) for name in topic.events}
    assert on_topics == set(events.EVENT_TYPES)


@pytest.mark.parametrize("cls", ALL_EVENTS)
def test_unknown_symbol_is_refused_in_both_directions(cls: type) -> None:
    hints = typing.get_type_hints(cls, vars(events))
    names = [name for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, events.enum.StrEnum)]
    for name in names:
        broken = dataclasses.replace(sample(cls), **{name: hints[name]("UNKNOWN")})
        with pytest.raises(ValueError, match="UNKNOWN"):
            encode(broken)


def test_unknown_symbol_in_the_bytes_is_parked() -> None:
    import io

    released = registry().newest("LeaseRevoked")
    record = dataclasses.asdict(sample(events.LeaseRevoked)) | {"reason": "UNKNOWN"}
    body = io.BytesIO()
    fastavro.schemaless_writer(body, released.parsed, record)
    with pytest.raises(PoisonEvent, match="came UNKNOWN") as caught:
        decode(struct.pack(">bI", 0, released.schema_id) + body.getvalue())
    assert caught.value.code == "unknown_symbol"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"", "no_frame", id="empty"),
        pytest.param(b"\x00\x00", "no_frame", id="short"),
        pytest.param(b"\x01\x00\x00\x00\x01rest", "no_frame", id="magic"),
        pytest.param(b"\x00\x00\x0f\x42\x40rest", "unknown_schema", id="id"),
        pytest.param(b"\x00\x00\x00\x00\x05\xff\xff", "undecodable", id="damaged"),
        pytest.param(b"\x00" * (8 * 1024 * 1024 + 1), "too_long", id="long"),
    ],
)
def test_foreign_bytes_are_poison(data: bytes, code: str) -> None:
    with pytest.raises(PoisonEvent) as caught:
        decode(data)
    assert caught.value.code == code


@pytest.mark.parametrize("cls", ALL_EVENTS)
def test_a_record_that_goes_on_after_its_end_is_poison(cls: type) -> None:
    with pytest.raises(PoisonEvent) as caught:
        decode(encode(sample(cls)) + b"\x00")
    assert caught.value.code == "trailing_bytes"


@pytest.mark.parametrize("cls", ALL_EVENTS)
def test_a_truncated_record_is_poison(cls: type) -> None:
    with pytest.raises(PoisonEvent):
        decode(encode(sample(cls))[:-1])


@given(st.binary(max_size=200), st.sampled_from([entry.schema_id for entry in registry().all()]))
def test_any_bytes_decode_exactly_or_are_poison(body: bytes, schema_id: int) -> None:
    data = struct.pack(">bI", 0, schema_id) + body
    try:
        event = decode(data)
    except PoisonEvent:
        return
    assert decode(encode(event)) == event


def test_another_type_than_expected_is_poison() -> None:
    with pytest.raises(PoisonEvent, match="expected KeyPublished, came KeyRetired"):
        decode_as(encode(sample(events.KeyRetired)), events.KeyPublished)


def test_a_value_that_does_not_fit_is_refused_before_it_is_written() -> None:
    with pytest.raises(ValueError, match="KeyRetired does not fit"):
        encode(dataclasses.replace(sample(events.KeyRetired), reason=17))


def test_a_changed_released_file_is_refused(tmp_path: Path) -> None:
    folder = Path(schemas.__file__).parent
    shutil.copytree(folder / "avro", tmp_path / "avro")
    shutil.copy(folder / "released.lock", tmp_path)
    load(tmp_path)
    changed = tmp_path / "avro" / "KeyRetired.v1.avsc"
    changed.write_text(changed.read_text() + "\n")
    with pytest.raises(ValueError, match="add a new version instead"):
        load(tmp_path)


def test_lock_names_the_bytes_of_every_file() -> None:
    for released in registry().all():
        assert hashlib.sha256(released.text.encode()).hexdigest() == released.sha256


def test_upcasters_lift_one_step_at_a_time_to_the_newest() -> None:
    steps = {
        ("Old", 1): ("Old", lambda record: record | {"b": 2}),
        ("Old", 2): ("New", lambda record: record | {"c": 3}),
    }
    assert upcast("Old", 1, {"a": 1}, steps) == ("New", {"a": 1, "b": 2, "c": 3})
    assert upcast("Other", 1, {"a": 1}, steps) == ("Other", {"a": 1})


def _enums(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for entry in schema for found in _enums(entry)]
    if isinstance(schema, dict):
        here = [schema] if schema.get("type") == "enum" else []
        return here + [found for value in schema.values() for found in _enums(value)]
    return []
