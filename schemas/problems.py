"""The test list of a problem version: a blob that the judging manifest names by digest."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from schemas.errors import PoisonEvent
from schemas.identity import canonical_json, digest, is_digest

SAMPLE = "sample"
SECRET = "secret"  # noqa: S105  a test group, not a password


@dataclass(frozen=True, slots=True, kw_only=True)
class TestEntry:
    """One test case. Input and answer are blobs."""

    __test__ = False

    name: str
    group: str
    input_digest: str
    input_bytes: int
    answer_digest: str
    answer_bytes: int


def encode_test_list(tests: tuple[TestEntry, ...]) -> bytes:
    """Canonical bytes; their digest is `test_data_digest`."""
    return canonical_json([asdict(test) for test in tests])


def decode_test_list(data: bytes) -> tuple[TestEntry, ...]:
    """Reads a test list.

    Raises:
        PoisonEvent: not a list of exact entries.
    """
    try:
        tests = tuple(TestEntry(**entry) for entry in json.loads(data))
    except (TypeError, ValueError) as error:
        raise PoisonEvent("bad_test_list", f"expected a test list, came {error}") from error
    for test in tests:
        if test.group not in (SAMPLE, SECRET) or not is_digest(test.input_digest) or not is_digest(test.answer_digest):
            raise PoisonEvent("bad_test_list", f"expected group and digests, came {test!r}")
    return tests


def validator_digest(validator: str, args: tuple[str, ...]) -> str:
    """Names an output validator ("default-1" is the built-in one) with its arguments."""
    return digest(canonical_json({"args": list(args), "validator": validator}))
