r"""The default output validator of the problem package format, as a pure function over bytes.

Rule: https://www.kattis.com/problem-package-format/spec/2025-09.html#default-output-validator-specification
Tokens are split at ASCII white space and compared in order, without regard to case unless `case_sensitive`. With a
float tolerance, a token of the answer that is a finite number of C's `strtod` (hexadecimal included) is compared as
a number within the absolute or the relative error. With `space_change_sensitive` white space must be the same too.

Two differences from the reference implementation are meant: a NUL byte is a byte like any other (there it ends a
token, so that "1\\0junk" equals "1"), and a negative or non-finite tolerance is refused instead of switched off.

The work is linear in the length of both files, whatever they hold: no token is parsed before its shape was matched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_TOKEN = re.compile(rb"[^ \t\n\v\f\r]+")
_DECIMAL = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(rb"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?")
_SPACES = b" \t\n\v\f\r"
_KEPT_TOKEN_BYTES = 30
_KEPT_PART_BYTES = 15
_SLACK_BYTES = 5
"""A token that is only this much longer is shown whole: dots for a few bytes would say less."""
_UNSET = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorFlags:
    """How to compare. A tolerance of None is not set; with both set, meeting one is enough."""

    case_sensitive: bool = False
    space_change_sensitive: bool = False
    float_absolute_tolerance: float | None = None
    float_relative_tolerance: float | None = None

    @property
    def compares_floats(self) -> bool:
        return self.float_absolute_tolerance is not None or self.float_relative_tolerance is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Whether the output is right; if not, `message_bytes` say where (bytes, since output may be anything)."""

    accepted: bool
    message_bytes: bytes = b""

    @property
    def message(self) -> str:
        return self.message_bytes.decode("utf-8", "replace")


ACCEPTED = Validation(accepted=True)


def parse_flags(args: Sequence[str]) -> ValidatorFlags:
    """Reads the validator's arguments; the last one of a kind counts.

    Raises:
        ValueError: an unknown argument, or a tolerance that is missing, negative or not a finite number.
    """
    case_sensitive = space_change_sensitive = False
    absolute: float | None = None
    relative: float | None = None
    rest = iter(args)
    for name in rest:
        match name:
            case "case_sensitive":
                case_sensitive = True
            case "space_change_sensitive":
                space_change_sensitive = True
            case "float_absolute_tolerance":
                absolute = _tolerance(name, next(rest, None))
            case "float_relative_tolerance":
                relative = _tolerance(name, next(rest, None))
            case "float_tolerance":
                absolute = relative = _tolerance(name, next(rest, None))
            case _:
                raise ValueError(
                    "expected case_sensitive, space_change_sensitive, float_tolerance E, float_absolute_tolerance E "
                    f"or float_relative_tolerance E, came {name!r}"
                )
    return ValidatorFlags(
        case_sensitive=case_sensitive,
        space_change_sensitive=space_change_sensitive,
        float_absolute_tolerance=absolute,
        float_relative_tolerance=relative,
    )


def _tolerance(name: str, text: str | None) -> float:
    if text is None:
        raise ValueError(f"expected a number after {name}, came nothing")
    value = _number(text.encode("utf-8", "replace"))
    if value is None or value < 0:
        raise ValueError(f"expected a finite number of at least 0 after {name}, came {text[:40]!r}")
    return value


def validate(output: bytes, answer: bytes, flags: ValidatorFlags) -> Validation:
    """Compares a program's output with the answer."""
    if output == answer or (not flags.space_change_sensitive and _tokens_alike(output, answer, flags)):
        return ACCEPTED
    wrong = _first_difference(output, answer, flags)
    return ACCEPTED if wrong is None else wrong


def _tokens_alike(output: bytes, answer: bytes, flags: ValidatorFlags) -> bool:
    """The quick way for right outputs; what it does not accept is looked at token by token."""
    if flags.case_sensitive:
        return output.split() == answer.split()
    return output.lower().split() == answer.lower().split()


def _first_difference(output: bytes, answer: bytes, flags: ValidatorFlags) -> Validation | None:
    at_output = at_answer = 0
    any_token = False
    while True:
        if flags.space_change_sensitive:
            spaces = _space_difference(output, at_output, answer, at_answer)
            if spaces is not None:
                return spaces
        judge = _TOKEN.search(answer, at_answer)
        user = _TOKEN.search(output, at_output)
        if judge is None:
            if user is None:
                return None
            return _wrong(output, user.start(), answer, len(answer), b"Trailing output:\n" + _shortened(user.group()))
        if user is None:
            return _wrong(
                output, len(output), answer, judge.start(), _ended_early(output, judge.group(), any_token=any_token)
            )
        message = _token_difference(judge.group(), user.group(), flags)
        if message is not None:
            return _wrong(output, user.start(), answer, judge.start(), message)
        any_token = True
        at_answer, at_output = judge.end(), user.end()


