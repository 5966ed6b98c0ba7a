"""The judgement's state machine and the table of verdicts: whatever comes, AC only if everything was exact."""

import dataclasses
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.images.recipe import load_recipes
from schemas.events import LimitKind, RunEnding, Verdict
from schemas.evidence import KEPT_STREAM_BYTES
from schemas.identity import digest, source_digest
from schemas.problems import SAMPLE, SECRET, TestEntry, validator_digest
from schemas.spec import ExecutionSpec
from services.executor.core.faults import JudgeFault
from services.executor.core.judge import (
    PIPELINE_DEPTH,
    AwaitRun,
    CompareOutput,
    Compile,
    CompileFinished,
    Conclude,
    Conclusion,
    FilesPlaced,
    FolderSealed,
    OutputCompared,
    PlaceFiles,
    RunFinished,
    SealFolder,
    StartRun,
    advance,
    begin,
    uncompilable,
)
from services.executor.core.outcome import EVIDENCE_LIMIT_BYTES, kept_bytes
from services.executor.core.plan import NoEntry, entry_of, plan_of
from services.executor.core.ports import Ending, Kept, Limit, RunLimits, RunOutcome, SealedInput
from services.executor.core.validator import Validation
from services.executor.core.verdict import compiled, verdict_of_run

MIB = 1024 * 1024
RECIPES = load_recipes()
LIMITS = RunLimits(
    cpu_time_limit_ns=1_000_000_000,
    wall_time_limit_ns=2_000_000_000,
    memory_limit_bytes=256 * MIB,
    output_limit_bytes=1024,
    error_kept_bytes=KEPT_STREAM_BYTES,
    process_limit=4,
)


def outcome(**changes) -> RunOutcome:
    stdout = changes.pop("stdout", b"")
    stderr = changes.pop("stderr", b"")
    return dataclasses.replace(
        RunOutcome(
            ending=Ending.EXITED,
            exit_code=0,
            signal=None,
            limit_expired=Limit.NONE,
            cpu_time_ns=1_000_000,
            wall_time_ns=2_000_000,
            memory_peak_bytes=MIB,
            stdout=stdout,
            stdout_length_bytes=len(stdout),
            stderr=Kept(head=stderr, tail=b"", length_bytes=len(stderr)),
            stopped_processes=0,
            runnable_wait_ns=0,
            refused_calls=0,
        ),
        **changes,
    )


def entry(index: int) -> TestEntry:
    return TestEntry(
        name=f"secret/{index}",
        group=SAMPLE if index == 0 else SECRET,
        input_digest=digest(b"in"),
        input_bytes=2,
        answer_digest=digest(b"out"),
        answer_bytes=3,
    )


def spec(**changes) -> ExecutionSpec:
    files = changes.pop("files", (("main.c", digest(b"int main(){}")),))
    return ExecutionSpec(
        **{
            "submission_id": "s",
            "judgement_id": "j",
            "lease_epoch": 1,
            "executor": "local",
            "incarnation": "i",
            "language": "c",
            "image": "assize/c",
            "image_digest": digest(b"image"),
            "isolation": "container",
            "cpu_millis": 1000,
            "wall_clock_millis": 2000,
            "memory_mb": 256,
            "max_output_bytes": 1024,
            "processes": 4,
            "network": "disabled",
            "workdir_bytes": 64 * MIB,
            "workdir_inodes": 1024,
            "compile_cpu_millis": 10_000,
            "compile_wall_clock_millis": 20_000,
            "compile_memory_mb": 1024,
            "problem_version": digest(b"problem"),
            "test_data_digest": digest(b"tests"),
            "test_count": 3,
            "validator_digest": validator_digest("default-1", ()),
            "validator_args": (),
            "source_digest": source_digest(files),
            "entry_point": None,
            "files": files,
            "issued_at_us": 1,
            "expires_at_us": 2,
            "key_id": "scheduler-0000000000000000",
        }
        | changes
    )


def verdict(seen: RunOutcome, *, program="/box/program", out_of_memory_signal=None):
    return verdict_of_run(seen, program=program, limits=LIMITS, out_of_memory_signal=out_of_memory_signal)


