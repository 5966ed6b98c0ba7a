"""Why a problem package cannot be taken."""

from __future__ import annotations

_SHOWN_CHARACTERS = 200


class PackageRefused(Exception):
    """A package that cannot be taken. `code` is machine-readable; the message says what was expected and what came."""

    def __init__(self, code: str, *, expected: str, came: str) -> None:
        came = came[:_SHOWN_CHARACTERS]
        super().__init__(f"expected {expected}, came {came}")
        self.code = code
        self.expected = expected
        self.came = came


def not_supported(expected: str, came: str) -> PackageRefused:
    """What the format knows, would change verdicts, and this version of the judge cannot do."""
    return PackageRefused("not_supported", expected=f"{expected} (nothing else is supported yet)", came=came)


def shown(value: object) -> str:
    """A value of somebody's YAML, as a refusal shows it."""
    try:
        return repr(value)[:_SHOWN_CHARACTERS]
    except ValueError:
        # Python writes no decimal number of more than a few thousand digits; YAML reads any in hexadecimal.
        return "a number of thousands of digits"
