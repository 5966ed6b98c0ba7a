"""The default output validator: vectors of this project's own, and what must hold for any bytes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.validator import ValidatorFlags, parse_flags, validate

VECTORS = tomllib.loads((Path(__file__).parents[1] / "vectors" / "default_validator.toml").read_text())["vector"]
FLAGS = st.builds(
    ValidatorFlags,
    case_sensitive=st.booleans(),
    space_change_sensitive=st.booleans(),
    float_absolute_tolerance=st.none() | st.floats(0, 1e9),
    float_relative_tolerance=st.none() | st.floats(0, 1e9),
)


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["name"]) for vector in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    came = validate(vector["output"].encode(), vector["answer"].encode(), parse_flags(vector["args"].split()))
    assert came.accepted is vector["accepted"], came.message
    assert vector.get("says", "") in came.message
    assert came.accepted is (came.message == "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["float_tolerance"], "came nothing"),
        (["float_tolerance", "nan"], "came 'nan'"),
        (["float_tolerance", "inf"], "came 'inf'"),
        (["float_tolerance", "-1"], "came '-1'"),
        (["float_absolute_tolerance", "1_0"], "came '1_0'"),
        (["float_relative_tolerance", "case_sensitive"], "came 'case_sensitive'"),
        (["Case_sensitive"], "came 'Case_sensitive'"),
        (["--help"], "came '--help'"),
    ],
)
def test_bad_flags_name_what_came(args: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_flags(args)


@given(st.binary(), FLAGS)
def test_the_answer_itself_is_always_right(answer: bytes, flags: ValidatorFlags) -> None:
    assert validate(answer, answer, flags).accepted


@given(st.binary(), st.binary(), FLAGS)
def test_any_bytes_get_a_decision_and_a_reason(output: bytes, answer: bytes, flags: ValidatorFlags) -> None:
    came = validate(output, answer, flags)
    assert came.accepted is not came.message_bytes.startswith(b"Wrong answer on line ")
    assert len(came.message_bytes) < 400


@given(st.binary(), st.binary())
def test_without_flags_exactly_the_same_lowered_tokens_are_right(output: bytes, answer: bytes) -> None:
    alike = output.lower().split() == answer.lower().split()
    assert validate(output, answer, ValidatorFlags()).accepted is alike


@given(st.lists(st.sampled_from([b"1", b"2.5", b"x", b" ", b"\n", b"\t", b"1e3"])), FLAGS)
def test_a_looser_tolerance_never_refuses_more(parts: list[bytes], flags: ValidatorFlags) -> None:
    output, answer = b"".join(parts), b"".join(reversed(parts))
    loose = ValidatorFlags(
        case_sensitive=flags.case_sensitive,
        space_change_sensitive=flags.space_change_sensitive,
        float_absolute_tolerance=2e9,
        float_relative_tolerance=flags.float_relative_tolerance,
    )
    if flags.compares_floats and validate(output, answer, flags).accepted:
        assert validate(output, answer, loose).accepted


def test_a_token_of_megabytes_is_no_burden_and_is_not_repeated_in_the_message() -> None:
    flags = parse_flags(["float_tolerance", "1e-6"])
    for output in (b"9" * 4_000_000, b"0." + b"1" * 4_000_000, b"1e" + b"9" * 4_000_000, b"x" * 4_000_000):
        came = validate(output, b"0.5", flags)
        assert not came.accepted
        assert len(came.message_bytes) < 300
