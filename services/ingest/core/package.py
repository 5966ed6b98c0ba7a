"""A problem package, read from the bytes of a zip: strict, bounded, and without touching a disk.

Rule: the problem package format 2025-09 (https://www.kattis.com/problem-package-format/spec/2025-09.html), as far as
the default output validator goes; the legacy spelling of the same settings is read too. What is not understood and
would change a verdict (a custom validator, an interactor, graders) is refused, never ignored.

A package is hostile input: entries, sizes and ratios are bounded before anything is unpacked, names are flat paths
inside the archive, links and encrypted entries are refused, YAML has no aliases.
"""

from __future__ import annotations

import io
import math
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from schemas.identity import canonical_json, digest
from schemas.problems import SAMPLE, SECRET

MEBIBYTE = 1 << 20
MAX_PACKAGE_BYTES = 256 * MEBIBYTE
MAX_UNPACKED_BYTES = 1024 * MEBIBYTE
MAX_ENTRY_BYTES = 256 * MEBIBYTE
MAX_ENTRIES = 5_000
MAX_TESTS = 1_000
MAX_YAML_BYTES = 64 * 1024
MAX_NAME_BYTES = 255
MAX_EXPANSION = 200
"""Unpacked to packed; honest text stays far below, a bomb is a thousand and more."""
EXPANSION_SLACK_BYTES = 16 * MEBIBYTE

DEFAULT_CPU_TIME_LIMIT_NS = 1_000_000_000
DEFAULT_MEMORY_LIMIT_BYTES = 512 * MEBIBYTE
DEFAULT_OUTPUT_LIMIT_BYTES = 8 * MEBIBYTE
DEFAULT_COMPILE_CPU_TIME_LIMIT_NS = 30_000_000_000
DEFAULT_COMPILE_MEMORY_LIMIT_BYTES = 1024 * MEBIBYTE
DEFAULT_PROCESS_LIMIT = 64

_NAME = re.compile(r"[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*")
_FOREIGN_FOLDERS = ("output_validators/", "output_validator/", "graders/", "interactors/")
_VALIDATOR_FLAGS = frozenset(
    {
        "case_sensitive",
        "space_change_sensitive",
        "float_tolerance",
        "float_absolute_tolerance",
        "float_relative_tolerance",
    }
)


class PackageRefused(Exception):
    """A package that cannot be taken. `code` is machine-readable; the message says what was expected and what came."""

    def __init__(self, code: str, *, expected: str, came: str) -> None:
        super().__init__(f"expected {expected}, came {came}")
        self.code = code
        self.expected = expected
        self.came = came


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageLimits:
    """Limits of the problem; all positive."""

    cpu_time_limit_ns: int
    wall_time_limit_ns: int
    memory_limit_bytes: int
    output_limit_bytes: int
    process_limit: int
    compile_cpu_time_limit_ns: int
    compile_memory_limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TestCase:
    """One test: `name` is `sample/1` or `secret/group/2`."""

    __test__ = False

    name: str
    group: str
    input: bytes
    answer: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemPackage:
    """A package that was understood. Tests are samples first, then secret ones, each in order of their names."""

    name: str
    version: str
    """sha256:<hex> over what was read, whatever the order or the times in the archive."""
    limits: PackageLimits
    validator_args: tuple[str, ...]
    tests: tuple[TestCase, ...]


def read_package(archive: bytes) -> ProblemPackage:
    """Reads a zipped package; a single folder around everything is taken off.

    Raises:
        PackageRefused: it is not a package that can be judged, or it is not harmless.
    """
    return parse_package(_without_outer_folder(_unpack(archive)))


def parse_package(files: Mapping[str, bytes]) -> ProblemPackage:
    """Understands the files of a package, by their names inside it."""
    for folder in _FOREIGN_FOLDERS:
        if any(name.startswith(folder) for name in files):
            raise PackageRefused("not_supported", expected="the default output validator", came=f"a folder {folder}")
    if "problem.yaml" not in files:
        raise PackageRefused("no_problem_yaml", expected="a file problem.yaml", came=f"{sorted(files)[:5]}")
    settings = _yaml_mapping("problem.yaml", files["problem.yaml"])
    _refuse_unsupported(settings)
    limits = _limits(settings)
    args = _validator_args(settings, files)
    tests = _tests(files)
    content = canonical_json(
        {
            "args": list(args),
            "name": _display_name(settings),
            "limits": [getattr(limits, field) for field in PackageLimits.__dataclass_fields__],
            "tests": [[test.name, digest(test.input), digest(test.answer)] for test in tests],
        }
    )
    return ProblemPackage(
        name=_display_name(settings), version=digest(content), limits=limits, validator_args=args, tests=tests
    )


