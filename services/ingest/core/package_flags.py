"""Arguments of the default output validator, checked when a package enters.

Executors read them by the same grammar and hold a submission whose arguments they cannot read. A package that would
end there must not be published, so this must refuse exactly what they refuse; a test holds both against each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from services.ingest.core.package_refusal import PackageRefused

_SWITCHES: Final = ("case_sensitive", "space_change_sensitive")
_TOLERANCES: Final = {
    "float_tolerance": ("float_absolute_tolerance", "float_relative_tolerance"),
    "float_absolute_tolerance": ("float_absolute_tolerance",),
    "float_relative_tolerance": ("float_relative_tolerance",),
}
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MAX_ARGS: Final = 16
_MAX_ARG_CHARACTERS: Final = 100


def check_flags(where: str, args: Sequence[str]) -> tuple[str, ...]:
    """The arguments as they came.

    Raises:
        PackageRefused: the default output validator would not take them.
    """
    if len(args) > _MAX_ARGS or any(len(arg) > _MAX_ARG_CHARACTERS for arg in args):
        raise _refused(where, f"at most {_MAX_ARGS} arguments of {_MAX_ARG_CHARACTERS} characters", repr(list(args)))
    rest = iter(args)
    tolerated: set[str] = set()
    for arg in rest:
        if arg in _SWITCHES:
            continue
        if arg not in _TOLERANCES:
            raise _refused(where, f"one of {', '.join((*_SWITCHES, *_TOLERANCES))}", repr(arg))
        value = next(rest, None)
        if value is None or not _is_tolerance(value):
            came = "nothing" if value is None else repr(value)
            raise _refused(where, f"a finite number of at least 0 after {arg}", came)
        if not tolerated.isdisjoint(_TOLERANCES[arg]):
            raise _refused(where, "each tolerance once", f"{arg} when {' and '.join(sorted(tolerated))} is set")
        tolerated.update(_TOLERANCES[arg])
    return tuple(args)


def _is_tolerance(text: str) -> bool:
    if not _NUMBER.fullmatch(text):
        return False
    value = float(text)
    return math.isfinite(value) and value >= 0


def _refused(where: str, expected: str, came: str) -> PackageRefused:
    return PackageRefused("bad_validator_args", expected=f"{where}: {expected}", came=came)
