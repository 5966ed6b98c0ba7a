"""From a verified execution spec to what will be run: argv, environment and limits of compiling and of each test.

Everything about a language comes from its recipe, everything about the problem from the spec. Nothing here is taken
from the submission but file names, and those only as whole arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deploy.images.recipe import Recipe, RecipeError, compile_argv, entry_objection, run_argv, source_names
from schemas.evidence import KEPT_STREAM_BYTES
from schemas.spec import ExecutionSpec
from services.executor.core.ports import DEFAULT_FOLDER_LIMITS, FolderLimits, Phase, RunLimits, RunRequest, SealedInput

MEBIBYTE: Final = 1024 * 1024
_NS_PER_MS: Final = 1_000_000
_PREFERRED_STEMS: Final = ("Main", "main", "__main__")


class NoEntry(Exception):
    """The submission has no file that can be compiled and started: CE, told in the compiler's place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What a sandbox must be made with to carry out a spec."""

    image_digest: str
    memory_limit_bytes: int
    process_limit: int
    folders: FolderLimits

    def is_met_by(self, made: Requirement) -> bool:
        """Whether a sandbox that was made with `made` will do. Folder sizes are a limit, so they must be equal."""
        return (
            self.image_digest == made.image_digest
            and self.folders == made.folders
            and self.memory_limit_bytes <= made.memory_limit_bytes
            and self.process_limit <= made.process_limit
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one judgement runs. Equal specs and recipes give equal plans."""

    compile: RunRequest
    test_argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    test_limits: RunLimits
    out_of_memory_signal: int | None
    test_count: int
    requirement: Requirement

    def test_request(self, stdin: SealedInput) -> RunRequest:
        return RunRequest(
            phase=Phase.TEST,
            argv=self.test_argv,
            environment=self.environment,
            limits=self.test_limits,
            stdin=stdin,
        )

    def deadline_ns(self) -> int:
        """More wall time than the judgement can take when every limit holds; past it something of ours hangs."""
        spare_ns = 2_000 * _NS_PER_MS
        tests_ns = self.test_count * (self.test_limits.wall_time_limit_ns + spare_ns)
        return self.compile.limits.wall_time_limit_ns + tests_ns + 60_000 * _NS_PER_MS


def plan_of(spec: ExecutionSpec, recipe: Recipe) -> Plan:
    """The plan of a spec in its language.

    Raises:
        NoEntry: no file can be the entry of a submission in this language.
    """
    names = tuple(name for name, _ in spec.files)
    entry = entry_of(recipe, names, spec.entry_point)
    memory_limit_bytes = recipe.sandbox_memory_bytes(spec.memory_mb * MEBIBYTE)
    test_limits = RunLimits(
        cpu_time_limit_ns=spec.cpu_millis * _NS_PER_MS,
        wall_time_limit_ns=spec.wall_clock_millis * _NS_PER_MS,
        memory_limit_bytes=memory_limit_bytes,
        output_limit_bytes=spec.max_output_bytes,
        error_kept_bytes=KEPT_STREAM_BYTES,
        process_limit=recipe.sandbox_processes(spec.processes),
    )
    compile_limits = RunLimits(
        cpu_time_limit_ns=spec.compile_cpu_millis * _NS_PER_MS,
        wall_time_limit_ns=spec.compile_wall_clock_millis * _NS_PER_MS,
        memory_limit_bytes=spec.compile_memory_mb * MEBIBYTE,
        output_limit_bytes=recipe.compile.output_limit_bytes,
        error_kept_bytes=KEPT_STREAM_BYTES,
        process_limit=recipe.compile.process_limit,
    )
    try:
        compiling = compile_argv(recipe, file_names=names, entry=entry)
        running = run_argv(recipe, entry=entry, memory_limit_bytes=memory_limit_bytes)
    except RecipeError as error:
        raise NoEntry(str(error)) from error
    return Plan(
        compile=RunRequest(
            phase=Phase.COMPILE, argv=compiling, environment=recipe.environment, limits=compile_limits, stdin=None
        ),
        test_argv=running,
        environment=recipe.environment,
        test_limits=test_limits,
        out_of_memory_signal=recipe.out_of_memory_signal,
        test_count=spec.test_count,
        requirement=requirement_of(spec, recipe),
    )


def requirement_of(spec: ExecutionSpec, recipe: Recipe) -> Requirement:
    """What the sandbox of a spec must be made with: the larger of compiling and running."""
    return Requirement(
        image_digest=spec.image_digest,
        memory_limit_bytes=max(
            recipe.sandbox_memory_bytes(spec.memory_mb * MEBIBYTE), spec.compile_memory_mb * MEBIBYTE
        ),
        process_limit=max(recipe.sandbox_processes(spec.processes), recipe.compile.process_limit),
        folders=FolderLimits(
            artifact_bytes=DEFAULT_FOLDER_LIMITS.artifact_bytes,
            artifact_inodes=DEFAULT_FOLDER_LIMITS.artifact_inodes,
            work_bytes=spec.workdir_bytes,
            work_inodes=spec.workdir_inodes,
        ),
    )


def entry_of(recipe: Recipe, names: tuple[str, ...], entry_point: str | None) -> str:
    """The entry file of a submission.

    `entry_point` may be a file name or, as contest systems send it for Java, a class. Without one the only source is
    the entry, else one named main, else the first.

    Raises:
        NoEntry: there is no such file, or its name cannot be an entry's.
    """
    try:
        sources = source_names(recipe, names)
    except RecipeError as error:
        raise NoEntry(str(error)) from error
    entry = _chosen(sources, entry_point)
    if entry is None:
        raise NoEntry(f"expected the entry point {entry_point!r} to be one of {list(sources)}")
    objection = entry_objection(recipe, entry)
    if objection is not None:
        raise NoEntry(objection)
    return entry


def _chosen(sources: tuple[str, ...], entry_point: str | None) -> str | None:
    if entry_point is not None:
        if entry_point in sources:
            return entry_point
        return next((name for name in sources if name.rpartition(".")[0] == entry_point), None)
    for stem in _PREFERRED_STEMS:
        for name in sources:
            if name.rpartition(".")[0] == stem:
                return name
    return sources[0]