LOST = {"ending": Ending.SANDBOX_LOST, "exit_code": None}
STOPPED = {"ending": Ending.STOPPED_BY_LIMIT, "exit_code": None}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (outcome(), None),
        (outcome(**LOST, limit_expired=Limit.MEMORY), Verdict.MLE),
        (outcome(**STOPPED, limit_expired=Limit.MEMORY), Verdict.MLE),
        (outcome(**STOPPED, limit_expired=Limit.OUTPUT, stdout_length_bytes=1025), Verdict.OLE),
        (outcome(**STOPPED, limit_expired=Limit.CPU_TIME), Verdict.TLE),
        (outcome(**STOPPED, limit_expired=Limit.WALL_TIME), Verdict.TLE),
        (outcome(limit_expired=Limit.OUTPUT, stdout_length_bytes=1025), Verdict.OLE),
        (outcome(ending=Ending.SIGNALED, exit_code=None, signal=9, limit_expired=Limit.MEMORY), Verdict.MLE),
        (outcome(cpu_time_ns=1_000_000_001), Verdict.TLE),
        (outcome(exit_code=1), Verdict.RTE),
        (outcome(ending=Ending.SIGNALED, exit_code=None, signal=signal.SIGSEGV), Verdict.RTE),
        (outcome(ending=Ending.NOT_STARTED, exit_code=None), Verdict.RTE),
        (outcome(exit_code=1, memory_peak_bytes=256 * MIB), Verdict.MLE),
        (outcome(exit_code=1, memory_peak_bytes=253 * MIB), Verdict.MLE),
        (outcome(exit_code=1, memory_peak_bytes=200 * MIB), Verdict.RTE),
        (outcome(memory_peak_bytes=256 * MIB), None),
        (outcome(exit_code=1, stderr=b"Traceback\n  File\nMemoryError\n"), Verdict.MLE),
        (outcome(exit_code=1, stderr=b"MemoryError: no\nValueError\n"), Verdict.RTE),
        (
            outcome(
                ending=Ending.SIGNALED,
                exit_code=None,
                signal=signal.SIGABRT,
                stderr=b"terminate called after throwing an instance of 'std::bad_alloc'\n",
            ),
            Verdict.MLE,
        ),
        (outcome(ending=Ending.SIGNALED, exit_code=None, signal=signal.SIGABRT), Verdict.RTE),
    ],
)
def test_a_run_outcome_has_one_verdict(seen, expected):
    assert verdict(seen) is expected


def test_a_runtime_that_ends_itself_for_want_of_heap_exceeded_its_memory():
    aborted = outcome(ending=Ending.SIGNALED, exit_code=None, signal=signal.SIGABRT)
    assert verdict(aborted, out_of_memory_signal=6) is Verdict.MLE


@pytest.mark.parametrize(
    "seen",
    [
        outcome(**LOST),
        outcome(**LOST, limit_expired=Limit.CPU_TIME),
        outcome(**STOPPED),
        outcome(exit_code=None),
        outcome(exit_code=256),
        outcome(ending=Ending.SIGNALED, exit_code=None),
        outcome(ending=Ending.SIGNALED, exit_code=None, signal=0),
        outcome(cpu_time_ns=-1),
        outcome(stdout=b"x" * 1025),
        outcome(stdout_length_bytes=1025),
        outcome(stdout=b"abc", stdout_length_bytes=4),
    ],
)
def test_a_contradiction_is_our_fault_and_no_verdict(seen):
    with pytest.raises(JudgeFault):
        verdict(seen)


def test_a_program_of_the_image_that_does_not_start_is_our_fault():
    missing = outcome(ending=Ending.NOT_STARTED, exit_code=None)
    with pytest.raises(JudgeFault, match="/usr/bin/python3"):
        verdict(missing, program="/usr/bin/python3")
    with pytest.raises(JudgeFault, match="/usr/bin/gcc"):
        compiled(missing, program="/usr/bin/gcc", limits=LIMITS)


@pytest.mark.parametrize(
    "seen",
    [
        outcome(exit_code=1),
        outcome(**STOPPED, limit_expired=Limit.CPU_TIME),
        outcome(**LOST, limit_expired=Limit.MEMORY),
        outcome(ending=Ending.SIGNALED, exit_code=None, signal=11),
        outcome(limit_expired=Limit.OUTPUT, stdout_length_bytes=2000),
    ],
)
def test_whatever_the_compiler_was_brought_to_is_a_failed_compilation(seen):
    assert not compiled(seen, program="/usr/bin/gcc", limits=LIMITS)


def judge(outcomes, validations, compiling=None) -> tuple[Conclusion, list[str]]:
    """Drives the machine as the shell does; the trace shows what was asked of the sandbox."""
    plan = plan_of(spec(test_count=len(outcomes)), RECIPES["c"])
    state, effects = begin(plan, tuple(entry(index) for index in range(len(outcomes))))
    trace: list[str] = []
    outstanding = 0
    while True:
        event = None
        for effect in effects:
            match effect:
                case PlaceFiles():
                    event = FilesPlaced()
                case Compile():
                    event = CompileFinished(outcome=compiling or outcome())
                case SealFolder():
                    event = FolderSealed()
                case StartRun(index=index):
                    outstanding += 1
                    assert outstanding <= PIPELINE_DEPTH
                    trace.append(f"start {index}")
                case AwaitRun(index=index):
                    outstanding -= 1
                    event = RunFinished(index=index, outcome=outcomes[index])
                    trace.append(f"await {index}")
                case CompareOutput(index=index, output=output):
                    assert output == outcomes[index].stdout
                    event = OutputCompared(
                        index=index, validation=Validation(accepted=validations[index], message_bytes=b"m")
                    )
                case Conclude(conclusion=conclusion):
                    return conclusion, trace
        state, effects = advance(state, event)


