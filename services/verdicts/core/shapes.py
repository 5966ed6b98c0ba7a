"""The JSON that readers get, and what their scope hides from them.

Scope `read` gives verdicts, times, memory, compiler output and the sample tests' evidence. What a program chose to
show on a secret test could carry the test itself: its output and how long that is, its exit code and signal, what the
validator said, which processes it left. All of that needs scope `jury`; without it the field is null.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.events import (
    AssignmentRefused,
    Event,
    JudgementAssigned,
    JudgementCompleted,
    JudgementConcluded,
    JudgementFaulted,
    JudgementRequested,
    JudgementStarted,
    LeaseRevoked,
    RunsFinished,
    SubmissionQueued,
    SubmissionReceived,
)
from schemas.evidence import Evidence, KeptStream, RunEvidence
from schemas.problems import SAMPLE
from services.verdicts.core.rows import ChangeRow, JudgementRow, RunRow, SubmissionRow

Shape = dict[str, Any]
MISSING_SOURCE = "the source is no longer in the blob store"
MISSING_EVIDENCE = "the evidence is no longer in the blob store"
_HIDDEN_ON_SECRET = ("exit_code", "signal", "output_bytes", "error_bytes", "stopped_processes")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementView:
    """A judgement with what belongs to it."""

    row: JudgementRow
    current: bool
    runs: Sequence[RunRow]
    evidence: Evidence | None
    """None when there is none or its blob is missing."""
    evidence_missing: bool


def iso(at_us: int | None) -> str | None:
    """RFC 3339 in UTC with microseconds."""
    if at_us is None:
        return None
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=at_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def change_shape(change: ChangeRow) -> Shape:
    """One entry of a verdict feed: the fields of `VerdictRecorded`."""
    return {
        "cursor": change.cursor,
        "event_id": change.event_id,
        "at": iso(change.at_us),
        "tenant": change.tenant,
        "contest": change.contest,
        "team": change.team,
        "submission_id": change.submission_id,
        "judgement_id": change.judgement_id,
        "problem": change.problem,
        "problem_version": change.problem_version,
        "language": change.language,
        "verdict": change.verdict,
        "previous": change.previous,
        "cause": change.cause,
        "score": change.score,
        "cpu_time_ns": change.cpu_time_ns,
        "wall_time_ns": change.wall_time_ns,
        "memory_peak_bytes": change.memory_peak_bytes,
        "submitted_at_us": change.submitted_at_us,
        "judged_at_us": change.judged_at_us,
    }


def summary_shape(row: Mapping[str, Any]) -> Shape:
    """One line of the list: a row of the query `submissions`."""
    return {
        "submission_id": row["submission_id"],
        "status": row["status"],
        "verdict": row["verdict"],
        "problem": row["problem"],
        "problem_version": row["problem_version"],
        "language": row["language"],
        "team": row["team"],
        "contest": row["contest"],
        "submitted_at": iso(row["received_at_us"]),
        "judged_at": iso(row["concluded_at_us"]),
        "cpu_time_ns": row["cpu_time_ns"],
        "wall_time_ns": row["wall_time_ns"],
        "memory_peak_bytes": row["memory_peak_bytes"],
        "limits": {
            "cpu_time_limit_ns": row["cpu_time_limit_ns"],
            "wall_time_limit_ns": row["wall_time_limit_ns"],
            "memory_limit_bytes": row["memory_limit_bytes"],
        },
        "position": row["position"],
    }


def submission_shape(
    submission: SubmissionRow,
    files: Sequence[tuple[str, str | None]],
    judgements: Sequence[JudgementView],
    timeline: Sequence[Shape],
    *,
    jury: bool,
) -> Shape:
    """The answer of `/v1/submissions/{id}`. `files` are (name, text), text None when its blob is missing."""
    current = next((view.row for view in judgements if view.current), None)
    return {
        "submission_id": submission.submission_id,
        "status": submission.status,
        "verdict": None if current is None else current.verdict,
        "problem": submission.problem,
        "problem_version": submission.problem_version,
        "language": submission.language,
        "entry_point": submission.entry_point,
        "team": submission.team,
        "contest": submission.contest,
        "submitted_at": iso(submission.received_at_us),
        "files": [
            {"name": name, "text": text, "note": None if text is not None else MISSING_SOURCE} for name, text in files
        ],
        "judgements": [_judgement_shape(view, jury=jury) for view in judgements],
        "timeline": list(timeline),
        "jury": jury,
    }


def _judgement_shape(view: JudgementView, *, jury: bool) -> Shape:
    row = view.row
    evidence = {} if view.evidence is None else {run.test: run for run in view.evidence.runs}
    faults = json.loads(row.faults)
    return {
        "judgement_id": row.judgement_id,
        "origin": row.origin,
        "repeat": row.repeat,
        "verdict": row.verdict,
        "current": view.current,
        "attempt": row.attempt,
        "lease_epoch": row.lease_epoch,
        "executor": row.executor,
        "incarnation": row.incarnation,
        "slot": row.slot,
        "cpu": row.cpu,
        "image_digest": row.image_digest,
        "isolation": row.isolation,
        "spec_digest": row.spec_digest,
        "preflight_digest": row.preflight_digest,
        "evidence_digest": row.evidence_digest,
        "note": MISSING_EVIDENCE if view.evidence_missing else None,
        "problem_version": row.problem_version,
        "started_at": iso(row.started_at_us),
        "completed_at": iso(row.completed_at_us),
        "concluded_at": iso(row.concluded_at_us),
        "compile": _compile_shape(row, view.evidence),
        "tests_total": row.tests_total,
        "runs": [_run_shape(run, evidence.get(run.test), jury=jury) for run in view.runs],
        "faults": [fault if jury else {**fault, "message": None} for fault in faults],
        "score": row.score,
        "cpu_time_ns": row.cpu_time_ns,
        "wall_time_ns": row.wall_time_ns,
        "memory_peak_bytes": row.memory_peak_bytes,
        "limits": {
            "cpu_time_limit_ns": row.cpu_time_limit_ns,
            "wall_time_limit_ns": row.wall_time_limit_ns,
            "memory_limit_bytes": row.memory_limit_bytes,
            "output_limit_bytes": row.output_limit_bytes,
        },
    }


def _compile_shape(row: JudgementRow, evidence: Evidence | None) -> Shape | None:
    if row.compile is None:
        return None
    report: Shape = json.loads(row.compile)
    output = None if evidence is None or evidence.compiler is None else stream_text(evidence.compiler)
    return {**report, "output": output}


def _run_shape(run: RunRow, evidence: RunEvidence | None, *, jury: bool) -> Shape:
    shape: Shape = {
        "test": run.test,
        "group": run.test_group,
        "verdict": run.verdict,
        "ending": run.ending,
        "cpu_time_ns": run.cpu_time_ns,
        "wall_time_ns": run.wall_time_ns,
        "memory_peak_bytes": run.memory_peak_bytes,
        "exit_code": run.exit_code,
        "signal": run.signal,
        "limit_expired": run.limit_expired,
        "output_bytes": run.output_bytes,
        "error_bytes": run.error_bytes,
        "stopped_processes": run.stopped_processes,
        "runnable_wait_ns": run.runnable_wait_ns,
        "samples_cpu_time_ns": list(run.samples_cpu_time_ns),
        "stdout": None,
        "stderr": None,
        "validator_message": None,
        "hidden": not _may_see(run.test_group, jury=jury),
    }
    if shape["hidden"]:
        return shape | dict.fromkeys(_HIDDEN_ON_SECRET)
    # The blob says its own group; an executor that is confused about it must not open a secret test.
    if evidence is not None and _may_see(evidence.group, jury=jury):
        shape["stdout"] = stream_text(evidence.stdout)
        shape["stderr"] = stream_text(evidence.stderr)
        shape["validator_message"] = evidence.validator_message
    return shape


def _may_see(group: str, *, jury: bool) -> bool:
    """Fails closed: whatever is not a sample is secret."""
    return jury or group == SAMPLE


def stream_text(stream: KeptStream) -> str:
    """What was kept of a stream, as text; bytes that are no UTF-8 are shown as U+FFFD."""
    left_out = stream.length_bytes - len(stream.head) - len(stream.tail)
    head, tail = stream.head.decode("utf-8", "replace"), stream.tail.decode("utf-8", "replace")
    return head + tail if left_out <= 0 else f"{head}\n[… {left_out} bytes left out …]\n{tail}"


def timeline_shape(event: Event, *, late: bool, jury: bool) -> Shape:
    """One line of a submission's history."""
    at_us = getattr(event, "at_us")  # noqa: B009  every ledger event has one
    return {"at": iso(at_us), "event": type(event).__name__, "detail": _detail(event, late=late, jury=jury)}


