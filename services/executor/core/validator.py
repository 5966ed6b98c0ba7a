r"""The default output validator: a beefed-up diff between a program's output and the answer file, pure over bytes.

Rule: https://www.kattis.com/problem-package-format/spec/2025-09.html#default-output-validator-specification. The
messages are those of its reference implementation, so that a judge who can read one can read both.

  - Both sides are bytes, cut into tokens at the six ASCII whitespace characters; nothing is decoded.
  - Tokens are equal byte for byte, or up to the case of ASCII letters unless `case_sensitive`.
  - With a tolerance, an answer token that is a number in the format's grammar is compared as a number: decimal digits,
    an optional fraction, an optional exponent. What Python or C read beyond it (`1_000`, `0x1p3`, `inf`, `nan`, digits
    of other scripts) is no number. One that no double can hold is none either, as in the reference, so that infinity
    never equals infinity by accident.
  - With `space_change_sensitive` the whitespace between tokens must be the same bytes too.

Two differences from the reference implementation are meant: a NUL byte is a byte like any other (there it ends a
token, so that "1\0junk" equals "1"), and a tolerance that is negative, not finite or given twice is refused.

Theory of operation: equal bytes are accepted at once. Otherwise tokens are cut and compared a block at a time, so that
memory stays at a few blocks whatever a program printed, and the first difference ends the work. Every step is linear in
what it looks at: the number pattern never lets two digit runs meet, since trying every split of megabytes of digits would
take hours. (Possessive quantifiers would say it better, but Python 3.11.2 matches "1e" with them.) Lines are counted
only to tell where a difference is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

_SPACE: Final = re.compile(rb"[ \t\n\v\f\r]")
_SPACES_AND_TOKEN: Final = re.compile(rb"([ \t\n\v\f\r]*)([^ \t\n\v\f\r]*)")
_NUMBER: Final = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SPACE_BYTES: Final = b" \t\n\v\f\r"
_BLOCK_BYTES: Final = 64 * 1024
_SHOWN_BYTES: Final = 30
"""Bytes of a token that a message shows; of two tokens, half as many before and after they part."""
_SLACK_BYTES: Final = 5
"""A token that is only this much longer is shown whole: dots for a few bytes would say less."""
_UNSET: Final = -1.0
"""How the reference shows a tolerance that is not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorFlags:
    """How to compare. A tolerance of None is not set; with both set, meeting one is enough."""

    case_sensitive: bool = False
    space_change_sensitive: bool = False
    float_absolute_tolerance: float | None = None
    float_relative_tolerance: float | None = None

    def __post_init__(self) -> None:
        for tolerance in (self.float_absolute_tolerance, self.float_relative_tolerance):
            if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
                raise ValueError(f"expected a finite tolerance of at least 0, came {tolerance!r}")

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
        """The message as text that any page, log and database takes: what is not printable is escaped."""
        return "".join(
            character
            if character == "\n" or character.isprintable()
            else character.encode("unicode_escape").decode("ascii")
            for character in self.message_bytes.decode("utf-8", "backslashreplace")
        )


ACCEPTED: Final = Validation(accepted=True)


def parse_flags(args: Sequence[str]) -> ValidatorFlags:
    """Reads the validator's arguments, e.g. `["case_sensitive", "float_tolerance", "1e-6"]`.

    Raises:
        ValueError: an unknown argument, or a tolerance that is missing, negative, not a finite number or set twice.
    """
    case_sensitive = space_change_sensitive = False
    tolerances: dict[str, float] = {}
    rest = iter(args)
    for name in rest:
        match name:
            case "case_sensitive":
                case_sensitive = True
            case "space_change_sensitive":
                space_change_sensitive = True
            case "float_absolute_tolerance" | "float_relative_tolerance":
                _set_tolerance(tolerances, name, (name,), next(rest, None))
            case "float_tolerance":
                both = ("float_absolute_tolerance", "float_relative_tolerance")
                _set_tolerance(tolerances, name, both, next(rest, None))
            case _:
                raise ValueError(
                    "expected case_sensitive, space_change_sensitive, float_tolerance E, float_absolute_tolerance E "
                    f"or float_relative_tolerance E, came {name[:40]!r}"
                )
    return ValidatorFlags(
        case_sensitive=case_sensitive,
        space_change_sensitive=space_change_sensitive,
        float_absolute_tolerance=tolerances.get("float_absolute_tolerance"),
        float_relative_tolerance=tolerances.get("float_relative_tolerance"),
    )