def test_runs_are_handed_over_before_the_one_before_them_is_judged():
    conclusion, trace = judge([outcome()] * 4, [True] * 4)
    assert conclusion.verdict is Verdict.AC
    assert trace == ["start 0", "start 1", "await 0", "start 2", "await 1", "start 3", "await 2", "await 3"]


def test_the_first_run_that_is_not_accepted_decides_and_nothing_is_started_behind_it():
    conclusion, trace = judge([outcome(), outcome(exit_code=3), outcome(), outcome(), outcome()], [True] * 5)
    assert conclusion.verdict is Verdict.RTE
    assert [run.verdict for run in conclusion.runs] == [Verdict.AC, Verdict.RTE]
    assert trace[-1] == "await 1"
    assert "start 3" not in trace
    assert conclusion.tests_total == 5


def test_a_failed_compilation_is_told_with_the_compilers_words():
    conclusion, trace = judge([outcome()], [True], outcome(exit_code=1, stderr=b"main.c:1: error"))
    assert conclusion.verdict is Verdict.CE
    assert conclusion.runs == ()
    assert trace == []
    assert conclusion.compile is not None
    assert not conclusion.compile.succeeded
    assert conclusion.evidence.compiler is not None
    assert conclusion.evidence.compiler.head == b"main.c:1: error"


def test_a_lost_sandbox_decides_with_the_run_that_lost_it():
    conclusion, _ = judge([outcome(**LOST, limit_expired=Limit.MEMORY), outcome()], [True, True])
    assert conclusion.verdict is Verdict.MLE
    assert conclusion.runs[0].ending is RunEnding.SANDBOX_LOST
    assert conclusion.runs[0].limit_expired is LimitKind.MEMORY


def test_another_number_of_tests_than_the_spec_promises_is_our_fault():
    plan = plan_of(spec(test_count=2), RECIPES["c"])
    with pytest.raises(JudgeFault, match="expected 2 tests, came 1"):
        begin(plan, (entry(0),))


def test_evidence_stays_bounded_and_keeps_the_deciding_run():
    loud = outcome(stdout=b"x" * 1024, stderr=b"e" * KEPT_STREAM_BYTES)
    count = EVIDENCE_LIMIT_BYTES // (KEPT_STREAM_BYTES + 1024) + 50
    conclusion, _ = judge([loud] * count, [True] * (count - 1) + [False])
    assert conclusion.verdict is Verdict.WA
    assert sum(kept_bytes(run) for run in conclusion.evidence.runs) <= EVIDENCE_LIMIT_BYTES + KEPT_STREAM_BYTES * 2
    assert conclusion.evidence.runs[-1].stdout.head == b"x" * 1024
    assert conclusion.evidence.runs[-2].stdout.head == b""
    assert conclusion.evidence.runs[-2].stdout.length_bytes == 1024


OUTCOMES = st.builds(
    lambda ending, exit_code, number, limit, cpu, peak, length, words: outcome(
        ending=ending,
        exit_code=exit_code,
        signal=number,
        limit_expired=limit,
        cpu_time_ns=cpu,
        memory_peak_bytes=peak,
        stdout=b"x" * min(length, 1024),
        stdout_length_bytes=length,
        stderr=words,
    ),
    st.sampled_from(Ending),
    st.sampled_from([None, 0, 0, 0, 1, 139, 255]),
    st.sampled_from([None, None, 6, 9, 11]),
    st.sampled_from([Limit.NONE, Limit.NONE, *Limit]),
    st.sampled_from([0, 1_000_000, 1_000_000_000, 1_000_000_001]),
    st.sampled_from([0, MIB, 256 * MIB, 257 * MIB]),
    st.sampled_from([0, 10, 1024, 1025]),
    st.sampled_from([b"", b"MemoryError", b"std::bad_alloc"]),
)
GOOD = st.just(outcome(stdout=b"42\n"))


def is_exact(seen: RunOutcome) -> bool:
    return (
        seen.ending is Ending.EXITED
        and seen.exit_code == 0
        and seen.limit_expired is Limit.NONE
        and seen.cpu_time_ns <= 1_000_000_000
        and seen.stdout_length_bytes == len(seen.stdout)
    )


