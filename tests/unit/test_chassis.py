"""The chassis: settings are refused when they are not as they must be; blobs and tokens keep what they promise."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from schemas.identity import digest
from services.chassis.blobs import BlobMissing, FolderBlobStore
from services.chassis.faults import StartRefused
from services.chassis.settings import CommonSettings
from services.chassis.telemetry import configure_telemetry, current_traceparent, span
from services.chassis.tokens import Scope, TokenStore, create_token


class ExampleSettings(CommonSettings):
    """Settings of an example service."""

    service: ClassVar[str] = "INGEST"
    http_port: int = Field(ge=1, le=65535)


GOOD = {"ASSIZE_KAFKA_BOOTSTRAP": "127.0.0.1:9092", "ASSIZE_INGEST_HTTP_PORT": "8080", "PATH": "/bin"}


def test_settings_are_read_by_their_names() -> None:
    settings = ExampleSettings.from_environment(GOOD | {"ASSIZE_CELL_COUNT": "4"})
    assert (settings.http_port, settings.cell_count) == (8080, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ASSIZE_INGEST_HTTP_PROT": "1"}, "ASSIZE_INGEST_HTTP_PROT"),
        ({"ASSIZE_CELLS": "1"}, "unknown settings"),
        ({"ASSIZE_INGEST_HTTP_PORT": "zero"}, "ASSIZE_INGEST_HTTP_PORT"),
        ({"ASSIZE_INGEST_HTTP_PORT": "0"}, "ASSIZE_INGEST_HTTP_PORT"),
        ({"ASSIZE_CELL_COUNT": "0"}, "ASSIZE_CELL_COUNT"),
        ({"ASSIZE_KAFKA_BOOTSTRAP": ""}, "ASSIZE_KAFKA_BOOTSTRAP"),
    ],
)
def test_bad_settings_refuse_start_and_are_named(change: dict[str, str], message: str) -> None:
    with pytest.raises(StartRefused, match=message):
        ExampleSettings.from_environment(GOOD | change)


def test_settings_of_the_other_services_may_stand_in_the_same_environment() -> None:
    ExampleSettings.from_environment(GOOD | {"ASSIZE_EXECUTOR_SLOTS": "2", "ASSIZE_POSTGRES_DSN": "x"})


def test_blobs_come_back_by_digest_or_not_at_all(tmp_path: Path) -> None:
    store = FolderBlobStore(tmp_path / "blobs")
    name = asyncio.run(store.put(b"bytes"))
    assert name == digest(b"bytes") == asyncio.run(store.put(b"bytes"))
    assert asyncio.run(store.get(name)) == b"bytes"
    assert asyncio.run(store.has(name))
    with pytest.raises(BlobMissing, match="came nothing"):
        store.get_now(digest(b"other"))
    store.path_of(name).write_bytes(b"damage")
    with pytest.raises(BlobMissing, match="damaged"):
        store.get_now(name)


@pytest.mark.parametrize("name", ["../../etc/passwd", "sha256:" + "g" * 64, "", "sha256:" + "a" * 63 + "/"])
def test_what_is_no_digest_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(BlobMissing, match="expected a digest"):
        FolderBlobStore(tmp_path).path_of(name)


def test_tokens_lie_hashed_and_a_new_one_works_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    first = create_token(path, name="ci", tenant="demo", scopes=[Scope.SUBMIT, Scope.READ])
    store = TokenStore(path)
    access = store.access(first)
    assert access is not None
    assert (access.name, access.tenant, access.scopes) == ("ci", "demo", frozenset({Scope.SUBMIT, Scope.READ}))
    second = create_token(path, name="jury", tenant="other", scopes=[Scope.JURY])
    assert store.access(second) is not None
    assert store.access(first + "x") is None
    assert store.tenants() == {"demo", "other"}
    assert first not in path.read_text()
    assert len(json.loads(path.read_text())["tokens"]) == 2


def test_readable_or_missing_token_file_refuses_start(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    with pytest.raises(StartRefused, match="expected a token file"):
        TokenStore(path)
    create_token(path, name="ci", tenant="demo", scopes=[])
    path.chmod(0o644)
    with pytest.raises(StartRefused, match="0644"):
        TokenStore(path)


def test_a_trace_goes_on_through_its_header() -> None:
    configure_telemetry(service="test", otlp_endpoint=None)
    assert current_traceparent() is None
    with span("first"):
        header = current_traceparent()
    assert header is not None
    with span("second", traceparent=header):
        continued = current_traceparent()
    assert continued is not None
    assert continued.split("-")[1] == header.split("-")[1]
    assert continued != header
