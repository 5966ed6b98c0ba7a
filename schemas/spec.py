"""The execution spec: the one signed order that an executor carries out.

Canonical JSON (sorted keys, no spaces), camelCase as other systems read it, signed on its own with DSSE type
`SPEC_TYPE`. Reading is strict: an unknown or missing key, a wrong type, a value out of range or bytes that are not
canonical are refused, so that one altered byte never runs.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass
from typing import Any

from schemas.errors import PoisonEvent
from schemas.identity import canonical_json, is_digest

MAX_SPEC_BYTES = 256 * 1024
NETWORK_DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSpec:
    """What to run, where, with which limits. Field names are the JSON keys in camelCase."""

    submission_id: str
    judgement_id: str
    lease_epoch: int
    executor: str
    incarnation: str
    language: str
    image: str
    image_digest: str
    isolation: str
    cpu_millis: int
    """CPU time of one test run, ms."""
    wall_clock_millis: int
    memory_mb: int
    """Memory of one test run, MiB, tmpfs pages included, no swap."""
    max_output_bytes: int
    processes: int
    network: str
    """Always "disabled"."""
    workdir_bytes: int
    workdir_inodes: int
    compile_cpu_millis: int
    compile_wall_clock_millis: int
    compile_memory_mb: int
    problem_version: str
    test_data_digest: str
    test_count: int
    validator_digest: str
    validator_args: tuple[str, ...]
    source_digest: str
    entry_point: str | None
    files: tuple[tuple[str, str], ...]
    """(name, blob digest) of every source file."""
    issued_at_us: int
    expires_at_us: int
    key_id: str

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} to be positive, came {getattr(self, name)}")
        for name in _DIGESTS:
            if not is_digest(getattr(self, name)):
                raise ValueError(f"expected {name} to be sha256:<64 hex>, came {getattr(self, name)!r}")
        if self.network != NETWORK_DISABLED:
            raise ValueError(f"expected network to be {NETWORK_DISABLED!r}, came {self.network!r}")
        if self.expires_at_us <= self.issued_at_us:
            raise ValueError("expected expiresAtUs to be later than issuedAtUs")
        if not self.files:
            raise ValueError("expected at least one file, came none")


_POSITIVE = (
    "lease_epoch",
    "cpu_millis",
    "wall_clock_millis",
    "memory_mb",
    "max_output_bytes",
    "processes",
    "workdir_bytes",
    "workdir_inodes",
    "compile_cpu_millis",
    "compile_wall_clock_millis",
    "compile_memory_mb",
    "test_count",
    "issued_at_us",
)
_DIGESTS = ("image_digest", "problem_version", "test_data_digest", "validator_digest", "source_digest")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


_KEYS = {_camel(field.name): field.name for field in dataclasses.fields(ExecutionSpec)}


def encode_spec(spec: ExecutionSpec) -> bytes:
    """The canonical bytes of a spec."""
    return canonical_json({key: getattr(spec, name) for key, name in _KEYS.items()})


def decode_spec(data: bytes) -> ExecutionSpec:
    """Reads canonical bytes. Verify their signature first.

    Raises:
        PoisonEvent: anything but exactly what `encode_spec` writes.
    """
    if len(data) > MAX_SPEC_BYTES:
        raise PoisonEvent("bad_spec", f"expected a spec of at most {MAX_SPEC_BYTES} bytes, came {len(data)}")
    try:
        value = json.loads(data)
    except ValueError as error:
        raise PoisonEvent("bad_spec", f"expected a spec in JSON, came {error}") from error
    if not isinstance(value, dict) or set(value) != set(_KEYS):
        came = set(value) if isinstance(value, dict) else {type(value).__name__}
        raise PoisonEvent("bad_spec", f"expected exactly the keys of a spec, differing: {sorted(came ^ set(_KEYS))}")
    try:
        spec = ExecutionSpec(**{name: _typed(name, value[key]) for key, name in _KEYS.items()})
    except (TypeError, ValueError) as error:
        raise PoisonEvent("bad_spec", str(error)) from error
    if encode_spec(spec) != data:
        raise PoisonEvent("bad_spec", "expected canonical JSON, came another spelling of the same spec")
    return spec


def _typed(name: str, value: object) -> Any:
    if name == "validator_args":
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise TypeError("expected validatorArgs to be a list of strings")
        return tuple(value)
    if name == "files":
        return _files(value)
    if name == "entry_point" and value is None:
        return None
    expected = int if _HINTS[name] is int else str
    if type(value) is not expected:
        raise TypeError(f"expected {_camel(name)} to be {expected.__name__}, came {type(value).__name__}")
    return value


def _files(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list):
        raise TypeError("expected files to be a list of [name, digest]")
    files = []
    for entry in value:
        if not isinstance(entry, list) or len(entry) != 2 or not all(isinstance(part, str) for part in entry):
            raise TypeError("expected files to be a list of [name, digest]")
        if not is_digest(entry[1]):
            raise ValueError(f"expected the digest of a file to be sha256:<64 hex>, came {entry[1]!r}")
        files.append((entry[0], entry[1]))
    return tuple(files)


_HINTS = typing.get_type_hints(ExecutionSpec)
