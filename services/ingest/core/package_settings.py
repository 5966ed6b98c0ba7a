"""`problem.yaml`: what the package says about the problem as a whole, in the format 2025-09 and in the legacy one.

A setting that would change a verdict and is not understood is refused, never passed over. The format lets a judge
derive the time limit from the package's own submissions; that is not done here, so a time limit must be given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.ingest.core.package_archive import MEBIBYTE
from services.ingest.core.package_refusal import PackageRefused, not_supported, shown
from services.ingest.core.package_yaml import nested, refuse_unknown

CURRENT: Final = "2025-09"
LEGACY: Final = ("legacy", "legacy-icpc")

DEFAULT_MEMORY_LIMIT_BYTES: Final = 512 * MEBIBYTE
DEFAULT_OUTPUT_LIMIT_BYTES: Final = 8 * MEBIBYTE
DEFAULT_COMPILE_CPU_TIME_LIMIT_NS: Final = 30_000_000_000
DEFAULT_COMPILE_MEMORY_LIMIT_BYTES: Final = 1024 * MEBIBYTE
DEFAULT_PROCESS_LIMIT: Final = 64
_MOST_SECONDS: Final = 600
_MOST_MEMORY_MIB: Final = 16_384
_MOST_OUTPUT_MIB: Final = 256
_NS_PER_SECOND: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_MAX_NAME_CHARACTERS: Final = 200
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

_CURRENT_KEYS: Final = frozenset(
    {
        "problem_format_version",
        "type",
        "name",
        "uuid",
        "version",
        "credits",
        "source",
        "license",
        "rights_owner",
        "embargo_until",
        "limits",
        "keywords",
        "languages",
        "allow_file_writing",
        "constants",
    }
)
_LEGACY_KEYS: Final = frozenset(
    {
        "problem_format_version",
        "type",
        "name",
        "uuid",
        "author",
        "source",
        "source_url",
        "license",
        "rights_owner",
        "limits",
        "validation",
        "validator_flags",
        "grading",
        "keywords",
    }
)
_SHARED_LIMITS: Final = frozenset(
    {
        "time_limit",
        "memory",
        "output",
        "code",
        "compilation_time",
        "compilation_memory",
        "validation_time",
        "validation_memory",
        "validation_output",
    }
)
_CURRENT_LIMITS: Final = _SHARED_LIMITS | {"time_multipliers", "time_resolution", "validation_passes"}
_LEGACY_LIMITS: Final = _SHARED_LIMITS | {"time_multiplier", "time_safety_margin"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageLimits:
    """Limits of the problem; all positive."""

    cpu_time_limit_ns: int
    """A whole number of milliseconds."""
    wall_time_limit_ns: int
    memory_limit_bytes: int
    output_limit_bytes: int
    process_limit: int
    compile_cpu_time_limit_ns: int
    compile_memory_limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSettings:
    """What `problem.yaml` says."""

    name: str
    """English if there is an English one; empty when a legacy package leaves it to its statement."""
    legacy: bool
    limits: PackageLimits
    validator_flags: tuple[str, ...]
    """Legacy only: arguments of the output validator for every test."""
    has_constants: bool


def read_settings(settings: Mapping[str, Any]) -> PackageSettings:
    """Understands `problem.yaml`.

    Raises:
        PackageRefused: an unknown key, a limit that cannot be meant, or something that is not supported.
    """
    version = settings.get("problem_format_version", LEGACY[0])
    if version != CURRENT and version not in LEGACY:
        raise not_supported(f"problem_format_version {CURRENT}, {' or '.join(LEGACY)}", shown(version))
    legacy = version != CURRENT
    refuse_unknown("problem.yaml", settings, _LEGACY_KEYS if legacy else _CURRENT_KEYS)
    _refuse_unsupported(settings)
    return PackageSettings(
        name=_name(settings, legacy=legacy),
        legacy=legacy,
        limits=_limits(nested("problem.yaml", settings, "limits"), legacy=legacy),
        validator_flags=_legacy_flags(settings.get("validator_flags", "")),
        has_constants=bool(nested("problem.yaml", settings, "constants")),
    )


def _refuse_unsupported(settings: Mapping[str, Any]) -> None:
    kinds = settings.get("type", "pass-fail")
    if kinds not in ("pass-fail", ["pass-fail"]):
        raise not_supported("type pass-fail", shown(kinds))
    validation = settings.get("validation", "default")
    if validation != "default":
        raise not_supported("validation default", shown(validation))
    if "grading" in settings:
        raise not_supported("no grading", shown(settings["grading"]))
    languages = settings.get("languages", "all")
    if languages not in ("all", ["all"]):
        raise not_supported("languages all", shown(languages))
    uuid = settings.get("uuid", "")
    if uuid and not (isinstance(uuid, str) and _UUID.fullmatch(uuid)):
        raise PackageRefused("bad_uuid", expected="uuid as 8-4-4-4-12 hexadecimal digits", came=shown(uuid))
    allow_file_writing = settings.get("allow_file_writing", False)
    if not isinstance(allow_file_writing, bool):
        raise PackageRefused(
            "bad_yaml", expected="allow_file_writing to be true or false", came=shown(allow_file_writing)
        )


def _name(settings: Mapping[str, Any], *, legacy: bool) -> str:
    name = settings.get("name", "" if legacy else None)
    if isinstance(name, dict):
        name = name.get("en") or next(iter(name.values()), None)
    if not isinstance(name, str) or len(name) > _MAX_NAME_CHARACTERS or not (name or legacy) or not name.isprintable():
        raise PackageRefused(
            "bad_name",
            expected=f"a name of at most {_MAX_NAME_CHARACTERS} printable characters, or names by language",
            came=shown(name),
        )
    return name


def _legacy_flags(value: object) -> tuple[str, ...]:
    if not isinstance(value, str):
        raise PackageRefused("bad_validator_args", expected="validator_flags to be a string", came=shown(value))
    return tuple(value.split())


def _limits(limits: Mapping[str, Any], *, legacy: bool) -> PackageLimits:
    refuse_unknown("problem.yaml: limits", limits, _LEGACY_LIMITS if legacy else _CURRENT_LIMITS)
    for name, most in (
        ("code", 1024 * 1024),
        ("validation_time", _MOST_SECONDS),
        ("validation_memory", _MOST_MEMORY_MIB),
        ("validation_output", _MOST_OUTPUT_MIB),
    ):
        # The default validator runs in no sandbox and needs none of these, but nonsense is refused all the same.
        _whole(limits, name, most=most, unit="units", default=1)
    memory_limit_bytes = _mebibytes(limits, "memory", DEFAULT_MEMORY_LIMIT_BYTES, most=_MOST_MEMORY_MIB)
    output_limit_bytes = _mebibytes(limits, "output", DEFAULT_OUTPUT_LIMIT_BYTES, most=_MOST_OUTPUT_MIB)
    compile_seconds = _whole(
        limits,
        "compilation_time",
        most=_MOST_SECONDS,
        unit="seconds",
        default=DEFAULT_COMPILE_CPU_TIME_LIMIT_NS // _NS_PER_SECOND,
    )
    compile_memory_limit_bytes = _mebibytes(
        limits, "compilation_memory", DEFAULT_COMPILE_MEMORY_LIMIT_BYTES, most=_MOST_MEMORY_MIB
    )
    cpu_time_limit_ns = _time_limit_ns(limits)
    return PackageLimits(
        cpu_time_limit_ns=cpu_time_limit_ns,
        # A program that waits must end too; twice the CPU time and a second leave room for a busy host.
        wall_time_limit_ns=2 * cpu_time_limit_ns + _NS_PER_SECOND,
        memory_limit_bytes=memory_limit_bytes,
        output_limit_bytes=output_limit_bytes,
        process_limit=DEFAULT_PROCESS_LIMIT,
        compile_cpu_time_limit_ns=compile_seconds * _NS_PER_SECOND,
        compile_memory_limit_bytes=compile_memory_limit_bytes,
    )


def _time_limit_ns(limits: Mapping[str, Any]) -> int:
    expected = f"limits.time_limit between 0.001 and {_MOST_SECONDS} seconds, in whole milliseconds"
    if "time_limit" not in limits:
        raise PackageRefused("bad_limit", expected=expected, came="none (it is not derived from submissions)")
    value = limits["time_limit"]
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0.001 <= value <= _MOST_SECONDS
    if not fits or not math.isclose(value * 1000, round(value * 1000), rel_tol=0, abs_tol=1e-6):
        raise PackageRefused("bad_limit", expected=expected, came=shown(value))
    return round(float(value) * 1000) * _NS_PER_MS


def _mebibytes(limits: Mapping[str, Any], name: str, default_bytes: int, *, most: int) -> int:
    return MEBIBYTE * _whole(limits, name, most=most, unit="MiB", default=default_bytes // MEBIBYTE)


def _whole(limits: Mapping[str, Any], name: str, *, most: int, unit: str, default: int) -> int:
    value: object = limits.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise PackageRefused(
            "bad_limit", expected=f"limits.{name} as a whole number of {unit} from 1 to {most}", came=shown(value)
        )
    return value
