"""One judgement as a state machine without a socket: events in, a new state and what to do next out.

    PLACING -FilesPlaced-> COMPILING -CompileFinished-> SEALING -FolderSealed-> TESTING -...-> CONCLUDED

In TESTING runs are pipelined: run n + 1 is with the sandbox before the outcome of run n is known, so that the sandbox
never waits for us. Outcomes are taken in test order; the first run that is not AC decides and what was handed over
behind it is thrown away. AC needs every test to have ended exactly and to have been accepted: there is no other way
to it. Faults are exceptions (`JudgeFault`), never a state.

Each batch of effects ends with the one whose end is the next event. The shell (`adapters.service`) performs them in
order and decides nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final, assert_never

from schemas.events import CompileReport, LimitKind, RunEnding, RunReport, Verdict
from schemas.evidence import Evidence, KeptStream, RunEvidence
from schemas.problems import TestEntry
from services.executor.core.faults import JudgeFault
from services.executor.core.outcome import (
    EVIDENCE_LIMIT_BYTES,
    compile_report,
    compiler_stream,
    kept_bytes,
    run_evidence,
    run_report,
    without_streams,
)
from services.executor.core.plan import Plan
from services.executor.core.ports import RunOutcome
from services.executor.core.validator import Validation
from services.executor.core.verdict import NOT_STARTED_EXIT_CODE, compiled, verdict_of_run

PIPELINE_DEPTH: Final = 2
"""Runs that the sandbox holds at once; the port allows no more, and measurements show no gain beyond it."""


class Stage(enum.StrEnum):
    """Where a judgement stands."""

    PLACING = "PLACING"
    COMPILING = "COMPILING"
    SEALING = "SEALING"
    TESTING = "TESTING"
    CONCLUDED = "CONCLUDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesPlaced:
    """The sources lie in the sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileFinished:
    """The compile run ended."""

    outcome: RunOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSealed:
    """Test runs can only read the artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The run of test `index` ended."""

    index: int
    outcome: RunOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCompared:
    """The output validator has spoken about test `index`."""

    index: int
    validation: Validation


