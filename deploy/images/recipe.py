"""Language recipes: what a language needs to be installed, compiled and run, read from one small file each.

Lives here: the recipe's type, the strict loader of `deploy/images/<id>.toml`, and the pure functions that turn a
recipe into the argv of a run. Must not live here: how an image is built (`deploy.images.build`) or a sandbox is made.

Folders inside a sandbox, agreed with the executor: sources and artifacts lie flat in `/box`, which is also the
compiler's current folder; a test run starts in the empty `/work`. Templates are argv lists, never a shell line. A file
of the submission is always named by its absolute path, so that a name with a leading dash or `@` is never an option.

Placeholders: `{sources}` stands alone and becomes one argument per source of the language; `{entry}` is the entry
file's name, `{entry_class}` its stem, `{memory_mib}` the run's memory limit less what the runtime needs for itself.

Compiler flags follow the ICPC World Finals' published environment (C and C++ `-O2 -static`, Java with a fixed heap).
"""

from __future__ import annotations

import functools
import hashlib
import re
import signal
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

ARTIFACT_FOLDER: Final = "/box"
MEBIBYTE: Final = 1024 * 1024
_RECIPES_FOLDER: Final = Path(__file__).parent
_LANGUAGE_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9+]{1,8}")
_PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_ENVIRONMENT_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_BASE_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "HOME": "/work", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
_COMPILE_PLACEHOLDERS: Final = frozenset({"sources", "entry", "entry_class"})
_RUN_PLACEHOLDERS: Final = frozenset({"entry", "entry_class", "memory_mib"})


class RecipeError(ValueError):
    """A recipe file, or what a recipe was asked for, is not as expected; the message says both sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileStep:
    """How sources become an artifact, and the limits of doing so. All limits are positive."""

    argv: tuple[str, ...]
    cpu_time_limit_ns: int
    wall_time_limit_ns: int
    memory_limit_bytes: int
    process_limit: int
    output_limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One language. Equal files give equal recipes; nothing here depends on the machine."""

    language: str
    """CCS id, also the file's stem."""
    name: str
    extends: str | None
    """The language whose image layers this one's stand on; None is the shared base."""
    suffixes: tuple[str, ...]
    packages: tuple[str, ...]
    version_probe: tuple[str, ...]
    entry_pattern: str
    """What the whole name of an entry file must match."""
    compile: CompileStep
    run_argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    """Of every compile and test run; complete: nothing is inherited."""
    extra_memory_bytes: int
    """What the runtime itself may use on top of a problem's memory limit."""
    extra_processes: int
    """Threads that the runtime itself starts, on top of a problem's process limit."""
    out_of_memory_signal: int | None
    """The runtime ends itself with this signal when its own heap is full: memory exceeded, not a run-time error."""

    def sandbox_memory_bytes(self, problem_limit_bytes: int) -> int:
        """Memory limit of a run's cgroup for a problem whose limit is `problem_limit_bytes`."""
        return problem_limit_bytes + self.extra_memory_bytes

    def sandbox_processes(self, problem_limit: int) -> int:
        """Process limit of a run for a problem that grants the program `problem_limit` of them."""
        return problem_limit + self.extra_processes


@functools.cache
def load_recipes() -> Mapping[str, Recipe]:
    """Reads every recipe of this distribution, ordered by language id.

    Raises:
        RecipeError: a file is not a recipe, or `extends` names a language that is not there or extends another.
    """
    return read_recipes(_RECIPES_FOLDER)


def read_recipes(folder: Path) -> Mapping[str, Recipe]:
    """Reads every `*.toml` of `folder` as a recipe. See `load_recipes`."""
    recipes = {path.stem: parse_recipe(path.stem, path.read_text("utf-8")) for path in sorted(folder.glob("*.toml"))}
    if not recipes:
        raise RecipeError(f"expected recipes (*.toml) in {folder}, found none")
    for recipe in recipes.values():
        if recipe.extends is None:
            continue
        parent = recipes.get(recipe.extends)
        if parent is None or parent.extends is not None:
            raise RecipeError(
                f"{recipe.language}.toml: extends = {recipe.extends!r} must name a language that extends none, "
                f"one of {sorted(r.language for r in recipes.values() if r.extends is None)}"
            )
    return MappingProxyType(recipes)


