"""The default output validator: vectors of this project's own, and what must hold for any bytes."""

from __future__ import annotations

import math
import tomllib
from fractions import Fraction
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


def bytes_of(vector: dict[str, Any], side: str) -> bytes:
    once = bytes.fromhex(vector[f"{side}_hex"]) if f"{side}_hex" in vector else vector[side].encode()
    return once * vector.get("repeat", 1)


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["name"]) for vector in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    came = validate(bytes_of(vector, "output"), bytes_of(vector, "answer"), parse_flags(vector["args"].split()))
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
        (["float_tolerance", "0x1p-20"], "came '0x1p-20'"),
        (["float_tolerance", "1e999"], "came '1e999'"),
        (["float_tolerance", " 1"], "came ' 1'"),
        (["float_tolerance", "\u0661"], "came '\u0661'"),
        (["float_tolerance", ""], "came ''"),
        (
            ["float_tolerance", "1", "float_tolerance", "1"],
            "came float_tolerance when float_absolute_tolerance was set",
        ),
        (["float_tolerance", "1", "float_relative_tolerance", "1"], "each tolerance once"),
        (["float_absolute_tolerance", "1", "float_tolerance", "1"], "each tolerance once"),
        (["Case_sensitive"], "came 'Case_sensitive'"),
        ([""], "came ''"),
        (["--help"], "came '--help'"),
    ],
)
def test_bad_flags_name_what_came(args: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_flags(args)


@pytest.mark.parametrize("tolerance", [math.nan, math.inf, -1.0])
def test_no_flags_exist_with_a_tolerance_that_means_nothing(tolerance: float) -> None:
    with pytest.raises(ValueError, match="expected a finite tolerance of at least 0"):
        ValidatorFlags(float_absolute_tolerance=tolerance)


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


@given(st.binary(), st.binary(), FLAGS)
def test_the_message_is_text_that_a_database_and_a_page_take(
    output: bytes, answer: bytes, flags: ValidatorFlags
) -> None:
    message = validate(output, answer, flags).message
    assert all(character == "\n" or character.isprintable() for character in message)
    message.encode("utf-8")


@given(st.lists(st.binary(min_size=1, max_size=4).map(lambda piece: piece.translate(None, b" \t\n\v\f\r"))))
def test_any_whitespace_between_the_same_tokens_is_right(tokens: list[bytes]) -> None:
    kept = [token for token in tokens if token]
    flags = ValidatorFlags(case_sensitive=True)
    assert validate(b" \r\n\t".join(kept) + b"\v", b"\n".join(kept), flags).accepted
    strict = ValidatorFlags(case_sensitive=True, space_change_sensitive=True)
    assert validate(b" \n".join(kept), b"\n ".join(kept), strict).accepted is (len(kept) <= 1)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["{!r}", "{:.17e}", "{:+.20E}"]))
def test_a_double_in_any_spelling_is_itself(value: float, spelling: str) -> None:
    output, answer = spelling.format(value).encode(), repr(value).encode()
    assert validate(output, answer, ValidatorFlags(float_absolute_tolerance=0.0)).accepted


@given(
    st.floats(-1e300, 1e300), st.floats(-1e300, 1e300), st.none() | st.floats(0, 1e300), st.none() | st.floats(0, 1e300)
)
def test_tolerances_are_the_formats_inequalities(
    output: float, answer: float, absolute: float | None, relative: float | None
) -> None:
    flags = ValidatorFlags(float_absolute_tolerance=absolute, float_relative_tolerance=relative)
    if not flags.compares_floats:
        return
    error = abs(output - answer)
    # Products past the largest double are decided exactly by the validator, so exactly here too.
    allowed = None if relative is None else Fraction(relative) * Fraction(abs(answer))
    near = (absolute is not None and error <= absolute) or (
        relative is not None
        and (Fraction(error) <= allowed if math.isinf(relative * abs(answer)) else error <= relative * abs(answer))
    )
    assert validate(repr(output).encode(), repr(answer).encode(), flags).accepted is near


def test_differences_past_the_first_block_are_told_where_they_are() -> None:
    lines = [b"%d" % number for number in range(100_000)]
    answer = b"\n".join(lines)
    lines[77_776] = b"wrong"
    came = validate(b"\r\n".join(lines), answer, ValidatorFlags())
    assert came.message_bytes.startswith(b"Wrong answer on line 77777 of output (corresponding to line 77777 in answer")
    assert b'Judge: "77776"\nUser: "wrong"' in came.message_bytes


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "args", [[], ["float_tolerance", "1e-6"], ["float_tolerance", "1e-6", "space_change_sensitive"]]
)
@pytest.mark.parametrize(
    "output",
    [
        b"9" * 4_000_000,
        b"9" * 4_000_000 + b"x",
        b"0." + b"1" * 4_000_000,
        b"0." + b"1" * 4_000_000 + b"x",
        b"1e" + b"9" * 4_000_000,
        b"1e" + b"0" * 4_000_000 + b"x",
        b"." * 4_000_000,
        b"+" * 4_000_000,
        b"x" * 4_000_000,
        b"0.5\n" * 1_000_000,
        b" " * 4_000_000,
        b"\0" * 4_000_000,
    ],
    ids=lambda output: repr(output[:4] + output[-1:]),
)
def test_megabytes_of_anything_are_no_burden_and_are_not_repeated_in_the_message(
    output: bytes, args: list[str]
) -> None:
    came = validate(output, b"0.5", parse_flags(args))
    assert not came.accepted
    assert len(came.message_bytes) < 400