Event = FilesPlaced | CompileFinished | FolderSealed | RunFinished | OutputCompared


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFiles:
    """Effect: put the sources into the sandbox. Ends in FilesPlaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compile:
    """Effect: run the compiler. Ends in CompileFinished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealFolder:
    """Effect: make the artifact read-only. Ends in FolderSealed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """Effect: hand test `index` to the sandbox without waiting."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitRun:
    """Effect: wait for the run of test `index`. Ends in RunFinished."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOutput:
    """Effect: let the output validator see the output of test `index`. Ends in OutputCompared."""

    index: int
    output: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclude:
    """Effect: the judgement is over."""

    conclusion: Conclusion


Effect = PlaceFiles | Compile | SealFolder | StartRun | AwaitRun | CompareOutput | Conclude


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """The whole result of a judgement. The largest of all runs stand for it as a whole."""

    verdict: Verdict
    compile: CompileReport | None
    runs: tuple[RunReport, ...]
    tests_total: int
    evidence: Evidence

    def __post_init__(self) -> None:
        if self.verdict is Verdict.AC:
            assert self.tests_total > 0, "AC needs a test"
            assert len(self.runs) == self.tests_total, "AC needs every test to have run"
            assert all(run.verdict is Verdict.AC for run in self.runs), "AC needs every run to be AC"
            assert self.compile is not None, "AC needs a compile step"
            assert self.compile.succeeded, "AC needs an artifact"
        assert self.verdict in _CONCLUDABLE, f"{self.verdict} is not concluded by judging"

    @property
    def cpu_time_ns(self) -> int:
        return max((run.cpu_time_ns for run in self.runs), default=0)

    @property
    def wall_time_ns(self) -> int:
        return max((run.wall_time_ns for run in self.runs), default=0)

    @property
    def memory_peak_bytes(self) -> int:
        return max((run.memory_peak_bytes for run in self.runs), default=0)


_CONCLUDABLE: Final = frozenset(Verdict) - {Verdict.JE, Verdict.UNKNOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeState:
    """Everything that is known about a judgement in mid-flight."""

    plan: Plan
    tests: tuple[TestEntry, ...]
    stage: Stage
    compile: CompileReport | None = None
    compiler: KeptStream | None = None
    started: int = 0
    """Tests handed to the sandbox."""
    comparing: RunOutcome | None = None
    """The outcome whose output the validator has now."""
    runs: tuple[RunReport, ...] = ()
    evidence: tuple[RunEvidence, ...] = ()
    evidence_bytes: int = 0


Step = tuple[JudgeState, tuple[Effect, ...]]


def begin(plan: Plan, tests: tuple[TestEntry, ...]) -> Step:
    """The first step of a judgement in a claimed sandbox.

    Raises:
        JudgeFault: the test list is not the one that the spec promises.
    """
    if len(tests) != plan.test_count or not tests:
        raise JudgeFault(f"expected {plan.test_count} tests, came {len(tests)}", stage="data", retriable=True)
    return JudgeState(plan=plan, tests=tests, stage=Stage.PLACING), (PlaceFiles(),)


def advance(state: JudgeState, event: Event) -> Step:
    """What follows from an event.

    Raises:
        JudgeFault: the outcome in it cannot be believed.
        AssertionError: the event does not belong here, which is a bug of the shell.
    """
    match event:
        case FilesPlaced():
            _require(state, Stage.PLACING)
            return replace(state, stage=Stage.COMPILING), (Compile(),)
        case CompileFinished(outcome=outcome):
            return _after_compiling(state, outcome)
        case FolderSealed():
            _require(state, Stage.SEALING)
            return _start_next(replace(state, stage=Stage.TESTING), AwaitRun(index=0))
        case RunFinished(index=index, outcome=outcome):
            return _after_run(state, index, outcome)
        case OutputCompared(index=index, validation=validation):
            return _after_comparing(state, index, validation)
        case _ as unreachable:
            assert_never(unreachable)


def uncompilable(objection: str, tests_total: int) -> Conclusion:
    """CE without a compiler: no file of the submission can be the entry, and this says why in the compiler's place.

    It is reported as a compiler that could not be started; a fault would let contestants drain executors by file names.
    """
    words = objection.encode()
    stream = KeptStream(head=words, tail=b"", length_bytes=len(words))
    return Conclusion(
        verdict=Verdict.CE,
        compile=CompileReport(
            succeeded=False,
            ending=RunEnding.EXITED,
            exit_code=NOT_STARTED_EXIT_CODE,
            signal=None,
            limit_expired=LimitKind.NONE,
            cpu_time_ns=0,
            wall_time_ns=0,
            memory_peak_bytes=0,
        ),
        runs=(),
        tests_total=tests_total,
        evidence=Evidence(compiler=stream, runs=()),
    )


def _require(state: JudgeState, stage: Stage) -> None:
    assert state.stage is stage, f"expected stage {stage}, came an event in {state.stage}"


def _after_compiling(state: JudgeState, outcome: RunOutcome) -> Step:
    _require(state, Stage.COMPILING)
    request = state.plan.compile
    succeeded = compiled(outcome, program=request.argv[0], limits=request.limits)
    state = replace(state, compile=compile_report(outcome, succeeded=succeeded), compiler=compiler_stream(outcome))
    if not succeeded:
        return _conclude(state, Verdict.CE)
    return replace(state, stage=Stage.SEALING), (SealFolder(),)


def _start_next(state: JudgeState, then: AwaitRun | CompareOutput) -> Step:
    """Hands runs over up to the pipeline's depth, then goes on with `then`.

    While an output is compared its run has left the sandbox, so one more may be with it.
    """
    taken = len(state.runs) + (1 if isinstance(then, CompareOutput) else 0)
    until = min(taken + PIPELINE_DEPTH, len(state.tests))
    starts = tuple(StartRun(index=index) for index in range(state.started, until))
    return replace(state, started=max(state.started, until)), (*starts, then)


def _after_run(state: JudgeState, index: int, outcome: RunOutcome) -> Step:
    _require(state, Stage.TESTING)
    assert index == len(state.runs) < state.started, f"run {index} came out of order"
    assert state.comparing is None, f"run {index} came while an output is compared"
    plan = state.plan
    verdict = verdict_of_run(
        outcome,
        program=plan.test_argv[0],
        limits=plan.test_limits,
        out_of_memory_signal=plan.out_of_memory_signal,
    )
    if verdict is None:
        return _start_next(replace(state, comparing=outcome), CompareOutput(index=index, output=outcome.stdout))
    assert verdict is not Verdict.AC, "an outcome alone never accepts"
    return _conclude(_judged(state, outcome, verdict, ""), verdict)


def _after_comparing(state: JudgeState, index: int, validation: Validation) -> Step:
    _require(state, Stage.TESTING)
    outcome = state.comparing
    assert outcome is not None, f"comparison {index} came, nothing is compared"
    assert index == len(state.runs), f"comparison {index} came out of order"
    # Anything but True itself is no acceptance: a validator with a bug must not accept by being truthy.
    verdict = Verdict.AC if validation.accepted is True else Verdict.WA
    state = replace(_judged(state, outcome, verdict, validation.message), comparing=None)
    if verdict is Verdict.WA or len(state.runs) == len(state.tests):
        return _conclude(state, verdict)
    return _start_next(state, AwaitRun(index=index + 1))


def _judged(state: JudgeState, outcome: RunOutcome, verdict: Verdict, message: str) -> JudgeState:
    test = state.tests[len(state.runs)]
    evidence = run_evidence(test, outcome, message)
    # The deciding run is always kept whole: it is the one that people ask about.
    if verdict is Verdict.AC and state.evidence_bytes + kept_bytes(evidence) > EVIDENCE_LIMIT_BYTES:
        evidence = without_streams(evidence)
    return replace(
        state,
        runs=(*state.runs, run_report(test, outcome, verdict)),
        evidence=(*state.evidence, evidence),
        evidence_bytes=state.evidence_bytes + kept_bytes(evidence),
    )


def _conclude(state: JudgeState, verdict: Verdict) -> Step:
    conclusion = Conclusion(
        verdict=verdict,
        compile=state.compile,
        runs=state.runs,
        tests_total=len(state.tests),
        evidence=Evidence(compiler=state.compiler, runs=state.evidence),
    )
    return replace(state, stage=Stage.CONCLUDED), (Conclude(conclusion=conclusion),)