@given(
    st.lists(st.one_of(GOOD, GOOD, OUTCOMES), min_size=1, max_size=8),
    st.lists(st.sampled_from([True, True, True, False]), min_size=8, max_size=8),
    st.one_of(st.just(outcome()), OUTCOMES),
)
def test_nothing_but_exact_runs_with_accepted_output_is_ever_ac(outcomes, validations, compiling):
    try:
        conclusion, _ = judge(outcomes, validations, compiling)
    except JudgeFault:
        return
    exact = [is_exact(seen) and accepted for seen, accepted in zip(outcomes, validations, strict=False)]
    assert (conclusion.verdict is Verdict.AC) == (all(exact) and is_exact(compiling))
    assert conclusion.verdict not in (Verdict.JE, Verdict.UNKNOWN)
    if conclusion.runs:
        # Judged in test order, up to the deciding run and no further.
        assert [run.verdict is Verdict.AC for run in conclusion.runs] == exact[: len(conclusion.runs)]
        assert all(exact[: len(conclusion.runs) - 1])
        assert conclusion.verdict is conclusion.runs[-1].verdict


def test_ac_without_every_test_cannot_be_built():
    good, _ = judge([outcome()] * 2, [True] * 2)
    with pytest.raises(AssertionError, match="every test"):
        dataclasses.replace(good, runs=good.runs[:1])
    with pytest.raises(AssertionError):
        dataclasses.replace(good, compile=None)
    with pytest.raises(AssertionError):
        dataclasses.replace(good, verdict=Verdict.JE)


@pytest.mark.parametrize(
    ("language", "names", "entry_point", "expected"),
    [
        ("c", ("a.c",), None, "a.c"),
        ("c", ("x.h", "b.c", "a.c"), None, "b.c"),
        ("java", ("Helper.java", "Main.java"), None, "Main.java"),
        ("java", ("Helper.java", "Solver.java"), "Solver", "Solver.java"),
        ("python3", ("a.py", "main.py"), None, "main.py"),
        ("python3", ("a.py", "main.py"), "a.py", "a.py"),
    ],
)
def test_the_entry_file_is_found(language, names, entry_point, expected):
    assert entry_of(RECIPES[language], names, entry_point) == expected


@pytest.mark.parametrize(
    ("language", "names", "entry_point"),
    [("c", ("a.txt",), None), ("c", ("a.c",), "b.c"), ("java", ("my-class.java",), None)],
)
def test_a_submission_without_an_entry_is_told_so(language, names, entry_point):
    with pytest.raises(NoEntry):
        entry_of(RECIPES[language], names, entry_point)
    conclusion = uncompilable("expected a file ending in .c", 3)
    assert conclusion.verdict is Verdict.CE


def test_a_runtime_gets_what_it_needs_beside_the_problems_limits():
    plan = plan_of(spec(language="java", files=(("Main.java", digest(b"x")),)), RECIPES["java"])
    assert plan.test_limits.memory_limit_bytes == (256 + 192) * MIB
    assert plan.test_limits.process_limit == 4 + 24
    assert "-Xmx256m" in plan.test_argv
    assert plan.requirement.memory_limit_bytes == 1024 * MIB


def test_the_largest_of_the_runs_stands_for_the_judgement():
    conclusion, _ = judge(
        [outcome(cpu_time_ns=3), outcome(wall_time_ns=7_000_000, memory_peak_bytes=9 * MIB)], [True] * 2
    )
    assert conclusion.cpu_time_ns == 1_000_000
    assert conclusion.wall_time_ns == 7_000_000
    assert conclusion.memory_peak_bytes == 9 * MIB
    assert uncompilable("no", 1).cpu_time_ns == 0


def test_what_a_compiler_says_on_both_streams_is_kept_together_and_capped():
    loud = outcome(exit_code=1, stdout=b"o" * 100, stderr=b"e" * KEPT_STREAM_BYTES * 2)
    conclusion, _ = judge([outcome()], [True], loud)
    words = conclusion.evidence.compiler
    assert words is not None
    assert words.head.startswith(b"o" * 100 + b"e")
    assert len(words.head) + len(words.tail) == KEPT_STREAM_BYTES
    assert words.length_bytes == 100 + KEPT_STREAM_BYTES * 2


def test_a_stream_that_was_kept_longer_than_evidence_allows_is_cut():
    conclusion, _ = judge([outcome(exit_code=1, stderr=b"e" * KEPT_STREAM_BYTES * 2)], [True])
    stderr = conclusion.evidence.runs[0].stderr
    assert len(stderr.head) + len(stderr.tail) == KEPT_STREAM_BYTES
    assert stderr.length_bytes == KEPT_STREAM_BYTES * 2


def test_a_test_run_gets_the_specs_limits_and_its_own_input():
    plan = plan_of(spec(), RECIPES["c"])
    request = plan.test_request(SealedInput(descriptor=5, size_bytes=1))
    assert request.limits.cpu_time_limit_ns == 1_000_000_000
    assert request.stdin == SealedInput(descriptor=5, size_bytes=1)
    assert plan.deadline_ns() > 3 * request.limits.wall_time_limit_ns
