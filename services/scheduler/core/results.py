"""Whether a signed result may be believed: only an exact, complete, accepted report leads to a verdict.

A result that contradicts itself or its order is a fault of the executor that sent it, never a verdict.
"""

from __future__ import annotations

from schemas.events import JudgementAssigned, JudgementCompleted, JudgementWork, Verdict
from schemas.identity import digest, is_digest
from schemas.spec import decode_spec

_OF_RUNS = frozenset({Verdict.WA, Verdict.RTE, Verdict.TLE, Verdict.MLE, Verdict.OLE})


def contradiction(completed: JudgementCompleted, assigned: JudgementAssigned, work: JudgementWork) -> str | None:
    """What is wrong with a result that came under the current lease; None when it can be accepted."""
    spec = decode_spec(assigned.spec)
    for name, expected, came in (
        ("submission", work.submission_id, completed.submission_id),
        ("spec digest", digest(assigned.spec), completed.spec_digest),
        ("image digest", spec.image_digest, completed.image_digest),
        ("isolation", spec.isolation, completed.isolation),
        ("tests in total", work.manifest.test_count, completed.tests_total),
    ):
        if expected != came:
            return f"expected {name} {expected}, came {came}"
    if not is_digest(completed.evidence_digest):
        return f"expected an evidence digest, came {completed.evidence_digest!r}"
    return _wrong_runs(completed) or _wrong_verdict(completed)


def _wrong_runs(completed: JudgementCompleted) -> str | None:
    names = [run.test for run in completed.runs]
    if len(names) > completed.tests_total:
        return f"expected at most {completed.tests_total} runs, came {len(names)}"
    if len(set(names)) != len(names):
        return "expected each test once, came one twice"
    for run in completed.runs:
        if run.verdict is not Verdict.AC and run.verdict not in _OF_RUNS:
            return f"expected a verdict of a run for {run.test}, came {run.verdict}"
    return None


def _wrong_verdict(completed: JudgementCompleted) -> str | None:
    compiled = completed.compile is None or completed.compile.succeeded
    if completed.verdict is Verdict.CE:
        if compiled or completed.runs:
            return "expected CE with a failed compile step and no runs"
        return None
    if not compiled:
        return f"expected CE after a failed compile step, came {completed.verdict}"
    if completed.verdict is Verdict.AC:
        passed = sum(run.verdict is Verdict.AC for run in completed.runs)
        if passed != completed.tests_total or len(completed.runs) != completed.tests_total:
            return f"expected AC with {completed.tests_total} runs of AC, came {passed} of {len(completed.runs)}"
        return None
    if completed.verdict not in _OF_RUNS:
        return f"expected a verdict that an executor may give, came {completed.verdict}"
    deciding = next((run for run in completed.runs if run.verdict is not Verdict.AC), None)
    if deciding is None or deciding.verdict is not completed.verdict:
        return (
            f"expected a deciding run of {completed.verdict}, came {'none' if deciding is None else deciding.verdict}"
        )
    return None