def parse_recipe(language: str, text: str) -> Recipe:
    """Parses the text of `<language>.toml`; every key is known, every value in range.

    Raises:
        RecipeError: naming the key, what was expected and what came.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{language}.toml: expected TOML: {error}") from error
    top = _Table(f"{language}.toml", document)
    language_id = top.string("id", pattern=_LANGUAGE_ID)
    if language_id != language:
        raise RecipeError(f"{language}.toml: id must be the file's stem {language!r}, not {language_id!r}")
    compile_table, run_table = top.table("compile"), top.table("run")
    suffixes = top.strings("suffixes", pattern=_SUFFIX)
    recipe = Recipe(
        language=language_id,
        name=top.string("name"),
        extends=top.string("extends", pattern=_LANGUAGE_ID) if top.has("extends") else None,
        suffixes=suffixes,
        packages=top.strings("packages", pattern=_PACKAGE),
        version_probe=_absolute(top.strings("version_probe"), where=f"{language}.toml: version_probe"),
        entry_pattern=_pattern(top, suffixes),
        compile=_compile_step(compile_table),
        run_argv=_template(run_table.strings("argv"), allowed=_RUN_PLACEHOLDERS, where=f"{language}.toml: run.argv"),
        environment=_environment(run_table),
        extra_memory_bytes=run_table.integer("extra_memory_mib", lowest=0, highest=4096, default=0) * MEBIBYTE,
        extra_processes=run_table.integer("extra_processes", lowest=0, highest=1024, default=0),
        out_of_memory_signal=run_table.integer("out_of_memory_signal", lowest=1, highest=signal.NSIG - 1)
        if run_table.has("out_of_memory_signal")
        else None,
    )
    for table in (top, compile_table, run_table):
        table.finish()
    return recipe


def compile_argv(recipe: Recipe, *, file_names: Sequence[str], entry: str) -> tuple[str, ...]:
    """The compiler's argv for a submission of `file_names` whose entry is `entry`.

    Raises:
        RecipeError: no file has a suffix of the language, or the entry cannot be one.
    """
    sources = source_names(recipe, file_names)
    _require_entry(recipe, entry)
    values = {"entry": entry, "entry_class": _stem(entry)}
    argv: list[str] = []
    for part in recipe.compile.argv:
        if part == "{sources}":
            argv.extend(f"{ARTIFACT_FOLDER}/{name}" for name in sources)
        else:
            argv.append(_fill(part, values))
    return tuple(argv)


def run_argv(recipe: Recipe, *, entry: str, memory_limit_bytes: int) -> tuple[str, ...]:
    """The argv of a test run.

    Args:
        recipe: the language.
        entry: name of the entry file.
        memory_limit_bytes: the run's own limit, that is `recipe.sandbox_memory_bytes(problem limit)`.

    Raises:
        RecipeError: the entry cannot be one, or the limit leaves less than a mebibyte beside the runtime.
    """
    _require_entry(recipe, entry)
    memory_mib = (memory_limit_bytes - recipe.extra_memory_bytes) // MEBIBYTE
    if memory_mib < 1:
        raise RecipeError(
            f"{recipe.language}: expected a memory limit above {recipe.extra_memory_bytes + MEBIBYTE} bytes "
            f"(the runtime's own need and one MiB), got {memory_limit_bytes}"
        )
    values = {"entry": entry, "entry_class": _stem(entry), "memory_mib": str(memory_mib)}
    return tuple(_fill(part, values) for part in recipe.run_argv)


def source_names(recipe: Recipe, file_names: Sequence[str]) -> tuple[str, ...]:
    """Those of `file_names` that are compiled, in their order.

    Raises:
        RecipeError: none has a suffix of the language.
    """
    sources = tuple(name for name in file_names if name.endswith(recipe.suffixes))
    if not sources:
        raise RecipeError(
            f"{recipe.language}: expected a file ending in {' or '.join(recipe.suffixes)}, got {list(file_names)}"
        )
    return sources


def entry_objection(recipe: Recipe, entry: str) -> str | None:
    """Why `entry` cannot be the entry file of a submission in this language, or None."""
    if re.fullmatch(recipe.entry_pattern, entry):
        return None
    return f"{recipe.language}: an entry file's name must match {recipe.entry_pattern}, got {entry!r}"


def recipe_digest(recipe: Recipe) -> str:
    """64 hex digits over everything that decides what lies in the image."""
    told = repr((recipe.language, recipe.extends, recipe.packages, recipe.version_probe))
    return hashlib.sha256(told.encode()).hexdigest()


def _require_entry(recipe: Recipe, entry: str) -> None:
    objection = entry_objection(recipe, entry)
    if objection is not None:
        raise RecipeError(objection)


def _stem(entry: str) -> str:
    return entry.rpartition(".")[0] or entry


def _fill(part: str, values: Mapping[str, str]) -> str:
    # One pass: a value that itself looks like a placeholder (a file named "{entry}.c") is not filled again.
    return _PLACEHOLDER.sub(lambda found: values[found.group(1)], part)


def _compile_step(table: _Table) -> CompileStep:
    argv = _template(table.strings("argv"), allowed=_COMPILE_PLACEHOLDERS, where=f"{table.where}.argv")
    if "{sources}" not in argv:
        raise RecipeError(f"{table.where}.argv: expected the argument '{{sources}}' on its own, got {list(argv)}")
    return CompileStep(
        argv=argv,
        cpu_time_limit_ns=table.integer("cpu_time_limit_ms", lowest=100, highest=600_000) * 1_000_000,
        wall_time_limit_ns=table.integer("wall_time_limit_ms", lowest=100, highest=600_000) * 1_000_000,
        memory_limit_bytes=table.integer("memory_limit_mib", lowest=16, highest=65_536) * MEBIBYTE,
        process_limit=table.integer("process_limit", lowest=1, highest=4096),
        output_limit_bytes=table.integer("output_limit_kib", lowest=1, highest=16_384) * 1024,
    )


def _pattern(top: _Table, suffixes: Sequence[str]) -> str:
    if not top.has("entry_pattern"):
        return r"[^/\x00]+(?:" + "|".join(re.escape(suffix) for suffix in suffixes) + ")"
    written = top.string("entry_pattern")
    try:
        re.compile(written)
    except re.error as error:
        raise RecipeError(f"{top.where}: entry_pattern must be a regular expression: {error}") from error
    return written


def _template(argv: tuple[str, ...], *, allowed: frozenset[str], where: str) -> tuple[str, ...]:
    for part in argv:
        unknown = set(_PLACEHOLDER.findall(part)) - allowed
        if unknown or part.count("{") != len(_PLACEHOLDER.findall(part)):
            raise RecipeError(f"{where}: {part!r} may use only {sorted(allowed)} in braces")
        if "{sources}" in part and part != "{sources}":
            raise RecipeError(f"{where}: {{sources}} must be an argument on its own, got {part!r}")
    return _absolute(argv, where=where)


def _absolute(argv: tuple[str, ...], *, where: str) -> tuple[str, ...]:
    if not argv[0].startswith("/"):
        raise RecipeError(f"{where}: the program must be an absolute path, got {argv[0]!r}")
    return argv


def _environment(run: _Table) -> tuple[tuple[str, str], ...]:
    values = dict(_BASE_ENVIRONMENT)
    if run.has("environment"):
        table = run.table("environment")
        for name in table.names():
            if not _ENVIRONMENT_NAME.fullmatch(name):
                raise RecipeError(f"{table.where}: expected a name like LANG, got {name!r}")
            values[name] = table.string(name)
    return tuple(sorted(values.items()))


class _Table:
    """One TOML table being read: tells where it is, and which keys nobody asked for."""

    def __init__(self, where: str, content: Mapping[str, object]) -> None:
        self.where = where
        self._content = content
        self._asked: set[str] = set()

    def has(self, key: str) -> bool:
        return key in self._content

    def names(self) -> tuple[str, ...]:
        return tuple(self._content)

    def finish(self) -> None:
        unknown = sorted(set(self._content) - self._asked)
        if unknown:
            raise RecipeError(
                f"{self.where}: unknown {', '.join(unknown)}; known here: {', '.join(sorted(self._asked))}"
            )

    def table(self, key: str) -> _Table:
        value = self._value(key)
        if not isinstance(value, dict):
            raise RecipeError(f"{self.where}: {key} must be a table, got {value!r}")
        return _Table(f"{self.where}: {key}", value)

    def string(self, key: str, *, pattern: re.Pattern[str] | None = None) -> str:
        return self._checked(key, self._value(key), pattern)

    def strings(self, key: str, *, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        value = self._value(key)
        if not isinstance(value, list) or not value:
            raise RecipeError(f"{self.where}: {key} must be a list of at least one string, got {value!r}")
        return tuple(self._checked(key, item, pattern) for item in value)

    def integer(self, key: str, *, lowest: int, highest: int, default: int | None = None) -> int:
        self._asked.add(key)
        value = self._content.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise RecipeError(f"{self.where}: {key} must be an integer from {lowest} to {highest}, got {value!r}")
        return value

    def _value(self, key: str) -> object:
        self._asked.add(key)
        if key not in self._content:
            raise RecipeError(f"{self.where}: {key} is missing")
        return self._content[key]

    def _checked(self, key: str, value: object, pattern: re.Pattern[str] | None) -> str:
        if not isinstance(value, str) or not value or "\x00" in value:
            raise RecipeError(f"{self.where}: {key} must be text, got {value!r}")
        if pattern is not None and not pattern.fullmatch(value):
            raise RecipeError(f"{self.where}: {key} must match {pattern.pattern}, got {value!r}")
        return value
