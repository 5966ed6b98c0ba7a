"""From what the sandbox saw of a run to what it means: the one table of verdicts.

What a contestant's program did is a verdict here; what nobody can have done (a contradiction, an ending without its
detail) is a `JudgeFault`, so that nothing unknown ever becomes AC. A run outcome decides by itself, or it ended exactly
(exit 0 within every limit) and then its output decides.

Precedence, first match counts:
  1. the whole sandbox was lost: for want of memory MLE, otherwise our fault
  2. a limit expired: MEMORY is MLE, OUTPUT is OLE, CPU_TIME and WALL_TIME are TLE
  3. the cgroup account is over the CPU limit although no clock expired: TLE (the last tick of a run)
  4. the program failed (a signal, a non-zero exit) and memory was the reason: MLE
  5. the program failed, or is no program at all: RTE
  6. exit 0: the output validator decides between AC and WA

Rule 4 needs a rule because a program that is refused memory ends by its runtime's hand, not by the kernel's:
  - the recipe names a signal with which the runtime ends when its own heap is full (Java);
  - the peak lies within `MEMORY_MARGIN` of the limit when the program failed;
  - the runtime's own last words on standard error say so (C++ `std::bad_alloc` with SIGABRT, Python `MemoryError` with
    exit 1). Without this, one huge allocation would be MLE on a host with much memory (granted, then stopped by the
    cgroup) and RTE on a small one (refused at once). A program can forge these words: RTE and MLE are both rejections,
    so a forger gains nothing.
"""

from __future__ import annotations

import signal
from typing import Final, assert_never

from schemas.events import LimitKind, RunEnding, Verdict
from services.executor.core.faults import JudgeFault
from services.executor.core.ports import ARTIFACT_FOLDER, Ending, Limit, RunLimits, RunOutcome

MEMORY_MARGIN_DIVISOR: Final = 64
MEMORY_MARGIN_LEAST_BYTES: Final = 1024 * 1024
NOT_STARTED_EXIT_CODE: Final = 127
"""What a shell answers for a program that cannot be executed; reported for `Ending.NOT_STARTED`."""

_VERDICT_OF_LIMIT: Final = {
    Limit.MEMORY: Verdict.MLE,
    Limit.OUTPUT: Verdict.OLE,
    Limit.CPU_TIME: Verdict.TLE,
    Limit.WALL_TIME: Verdict.TLE,
}
_LIMIT_KINDS: Final = {
    Limit.NONE: LimitKind.NONE,
    Limit.CPU_TIME: LimitKind.CPU_TIME,
    Limit.WALL_TIME: LimitKind.WALL_TIME,
    Limit.MEMORY: LimitKind.MEMORY,
    Limit.OUTPUT: LimitKind.OUTPUT,
}


def verdict_of_run(
    outcome: RunOutcome, *, program: str, limits: RunLimits, out_of_memory_signal: int | None
) -> Verdict | None:
    """The verdict that the outcome alone decides; None when the output decides.

    Args:
        outcome: as the sandbox reported it.
        program: `argv[0]` of the run.
        limits: what the run was given.
        out_of_memory_signal: the recipe's.

    Raises:
        JudgeFault: the outcome contradicts itself, or the program in the image could not be started.
    """
    _require_sound(outcome, program=program, limits=limits, stage="run")
    if outcome.limit_expired is not Limit.NONE:
        return _VERDICT_OF_LIMIT[outcome.limit_expired]
    if outcome.cpu_time_ns > limits.cpu_time_limit_ns:
        return Verdict.TLE
    if outcome.ending is Ending.NOT_STARTED:
        return Verdict.RTE
    if outcome.ending is Ending.SIGNALED or outcome.exit_code != 0:
        return Verdict.MLE if _ran_out_of_memory(outcome, limits, out_of_memory_signal) else Verdict.RTE
    if outcome.stdout_length_bytes != len(outcome.stdout):
        raise JudgeFault(
            f"expected the whole output of {outcome.stdout_length_bytes} bytes, came {len(outcome.stdout)}",
            stage="run",
            retriable=True,
        )
    return None


