"""The test data of a package: which tests there are, in which order, and how their output is validated.

A test is an `.in` file with its `.ans` under `data/sample` or `data/secret`. Everything else in these folders must be
something that the format knows, so that a misspelled test is an error and not one test less.

Validator arguments come from `test_group.yaml` and `<test>.yaml` (format 2025-09) or from `validator_flags` and the
closest `testdata.yaml` (legacy). A judgement has one set of arguments, so every test must come to the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.problems import SAMPLE, SECRET
from services.ingest.core.package_flags import check_flags
from services.ingest.core.package_refusal import PackageRefused, not_supported, shown
from services.ingest.core.package_settings import PackageSettings
from services.ingest.core.package_yaml import read_yaml, refuse_unknown

MAX_TESTS: Final = 1_000
_GROUP_FILE: Final = "test_group.yaml"
_LEGACY_GROUP_FILE: Final = "testdata.yaml"
_ARGS: Final = "output_validator_args"
# Longest first: `1.in.statement` is no `.statement` of a test `1.in`.
_COMPANIONS: Final = (
    ".in.statement",
    ".ans.statement",
    ".in.download",
    ".ans.download",
    ".interaction",
    ".hint",
    ".desc",
    ".jpeg",
    ".yaml",
    ".ans",
    ".out",
    ".png",
    ".jpg",
    ".svg",
    ".in",
)
_TEST_KEYS: Final = frozenset(
    {
        "args",
        "input_validator_args",
        "output_validator_args",
        "input_visualizer_args",
        "output_visualizer_args",
        "full_feedback",
        "hint",
        "description",
    }
)
_SCORING_KEYS: Final = frozenset({"max_score", "score_aggregation", "require_pass"})
_STATIC_KEYS: Final = frozenset({"static_validation_score", "static_validator_args"})
_GROUP_KEYS: Final = (_TEST_KEYS - {"hint", "description"}) | _SCORING_KEYS | _STATIC_KEYS
_LEGACY_GROUP_KEYS: Final = frozenset(
    {
        "on_reject",
        "grading",
        "grader_flags",
        "input_validator_flags",
        "output_validator_flags",
        "accept_score",
        "reject_score",
        "range",
    }
)
_LEGACY_SCORING_KEYS: Final = frozenset({"grading", "grader_flags", "accept_score", "reject_score", "range"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TestCase:
    """One test: `name` is `sample/1` or `secret/group/2`."""

    __test__ = False

    name: str
    group: str
    """`sample` or `secret`."""
    input: bytes
    answer: bytes


def read_tests(files: Mapping[str, bytes]) -> tuple[TestCase, ...]:
    """Samples first, then secret tests, each in the order of their names.

    Raises:
        PackageRefused: half a test, a file that is none of a test, no secret test, or too many.
    """
    tests = [test for group in (SAMPLE, SECRET) for test in _tests_of(files, group)]
    if not any(test.group == SECRET for test in tests):
        raise PackageRefused("no_tests", expected="data/secret with .in and .ans files", came="no secret test")
    if len(tests) > MAX_TESTS:
        raise PackageRefused("too_many_tests", expected=f"at most {MAX_TESTS} tests", came=str(len(tests)))
    return tuple(tests)


def read_validator_args(
    files: Mapping[str, bytes], settings: PackageSettings, tests: tuple[TestCase, ...]
) -> tuple[str, ...]:
    """The arguments of the output validator, the same for every test.

    Raises:
        PackageRefused: they differ between tests, or are none of the default validator's.
    """
    groups = _Groups(files, settings)
    args_by_test = {test.name: groups.args_of(test) for test in tests}
    distinct = sorted(set(args_by_test.values()))
    if len(distinct) > 1:
        came = " and ".join(
            f"{list(args)} for {next(name for name in args_by_test if args_by_test[name] == args)}" for args in distinct
        )
        raise not_supported(f"the same {_ARGS} for every test", came)
    return distinct[0]


def _tests_of(files: Mapping[str, bytes], group: str) -> Iterator[TestCase]:
    folder = f"data/{group}/"
    stems = set()
    for name in files:
        if not name.startswith(folder) or name.rpartition("/")[2] in (_GROUP_FILE, _LEGACY_GROUP_FILE):
            continue
        stem = _stem(name)
        for part in (f"{stem}.in", f"{stem}.ans"):
            if part not in files:
                raise PackageRefused("half_a_test", expected=f"{part} beside {name}", came="nothing")
        stems.add(stem)
    for stem in sorted(stems, key=lambda stem: stem.split("/")):
        yield TestCase(
            name=stem.removeprefix("data/"), group=group, input=files[f"{stem}.in"], answer=files[f"{stem}.ans"]
        )


def _stem(name: str) -> str:
    """The test that a file belongs to."""
    if any(part.endswith(".files") for part in name.split("/")[:-1]):
        raise not_supported("tests without files beside standard input", name)
    for suffix in _COMPANIONS:
        if name.endswith(suffix) and not name.endswith(f"/{suffix}"):
            return name.removesuffix(suffix)
    raise PackageRefused("unknown_file", expected="files of tests (.in, .ans and what goes with them)", came=name)


class _Groups:
    """The configuration files of the test data, each read once."""

    def __init__(self, files: Mapping[str, bytes], settings: PackageSettings) -> None:
        self._files = files
        self._settings = settings
        self._read: dict[str, Mapping[str, Any]] = {}
        group_file = _LEGACY_GROUP_FILE if settings.legacy else _GROUP_FILE
        for name in files:
            if not name.startswith("data/") or not name.endswith((f"/{_GROUP_FILE}", f"/{_LEGACY_GROUP_FILE}")):
                continue
            if not name.endswith(f"/{group_file}"):
                raise PackageRefused("unknown_file", expected=f"{group_file} in this version of the format", came=name)
            self._read[name] = self._group(name)
        if not settings.legacy:
            self._refuse_misplaced()

    def args_of(self, test: TestCase) -> tuple[str, ...]:
        if self._settings.legacy:
            return self._legacy_args(test)
        name = f"data/{test.name}.yaml"
        if name in self._files:
            own = self._yaml(name)
            refuse_unknown(name, own, _TEST_KEYS)
            _refuse_program_args(name, own)
            if _ARGS in own:
                return _sequence(name, own[_ARGS])
        # A group is a folder right under data/secret; what lies deeper belongs to it.
        parts = test.name.split("/")
        top = f"data/{test.group}/{_GROUP_FILE}"
        if len(parts) <= 2 or test.group == SAMPLE:
            return self._args_in(top)
        of_group = f"data/{test.group}/{parts[1]}/{_GROUP_FILE}"
        if _ARGS not in self._read.get(of_group, {}) and self._args_in(top):
            # Whether groups inherit from data/secret is read both ways; a wrong guess would be a wrong verdict.
            raise PackageRefused(
                "bad_validator_args", expected=f"{_ARGS} in {of_group} as well as in {top}", came="none for the group"
            )
        return self._args_in(of_group)

    def _args_in(self, name: str) -> tuple[str, ...]:
        return _sequence(name, self._read.get(name, {}).get(_ARGS, []))

    def _legacy_args(self, test: TestCase) -> tuple[str, ...]:
        own: tuple[str, ...] = ()
        folder = f"data/{test.name}"
        while "/" in folder:
            folder = folder.rpartition("/")[0]
            group = self._read.get(f"{folder}/{_LEGACY_GROUP_FILE}")
            if group is not None:
                flags = group.get("output_validator_flags", "")
                if not isinstance(flags, str):
                    raise not_supported("output_validator_flags as a string", shown(flags))
                own = tuple(flags.split())
                break
        return check_flags("validator_flags and output_validator_flags", (*self._settings.validator_flags, *own))

    def _group(self, name: str) -> Mapping[str, Any]:
        group = self._yaml(name)
        scoring = group.keys() & (_LEGACY_SCORING_KEYS if self._settings.legacy else _SCORING_KEYS | _STATIC_KEYS)
        refuse_unknown(name, group, _LEGACY_GROUP_KEYS if self._settings.legacy else _GROUP_KEYS)
        if scoring:
            raise not_supported(f"{name} of a pass-fail problem without graders", f"{sorted(scoring)}")
        _refuse_program_args(name, group)
        return group

    def _yaml(self, name: str) -> Mapping[str, Any]:
        if self._settings.has_constants and b"{{" in self._files[name]:
            raise not_supported(f"{name} without constants", "{{")
        return read_yaml(name, self._files[name])

    def _refuse_misplaced(self) -> None:
        for name in self._read:
            parts = name.split("/")
            placed = len(parts) == 3 or (len(parts) == 4 and parts[1] == SECRET)
            if not placed:
                expected = f"{_GROUP_FILE} in data/{SAMPLE}, data/{SECRET} and the groups right under it"
                raise PackageRefused("unknown_file", expected=expected, came=name)


def _refuse_program_args(name: str, settings: Mapping[str, Any]) -> None:
    if settings.get("args"):
        raise not_supported(f"{name} without args for the program", shown(settings["args"]))


def _sequence(name: str, value: object) -> tuple[str, ...]:
    """Arguments as strings. YAML reads an unquoted 0.001 as a number; it can only have meant itself."""
    if not isinstance(value, list) or not all(
        isinstance(word, str | int | float) and not isinstance(word, bool) for word in value
    ):
        raise PackageRefused(
            "bad_validator_args", expected=f"{name}: {_ARGS} as a sequence of strings", came=shown(value)
        )
    return check_flags(f"{name}: {_ARGS}", [word if isinstance(word, str) else shown(word) for word in value])