def _set_tolerance(tolerances: dict[str, float], name: str, kinds: Sequence[str], text: str | None) -> None:
    if text is None:
        raise ValueError(f"expected a number after {name}, came nothing")
    value = _number(text.encode("utf-8", "replace"))
    if value is None or value < 0:
        raise ValueError(f"expected a finite number of at least 0 after {name}, came {text[:40]!r}")
    for kind in kinds:
        if kind in tolerances:
            raise ValueError(f"expected each tolerance once, came {name} when {kind} was set")
        tolerances[kind] = value


def validate(output: bytes, answer: bytes, flags: ValidatorFlags) -> Validation:
    """Compares what a program printed with the answer; decides for any bytes and never raises.

    Args:
        output: standard output of the program.
        answer: the `.ans` file of the test case.
        flags: how strict to be.

    Returns:
        Accepted, or the first difference in words for the jury (they quote the answer).
    """
    if output == answer:
        return ACCEPTED
    if flags.space_change_sensitive:
        return _validate_with_spaces(output, answer, flags)
    return _validate_tokens(output, answer, flags)


def _validate_tokens(output: bytes, answer: bytes, flags: ValidatorFlags) -> Validation:
    """Compares token by token; whitespace only separates."""
    user, judge = _Reader(output), _Reader(answer)
    index = 0
    while True:
        has_token, judge_has_token = user.fill(), judge.fill()
        if not judge_has_token:
            return _trailing(output, user.start_of(0), answer) if has_token else ACCEPTED
        if not has_token:
            return _ended_early(output, answer, judge.start_of(0), index)
        count = min(len(user.tokens), len(judge.tokens))
        # Lists of equal tokens compare in one step; the loop runs only where something differs.
        if user.tokens[:count] != judge.tokens[:count]:
            for offset in range(count):
                difference = _token_difference(judge.tokens[offset], user.tokens[offset], flags)
                if difference is not None:
                    return _wrong(output, user.start_of(offset), answer, judge.start_of(offset), difference)
        index += count
        user.drop(count)
        judge.drop(count)


class _Reader:
    """Cuts data into tokens, a block at a time."""

    __slots__ = ("_data", "_dropped", "_next", "_start", "tokens")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._start = 0
        self._next = 0
        self._dropped = 0
        self.tokens: list[bytes] = []
        """Tokens of the block that are still to be compared."""

    def fill(self) -> bool:
        """Makes sure that there is a token; False at the end of the data."""
        while not self.tokens and self._next < len(self._data):
            self._start, self._dropped = self._next, 0
            space = _SPACE.search(self._data, self._start + _BLOCK_BYTES)
            self._next = len(self._data) if space is None else space.start()
            # Without an argument bytes.split cuts at exactly the format's six characters.
            self.tokens = self._data[self._start : self._next].split()
        return bool(self.tokens)

    def drop(self, count: int) -> None:
        del self.tokens[:count]
        self._dropped += count

    def start_of(self, offset: int) -> int:
        """Where `tokens[offset]` starts in the data."""
        block = self._data[self._start : self._next]
        index = self._dropped + offset
        return self._next - len(block.split(None, index)[index])


def _validate_with_spaces(output: bytes, answer: bytes, flags: ValidatorFlags) -> Validation:
    """Compares whitespace and tokens in turn; every whitespace byte counts."""
    at_output = at_answer = index = 0
    while True:
        here = _SPACES_AND_TOKEN.match(output, at_output)
        there = _SPACES_AND_TOKEN.match(answer, at_answer)
        assert here is not None, "the pattern matches nothing at the end, so it always matches"
        assert there is not None, "the pattern matches nothing at the end, so it always matches"
        (spaces, user), (judge_spaces, judge) = here.groups(), there.groups()
        if spaces != judge_spaces:
            return _space_difference(output, at_output, answer, at_answer)
        at_output += len(spaces)
        at_answer += len(judge_spaces)
        if not judge:
            return _trailing(output, at_output, answer) if user else ACCEPTED
        if not user:
            return _ended_early(output, answer, at_answer, index)
        difference = _token_difference(judge, user, flags)
        if difference is not None:
            return _wrong(output, at_output, answer, at_answer, difference)
        at_output += len(user)
        at_answer += len(judge)
        index += 1


def _space_difference(output: bytes, at_output: int, answer: bytes, at_answer: int) -> Validation:
    """Rejects at the first whitespace byte that differs from the two offsets on."""
    while at_answer < len(answer) and answer[at_answer] in _SPACE_BYTES:
        came = output[at_output] if at_output < len(output) else -1
        if came != answer[at_answer]:
            text = b"Space change error: got %d expected %d" % (came, answer[at_answer])
            return _wrong(output, at_output, answer, at_answer, text)
        at_answer += 1
        at_output += 1
    text = b"Space change error: judge out of space, got %d from user" % output[at_output]
    return _wrong(output, at_output, answer, at_answer, text)