def _space_difference(output: bytes, at_output: int, answer: bytes, at_answer: int) -> Validation | None:
    while at_answer < len(answer) and answer[at_answer] in _SPACES:
        came = output[at_output] if at_output < len(output) else -1
        if came != answer[at_answer]:
            text = b"Space change error: got %d expected %d" % (came, answer[at_answer])
            return _wrong(output, at_output, answer, at_answer, text)
        at_answer += 1
        at_output += 1
    if at_output < len(output) and output[at_output] in _SPACES:
        text = b"Space change error: judge out of space, got %d from user" % output[at_output]
        return _wrong(output, at_output, answer, at_answer, text)
    return None


def _token_difference(judge: bytes, user: bytes, flags: ValidatorFlags) -> bytes | None:
    if flags.compares_floats and (expected := _number(judge)) is not None:
        came = _number(user)
        if came is None:
            return b"Expected float, got: " + _shortened(user)
        return _number_difference(judge, user, expected, came, flags)
    alike = judge == user if flags.case_sensitive else judge.lower() == user.lower()
    if alike:
        return None
    shown_judge, shown_user = _shortened_pair(judge, user)
    return b'String tokens mismatch\nJudge: "%s"\nUser: "%s"' % (shown_judge, shown_user)


def _number_difference(judge: bytes, user: bytes, expected: float, came: float, flags: ValidatorFlags) -> bytes | None:
    absolute = _UNSET if flags.float_absolute_tolerance is None else flags.float_absolute_tolerance
    relative = _UNSET if flags.float_relative_tolerance is None else flags.float_relative_tolerance
    error = abs(expected - came)
    if error <= absolute or (relative >= 0 and error <= relative * abs(expected)):
        return None
    ratio = "undefined, judge value is 0" if expected == 0 else f"{error / abs(expected):e}"
    return (
        b"Too large difference.\n Judge: "
        + _shortened(judge)
        + b"\n User:  "
        + _shortened(user)
        + f"\n Absolute error: {error:e} (abs tolerance {absolute:e})".encode()
        + f"\n Relative error: {ratio} (rel tolerance {relative:e})".encode()
    )


def _number(token: bytes) -> float | None:
    """The finite number that a whole token is in C, else None."""
    if _DECIMAL.fullmatch(token):
        value = float(token)
    elif _HEXADECIMAL.fullmatch(token):
        try:
            value = float.fromhex(token.decode("ascii"))
        except OverflowError:
            return None
    else:
        return None
    return value if math.isfinite(value) else None


def _ended_early(output: bytes, judge: bytes, *, any_token: bool) -> bytes:
    detail = (
        b"" if any_token else b"; user output was empty." if not output else b"; user output contained only whitespace."
    )
    return b"User EOF while judge had more output%s\n(Next judge token: %s)" % (detail, _shortened(judge))


def _wrong(output: bytes, at_output: int, answer: bytes, at_answer: int, message: bytes) -> Validation:
    where = b"Wrong answer on line %d of output (corresponding to line %d in answer file)\n" % (
        1 + output.count(b"\n", 0, at_output),
        1 + answer.count(b"\n", 0, at_answer),
    )
    return Validation(accepted=False, message_bytes=where + message + b"\n")


def _shortened(token: bytes, kept: int = _KEPT_TOKEN_BYTES) -> bytes:
    """A long token's beginning and dots; the cut moves on to the end of a UTF-8 character."""
    if len(token) <= kept + _SLACK_BYTES:
        return token
    cut = kept
    while cut < kept + 4 and token[cut] & 0xC0 == 0x80:
        cut += 1
    return token[:cut] + b"..."


def _shortened_pair(judge: bytes, user: bytes) -> tuple[bytes, bytes]:
    """Both tokens from shortly before the place where they part."""
    same = next((at for at, (one, other) in enumerate(zip(judge, user, strict=False)) if one != other), None)
    parts = min(len(judge), len(user)) if same is None else same
    prefix = _shortened(judge[:parts], _KEPT_PART_BYTES)
    return (
        prefix + _shortened(judge[parts:], _KEPT_PART_BYTES),
        prefix + _shortened(user[parts:], _KEPT_PART_BYTES),
    )
