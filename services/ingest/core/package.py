"""A problem package, read from the bytes of a zip: strict, bounded, and without touching a disk.

Rule: the problem package format 2025-09 (https://www.kattis.com/problem-package-format/spec/2025-09.html) and its
legacy version, as far as the default output validator goes. What is not understood and would change a verdict (a custom
validator, an interactor, included code, scores) is refused, never ignored.

A package is hostile input: `package_archive` bounds and unpacks it, `package_yaml` reads its YAML, `package_settings`
understands `problem.yaml`, `package_tests` the test data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from schemas.identity import canonical_json, digest
from services.ingest.core.package_archive import MEBIBYTE, unpack
from services.ingest.core.package_refusal import PackageRefused, not_supported
from services.ingest.core.package_settings import PackageLimits, read_settings
from services.ingest.core.package_tests import TestCase, read_tests, read_validator_args
from services.ingest.core.package_yaml import read_yaml

__all__ = ["MEBIBYTE", "PackageLimits", "PackageRefused", "ProblemPackage", "TestCase", "parse_package", "read_package"]

_FOREIGN_FOLDERS: Final = (
    "output_validators/",
    "output_validator/",
    "static_validator/",
    "include/",
    "graders/",
    "interactors/",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemPackage:
    """A package that was understood. Tests are samples first, then secret ones, each in order of their names."""

    name: str
    version: str
    """sha256:<hex> over what judging depends on, whatever the order or the times in the archive."""
    limits: PackageLimits
    validator_args: tuple[str, ...]
    tests: tuple[TestCase, ...]


def read_package(archive: bytes) -> ProblemPackage:
    """Reads a zipped package; a single folder around everything is taken off.

    Raises:
        PackageRefused: it is not a package that can be judged, or it is not harmless.
    """
    return parse_package(unpack(archive))


def parse_package(files: Mapping[str, bytes]) -> ProblemPackage:
    """Understands the files of a package, by their names inside it.

    Raises:
        PackageRefused: it is not a package that can be judged.
    """
    for folder in _FOREIGN_FOLDERS:
        if any(name.startswith(folder) for name in files):
            raise not_supported("the default output validator and no code that joins submissions", f"a folder {folder}")
    if "problem.yaml" not in files:
        raise PackageRefused("no_problem_yaml", expected="a file problem.yaml", came=f"{sorted(files)[:5]}")
    settings = read_settings(read_yaml("problem.yaml", files["problem.yaml"]))
    tests = read_tests(files)
    args = read_validator_args(files, settings, tests)
    content = canonical_json(
        {
            "args": list(args),
            "name": settings.name,
            "limits": list(asdict(settings.limits).values()),
            "tests": [[test.name, digest(test.input), digest(test.answer)] for test in tests],
        }
    )
    return ProblemPackage(
        name=settings.name, version=digest(content), limits=settings.limits, validator_args=args, tests=tests
    )