def _detail(event: Event, *, late: bool, jury: bool) -> str:
    match event:
        case SubmissionReceived():
            return f"by {event.source}, {len(event.work.files)} file(s), class {event.work.priority_class}"
        case SubmissionQueued():
            return f"in the queue of its cell, origin {event.work.origin}"
        case JudgementRequested():
            return f"by {event.actor}: {event.reason}"
        case JudgementAssigned():
            return f"to {event.executor}, attempt {event.attempt}, lease {event.lease_epoch}"
        case LeaseRevoked():
            return f"from {event.executor}, lease {event.lease_epoch}: {event.reason}"
        case AssignmentRefused():
            return f"by {event.executor}: {event.code}" + (f", {event.reason}" if jury else "")
        case JudgementStarted():
            return f"on {event.executor}, slot {event.slot}, {event.isolation}"
        case RunsFinished():
            return f"{len(event.runs)} more of {event.tests_total} tests"
        case JudgementCompleted():
            lateness = "came late and changes nothing: " if late else ""
            return (
                f"{lateness}{event.verdict} after {len(event.runs)} of {event.tests_total} tests, on {event.executor}"
            )
        case JudgementFaulted():
            return f"on {event.executor} at {event.stage}" + (f": {event.message}" if jury else "")
        case JudgementConcluded():
            return f"{event.verdict}, lease {event.lease_epoch}"
        case _:
            return ""


def problem_shape(row: Mapping[str, Any]) -> Shape:
    """One entry of `/v1/problems`."""
    manifest = json.loads(row["manifest"])
    return {
        "problem": row["problem"],
        "name": row["name"],
        "problem_version": row["problem_version"],
        "test_count": manifest["test_count"],
        "sample_count": row["sample_count"],
        "limits": {
            name: manifest[name]
            for name in ("cpu_time_limit_ns", "wall_time_limit_ns", "memory_limit_bytes", "output_limit_bytes")
        },
        "published_at": iso(row["published_at_us"]),
        "published_by": row["published_by"],
    }