def compiled(outcome: RunOutcome, *, program: str, limits: RunLimits) -> bool:
    """Whether a compile run made an artifact. Anything that the sources brought about is a failed compilation.

    Raises:
        JudgeFault: the outcome contradicts itself, or the compiler in the image could not be started.
    """
    _require_sound(outcome, program=program, limits=limits, stage="compile")
    return outcome.ending is Ending.EXITED and outcome.exit_code == 0 and outcome.limit_expired is Limit.NONE


def _require_sound(outcome: RunOutcome, *, program: str, limits: RunLimits, stage: str) -> None:
    """Raises when the outcome is one that no program can bring about."""
    objection = _objection(outcome, program=program, limits=limits)
    if objection is not None:
        raise JudgeFault(objection, stage=stage, retriable=True)


def _objection(outcome: RunOutcome, *, program: str, limits: RunLimits) -> str | None:
    if outcome.cpu_time_ns < 0 or outcome.wall_time_ns < 0 or outcome.memory_peak_bytes < 0:
        return "expected measurements of at least 0, came a negative one"
    if len(outcome.stdout) > limits.output_limit_bytes:
        return f"expected at most {limits.output_limit_bytes} bytes of output, came {len(outcome.stdout)}"
    if outcome.stdout_length_bytes > limits.output_limit_bytes and outcome.limit_expired is Limit.NONE:
        return f"expected OUTPUT as the limit of {outcome.stdout_length_bytes} bytes of output, came none"
    return _objection_to_ending(outcome, program)


def _objection_to_ending(outcome: RunOutcome, program: str) -> str | None:
    match outcome.ending:
        case Ending.EXITED if outcome.exit_code is None or not 0 <= outcome.exit_code <= 255:
            return f"expected an exit code from 0 to 255 of a run that exited, came {outcome.exit_code}"
        case Ending.SIGNALED if outcome.signal is None or not 1 <= outcome.signal < signal.NSIG:
            return f"expected a signal of a run that was signaled, came {outcome.signal}"
        case Ending.STOPPED_BY_LIMIT if outcome.limit_expired is Limit.NONE:
            return "expected the limit that stopped a run, came none"
        case Ending.NOT_STARTED if not program.startswith(f"{ARTIFACT_FOLDER}/"):
            return f"expected {program} of the image to start, came: it cannot be executed"
        case Ending.SANDBOX_LOST if outcome.limit_expired is not Limit.MEMORY:
            return f"expected a sandbox to outlive the run, came its end (limit {outcome.limit_expired.value})"
        case _:
            return None


def _ran_out_of_memory(outcome: RunOutcome, limits: RunLimits, out_of_memory_signal: int | None) -> bool:
    if out_of_memory_signal is not None and outcome.signal == out_of_memory_signal:
        return True
    margin_bytes = max(MEMORY_MARGIN_LEAST_BYTES, limits.memory_limit_bytes // MEMORY_MARGIN_DIVISOR)
    if outcome.memory_peak_bytes >= limits.memory_limit_bytes - margin_bytes:
        return True
    words = outcome.stderr.head + outcome.stderr.tail
    if outcome.signal == signal.SIGABRT:
        return b"std::bad_alloc" in words
    if outcome.exit_code == 1:
        last_line = words.rstrip().rpartition(b"\n")[2]
        return last_line.startswith(b"MemoryError")
    return False


def ending_of(outcome: RunOutcome) -> RunEnding:
    """How the published language tells an ending; a program that is none exited with 127, as a shell says it."""
    match outcome.ending:
        case Ending.EXITED | Ending.NOT_STARTED:
            return RunEnding.EXITED
        case Ending.SIGNALED:
            return RunEnding.SIGNALED
        case Ending.STOPPED_BY_LIMIT:
            return RunEnding.STOPPED_BY_LIMIT
        case Ending.SANDBOX_LOST:
            return RunEnding.SANDBOX_LOST
        case _ as unreachable:
            assert_never(unreachable)


def exit_code_of(outcome: RunOutcome) -> int | None:
    return NOT_STARTED_EXIT_CODE if outcome.ending is Ending.NOT_STARTED else outcome.exit_code


def limit_kind_of(outcome: RunOutcome) -> LimitKind:
    return _LIMIT_KINDS[outcome.limit_expired]