def _ended_early(output: bytes, answer: bytes, at_answer: int, index: int) -> Validation:
    detail = b""
    if index == 0:
        detail = b"; user output contained only whitespace." if output else b"; user output was empty."
    judge = _shortened(_token_at(answer, at_answer))
    text = b"User EOF while judge had more output%s\n(Next judge token: %s)" % (detail, judge)
    return _wrong(output, len(output), answer, at_answer, text)


def _trailing(output: bytes, at_output: int, answer: bytes) -> Validation:
    text = b"Trailing output:\n" + _shortened(_token_at(output, at_output))
    return _wrong(output, at_output, answer, len(answer), text)


def _token_at(data: bytes, start: int) -> bytes:
    """As much of the token that starts there as a message can need."""
    return data[start : start + 2 * _SHOWN_BYTES].split(None, 1)[0]


def _wrong(output: bytes, at_output: int, answer: bytes, at_answer: int, text: bytes) -> Validation:
    where = b"Wrong answer on line %d of output (corresponding to line %d in answer file)\n" % (
        1 + output.count(b"\n", 0, at_output),
        1 + answer.count(b"\n", 0, at_answer),
    )
    return Validation(accepted=False, message_bytes=where + text + b"\n")


def _token_difference(judge: bytes, user: bytes, flags: ValidatorFlags) -> bytes | None:
    """Why the program's token is not the judge's, or None if it is."""
    if user == judge:
        return None
    if flags.compares_floats and (expected := _number(judge)) is not None:
        came = _number(user)
        if came is None:
            return b"Expected float, got: " + _shortened(user)
        return _number_difference(judge, user, expected, came, flags)
    if not flags.case_sensitive and user.lower() == judge.lower():
        return None
    return b'String tokens mismatch\nJudge: "%s"\nUser: "%s"' % _shortened_pair(judge, user)


def _number(token: bytes) -> float | None:
    """The token's value if all of it is a number of the format's grammar that a double can hold."""
    if _NUMBER.fullmatch(token) is None:
        return None
    value = float(token)
    return value if math.isfinite(value) else None


def _number_difference(judge: bytes, user: bytes, expected: float, came: float, flags: ValidatorFlags) -> bytes | None:
    absolute, relative = flags.float_absolute_tolerance, flags.float_relative_tolerance
    error = abs(expected - came)
    if absolute is not None and error <= absolute:
        return None
    if relative is not None and _within_relative(expected, came, relative):
        return None
    ratio = "undefined, judge value is 0" if expected == 0 else f"{error / abs(expected):e}"
    return (
        b"Too large difference.\n Judge: "
        + _shortened(judge)
        + b"\n User:  "
        + _shortened(user)
        + f"\n Absolute error: {error:e} (abs tolerance {_UNSET if absolute is None else absolute:e})".encode()
        + f"\n Relative error: {ratio} (rel tolerance {_UNSET if relative is None else relative:e})".encode()
    )


def _within_relative(expected: float, came: float, tolerance: float) -> bool:
    allowed = tolerance * abs(expected)
    if math.isinf(allowed):
        # The error may have overflowed as well; infinity against infinity would accept anything.
        return abs(Fraction(expected) - Fraction(came)) <= Fraction(tolerance) * abs(Fraction(expected))
    return abs(expected - came) <= allowed


def _shortened(token: bytes, kept: int = _SHOWN_BYTES) -> bytes:
    """A long token's beginning and dots; the cut moves on to the end of a UTF-8 character."""
    if len(token) <= kept + _SLACK_BYTES:
        return token
    cut = kept
    while cut < kept + 4 and token[cut] & 0xC0 == 0x80:
        cut += 1
    return token[:cut] + b"..."


def _shortened_pair(judge: bytes, user: bytes) -> tuple[bytes, bytes]:
    """Both tokens with what they share in front, shortened, and then from where they part."""
    shared = _shared_length(judge, user)
    half = _SHOWN_BYTES // 2
    prefix = _shortened(judge[:shared], half)
    return prefix + _shortened(judge[shared:], half), prefix + _shortened(user[shared:], half)


def _shared_length(one: bytes, other: bytes) -> int:
    """Length of the longest common prefix, by halving: each step compares slices at memory speed."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