def _unpack(archive: bytes) -> dict[str, bytes]:
    if len(archive) > MAX_PACKAGE_BYTES:
        raise PackageRefused("too_large", expected=f"at most {MAX_PACKAGE_BYTES} bytes", came=f"{len(archive)}")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            _check_entries(entries, len(archive))
            return {entry.filename: _read_entry(opened, entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise PackageRefused("not_a_zip", expected="a whole zip archive", came=str(error)[:200]) from error


def _check_entries(entries: Sequence[zipfile.ZipInfo], packed_bytes: int) -> None:
    if len(entries) > MAX_ENTRIES:
        raise PackageRefused("too_many_files", expected=f"at most {MAX_ENTRIES} files", came=f"{len(entries)}")
    seen: set[str] = set()
    for entry in entries:
        _check_entry(entry)
        if entry.filename in seen:
            raise PackageRefused("duplicate_name", expected="each name once", came=f"{entry.filename!r} twice")
        seen.add(entry.filename)
    total = sum(entry.file_size for entry in entries)
    if total > MAX_UNPACKED_BYTES or total > packed_bytes * MAX_EXPANSION + EXPANSION_SLACK_BYTES:
        expected = f"at most {MAX_UNPACKED_BYTES} bytes unpacked and {MAX_EXPANSION} times the packed size"
        raise PackageRefused("zip_bomb", expected=expected, came=f"{total} bytes from {packed_bytes}")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = entry.filename
    parts = name.split("/")
    if not _NAME.fullmatch(name) or any(part in (".", "..") for part in parts) or len(name) > MAX_NAME_BYTES:
        raise PackageRefused(
            "bad_name",
            expected="a relative path of letters, digits and . _ + - inside the package",
            came=f"{name[:80]!r}",
        )
    mode = entry.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise PackageRefused("not_a_file", expected="regular files only", came=f"{name!r} of mode {mode:o}")
    if entry.flag_bits & 0x1:
        raise PackageRefused("encrypted", expected="no encryption", came=f"{name!r} encrypted")
    if entry.file_size > MAX_ENTRY_BYTES:
        raise PackageRefused(
            "too_large", expected=f"at most {MAX_ENTRY_BYTES} bytes", came=f"{name!r}: {entry.file_size}"
        )


def _read_entry(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with opened.open(entry) as file:
        # The header may lie about the size; one byte more than it says is enough to know.
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise PackageRefused(
            "not_a_zip", expected=f"{entry.file_size} bytes in {entry.filename!r}", came="another length"
        )
    return data


def _without_outer_folder(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    outer = {name.split("/", 1)[0] for name in files}
    if len(outer) != 1 or "problem.yaml" in files:
        return files
    return {name.split("/", 1)[1]: data for name, data in files.items() if "/" in name}


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases (an alias can make a small file large) and without doubled keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not taken")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: Any = False) -> Any:  # noqa: FBT002  PyYAML's signature
        keys = [key.value for key, _value in node.value]
        if len(keys) != len(set(map(str, keys))):
            raise yaml.YAMLError("a key stands twice")
        return super().construct_mapping(node, deep)


def _yaml_mapping(name: str, data: bytes) -> Mapping[str, Any]:
    if len(data) > MAX_YAML_BYTES:
        raise PackageRefused("bad_yaml", expected=f"{name} of at most {MAX_YAML_BYTES} bytes", came=f"{len(data)}")
    try:
        value = yaml.load(data.decode("utf-8"), _PlainLoader)  # noqa: S506  a SafeLoader, made stricter
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise PackageRefused("bad_yaml", expected=f"{name} in YAML", came=" ".join(str(error).split())[:200]) from error
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise PackageRefused("bad_yaml", expected=f"{name} to be a mapping", came=type(value).__name__)
    return value


def _refuse_unsupported(settings: Mapping[str, Any]) -> None:
    kinds = settings.get("type", "pass-fail")
    if kinds not in ("pass-fail", ["pass-fail"]):
        raise PackageRefused("not_supported", expected="type pass-fail", came=f"{kinds!r}"[:100])
    validation = settings.get("validation", "default")
    if validation != "default":
        raise PackageRefused("not_supported", expected="validation default", came=f"{validation!r}"[:100])


def _display_name(settings: Mapping[str, Any]) -> str:
    name = settings.get("name", "")
    if isinstance(name, dict):
        name = name.get("en") or next(iter(name.values()), "")
    if not isinstance(name, str) or len(name) > 200:
        raise PackageRefused("bad_name", expected="a name of at most 200 characters", came=f"{name!r}"[:100])
    return name


def _limits(settings: Mapping[str, Any]) -> PackageLimits:
    limits = settings.get("limits") or {}
    if not isinstance(limits, dict):
        raise PackageRefused("bad_limit", expected="limits to be a mapping", came=type(limits).__name__)
    cpu_ns = _seconds(limits, "time_limit", DEFAULT_CPU_TIME_LIMIT_NS, most=600)
    return PackageLimits(
        cpu_time_limit_ns=cpu_ns,
        # A program that waits must end too; twice the CPU time and a second leave room for a busy host.
        wall_time_limit_ns=2 * cpu_ns + 1_000_000_000,
        memory_limit_bytes=_mebibytes(limits, "memory", DEFAULT_MEMORY_LIMIT_BYTES, most=16_384),
        output_limit_bytes=_mebibytes(limits, "output", DEFAULT_OUTPUT_LIMIT_BYTES, most=256),
        process_limit=DEFAULT_PROCESS_LIMIT,
        compile_cpu_time_limit_ns=_seconds(limits, "compilation_time", DEFAULT_COMPILE_CPU_TIME_LIMIT_NS, most=600),
        compile_memory_limit_bytes=_mebibytes(
            limits, "compilation_memory", DEFAULT_COMPILE_MEMORY_LIMIT_BYTES, most=16_384
        ),
    )


def _seconds(limits: Mapping[str, Any], name: str, default_ns: int, *, most: float) -> int:
    if name not in limits:
        return default_ns
    return round(_limit_number(limits, name, least=0.001, most=most, unit="seconds") * 1e9)


def _mebibytes(limits: Mapping[str, Any], name: str, default_bytes: int, *, most: float) -> int:
    if name not in limits:
        return default_bytes
    return round(_limit_number(limits, name, least=1, most=most, unit="MiB") * MEBIBYTE)


def _limit_number(limits: Mapping[str, Any], name: str, *, least: float, most: float, unit: str) -> float:
    value = limits[name]
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not least <= value <= most:
        raise PackageRefused(
            "bad_limit", expected=f"limits.{name} between {least:g} and {most:g} {unit}", came=f"{value!r}"[:60]
        )
    return float(value)


def _validator_args(settings: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The flags of the default validator: of the secret group, else of all data, else the legacy ones."""
    for name in (
        "data/secret/test_group.yaml",
        "data/secret/testdata.yaml",
        "data/test_group.yaml",
        "data/testdata.yaml",
    ):
        if name in files:
            group = _yaml_mapping(name, files[name])
            for key in ("output_validator_args", "output_validator_flags"):
                if key in group:
                    return _flags(f"{name}: {key}", group[key])
    for key in ("output_validator_args", "validator_flags"):
        if key in settings:
            return _flags(f"problem.yaml: {key}", settings[key])
    return ()


def _flags(where: str, value: Any) -> tuple[str, ...]:
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or len(words) > 16:
        raise PackageRefused(
            "bad_validator_args", expected=f"{where} to be a string or a list", came=f"{value!r}"[:100]
        )
    args = tuple(word if isinstance(word, str) else repr(word) for word in words)
    rest = iter(args)
    for word in rest:
        if word not in _VALIDATOR_FLAGS:
            raise PackageRefused(
                "bad_validator_args", expected=f"{where} to be {sorted(_VALIDATOR_FLAGS)}", came=word[:60]
            )
        if word.startswith("float"):
            _check_tolerance(where, word, next(rest, None))
    return args


def _check_tolerance(where: str, word: str, value: str | None) -> None:
    try:
        number = float(value or "")
    except ValueError:
        number = math.nan
    if value is None or not value.isascii() or "_" in value or not math.isfinite(number) or number < 0:
        expected = f"{where}: a finite number of at least 0 after {word}"
        raise PackageRefused("bad_validator_args", expected=expected, came=f"{value!r}"[:60])


def _tests(files: Mapping[str, bytes]) -> tuple[TestCase, ...]:
    tests = [test for group in (SAMPLE, SECRET) for test in _group(files, group)]
    if not tests:
        raise PackageRefused("no_tests", expected="data/sample or data/secret with .in and .ans files", came="none")
    if len(tests) > MAX_TESTS:
        raise PackageRefused("too_many_tests", expected=f"at most {MAX_TESTS} tests", came=f"{len(tests)}")
    return tuple(tests)


def _group(files: Mapping[str, bytes], group: str) -> list[TestCase]:
    tests = []
    folder = f"data/{group}/"
    for name in sorted(files):
        if not name.startswith(folder) or not name.endswith((".in", ".ans")):
            continue
        stem = name.rpartition(".")[0]
        for part in (f"{stem}.in", f"{stem}.ans"):
            if part not in files:
                raise PackageRefused("half_a_test", expected=f"{part} beside {name}", came="nothing")
        if name.endswith(".in"):
            tests.append(
                TestCase(name=stem.removeprefix("data/"), group=group, input=files[name], answer=files[f"{stem}.ans"])
            )
    return tests
