"""Signatures, keys and specs: one altered byte never passes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import PoisonEvent
from schemas.identity import canonical_json, digest, event_id, judgement_id, submission_id
from schemas.signing import SPEC_TYPE, KeyRefused, KeyRing, Signature, SigningKey, pre_authentication_encoding
from schemas.spec import ExecutionSpec, decode_spec, encode_spec

DIGEST = digest(b"")
SPEC = ExecutionSpec(
    submission_id="s",
    judgement_id="j",
    lease_epoch=1,
    executor="local",
    incarnation="i",
    language="cpp",
    image="assize/cpp:1",
    image_digest=DIGEST,
    isolation="container",
    cpu_millis=1000,
    wall_clock_millis=3000,
    memory_mb=256,
    max_output_bytes=1 << 20,
    processes=64,
    network="disabled",
    workdir_bytes=1 << 20,
    workdir_inodes=100,
    compile_cpu_millis=10_000,
    compile_wall_clock_millis=30_000,
    compile_memory_mb=512,
    problem_version=DIGEST,
    test_data_digest=DIGEST,
    test_count=3,
    validator_digest=DIGEST,
    validator_args=("float_tolerance", "1e-6"),
    source_digest=DIGEST,
    entry_point=None,
    files=(("main.cpp", DIGEST),),
    issued_at_us=1,
    expires_at_us=2,
    key_id="scheduler-0",
)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return SigningKey.load_or_create(tmp_path / "scheduler.key")


def test_encoding_is_that_of_the_dsse_protocol() -> None:
    # The example of https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_signature_holds_for_its_bytes_and_type_alone(key: SigningKey) -> None:
    ring = KeyRing({key.key_id: key.public_key})
    signature = key.sign(SPEC_TYPE, b"payload")
    ring.verify(signature, SPEC_TYPE, b"payload")
    for kind, payload in ((SPEC_TYPE, b"Payload"), (SPEC_TYPE + "2", b"payload"), (SPEC_TYPE, b"payload ")):
        with pytest.raises(PoisonEvent) as caught:
            ring.verify(signature, kind, payload)
        assert caught.value.code == "bad_signature"


def test_unsigned_and_unknown_keys_are_poison(key: SigningKey) -> None:
    ring = KeyRing({})
    with pytest.raises(PoisonEvent, match="came none"):
        ring.verify(None, SPEC_TYPE, b"")
    with pytest.raises(PoisonEvent, match="expected a published key"):
        ring.verify(key.sign(SPEC_TYPE, b""), SPEC_TYPE, b"")
    with pytest.raises(PoisonEvent):
        KeyRing({key.key_id: key.public_key}).verify(Signature(key_id=key.key_id, value=b"short"), SPEC_TYPE, b"")


def test_key_is_made_once_with_mode_0600_and_keeps_its_id(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "root.key"
    made = SigningKey.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load_or_create(path).key_id == made.key_id
    assert made.key_id.startswith("root-")
    assert [entry.name for entry in path.parent.iterdir()] == ["root.key"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o400, 0o700])
def test_key_file_of_another_mode_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root.key"
    SigningKey.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(KeyRefused, match="mode 0600"):
        SigningKey.load(path)


def test_missing_linked_and_foreign_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyRefused, match="expected a private key"):
        SigningKey.load(tmp_path / "none.key")
    SigningKey.load_or_create(tmp_path / "real.key")
    (tmp_path / "link.key").symlink_to(tmp_path / "real.key")
    with pytest.raises(KeyRefused):
        SigningKey.load(tmp_path / "link.key")
    (tmp_path / "junk.key").write_text("junk")
    (tmp_path / "junk.key").chmod(0o600)
    with pytest.raises(KeyRefused, match="Ed25519"):
        SigningKey.load(tmp_path / "junk.key")


def test_spec_survives_and_is_canonical_camel_case() -> None:
    data = encode_spec(SPEC)
    assert decode_spec(data) == SPEC
    value = json.loads(data)
    assert value["cpuMillis"] == 1000
    assert value["network"] == "disabled"
    assert canonical_json(value) == data


@given(st.data())
def test_any_altered_byte_of_a_spec_is_refused_by_its_signature(data: st.DataObject) -> None:
    key = _shared_key()
    spec = encode_spec(SPEC)
    place = data.draw(st.integers(0, len(spec) - 1))
    altered = spec[:place] + bytes([spec[place] ^ data.draw(st.integers(1, 255))]) + spec[place + 1 :]
    with pytest.raises(PoisonEvent):
        KeyRing({key.key_id: key.public_key}).verify(key.sign(SPEC_TYPE, spec), SPEC_TYPE, altered)


@pytest.mark.parametrize(
    "change",
    [
        {"cpuMillis": 0},
        {"cpuMillis": -1},
        {"cpuMillis": 1.5},
        {"cpuMillis": None},
        {"cpuMillis": True},
        {"cpuMillis": "1000"},
        {"network": "enabled"},
        {"imageDigest": "sha256:short"},
        {"files": []},
        {"files": [["a"]]},
        {"files": [["a", "b"]]},
        {"validatorArgs": [1]},
        {"unknownKey": 1},
        {"expiresAtUs": 1},
    ],
)
def test_spec_with_a_lie_in_it_is_refused(change: dict[str, object]) -> None:
    value = json.loads(encode_spec(SPEC)) | change
    with pytest.raises(PoisonEvent) as caught:
        decode_spec(canonical_json(value))
    assert caught.value.code == "bad_spec"


def test_spec_in_another_spelling_or_with_a_missing_key_is_refused() -> None:
    with pytest.raises(PoisonEvent, match="canonical"):
        decode_spec(encode_spec(SPEC) + b"\n")
    value = json.loads(encode_spec(SPEC))
    del value["memoryMb"]
    with pytest.raises(PoisonEvent, match="memoryMb"):
        decode_spec(canonical_json(value))
    for junk in (b"", b"[]", b"null", b"\xff", b"x" * (256 * 1024 + 1)):
        with pytest.raises(PoisonEvent):
            decode_spec(junk)


def test_spec_that_could_not_be_meant_is_not_made() -> None:
    with pytest.raises(ValueError, match="positive"):
        dataclasses.replace(SPEC, memory_mb=0)


def test_ids_are_derived_and_keep_their_parts_apart() -> None:
    assert submission_id("a", "bc") != submission_id("ab", "c")
    assert submission_id("t", "r") == submission_id("t", "r")
    assert judgement_id("s", "live", 0) != judgement_id("s", "live", 1)
    assert event_id("A", 1, 2) != event_id("A", 12)


_KEYS: list[SigningKey] = []


def _shared_key() -> SigningKey:
    if not _KEYS:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        _KEYS.append(SigningKey("test", Ed25519PrivateKey.generate()))
    return _KEYS[0]
