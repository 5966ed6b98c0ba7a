"""The rows of the projection, one frozen class per table; field names and order are those of the columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

Cursor = NewType("Cursor", int)
"""Dense number of a verdict change, from 1; 0 is before all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One accepted event, exactly as it came."""

    position: int
    topic: str
    partition: int
    offset: int
    event_id: str
    event_type: str
    submission_id: str | None
    judgement_id: str | None
    lease_epoch: int | None
    key: bytes | None
    value: bytes
    headers: str
    """Canonical JSON: [[name, base64], …] in the order they came."""
    key_id: str | None
    signature: bytes | None
    accepted_at_ms: int
    """Time of the record on its topic, so that a rebuild has the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedRow:
    """One record that was not believed, and why."""

    topic: str
    partition: int
    offset: int
    after_position: int
    code: str
    reason: str
    key: bytes | None
    value: bytes
    headers: str
    accepted_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRow:
    """Something a person must look at."""

    topic: str
    partition: int
    offset: int
    code: str
    event_id: str
    detail: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRow:
    """One version of a problem."""

    tenant: str
    problem: str
    problem_version: str
    name: str
    manifest: str
    bundle_digest: str
    sample_count: int
    published_by: str
    published_at_us: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestRow:
    """A contest as last registered."""

    tenant: str
    contest: str
    name: str
    priority_class: str
    starts_at_us: int
    ends_at_us: int
    registered_by: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRow:
    """One submission. `position` is that of the first ledger row about it: its place in the list."""

    submission_id: str
    tenant: str
    contest: str | None
    team: str | None
    problem: str
    problem_version: str
    language: str
    entry_point: str | None
    source_digest: str
    files: str
    """Canonical JSON: [[name, digest, size_bytes], …]."""
    priority_class: str
    received_at_us: int
    status: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementRow:
    """One judgement; what comes from the accepted result is empty until it is concluded."""

    judgement_id: str
    submission_id: str
    origin: str
    repeat: int
    problem_version: str
    cpu_time_limit_ns: int
    wall_time_limit_ns: int
    memory_limit_bytes: int
    output_limit_bytes: int
    attempt: int = 0
    lease_epoch: int = 0
    executor: str | None = None
    incarnation: str | None = None
    verdict: str | None = None
    accepted_event_id: str | None = None
    concluded_at_us: int | None = None
    started_at_us: int | None = None
    completed_at_us: int | None = None
    image_digest: str | None = None
    isolation: str | None = None
    spec_digest: str | None = None
    preflight_digest: str | None = None
    evidence_digest: str | None = None
    sandbox_id: str | None = None
    slot: int | None = None
    cpu: int | None = None
    tests_total: int = 0
    score: float | None = None
    cpu_time_ns: int = 0
    wall_time_ns: int = 0
    memory_peak_bytes: int = 0
    compile: str | None = None
    """Canonical JSON of the CompileReport."""
    faults: str = "[]"
    """Canonical JSON of the FaultReports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One test run of a concluded judgement."""

    judgement_id: str
    ordinal: int
    test: str
    test_group: str
    verdict: str
    ending: str
    exit_code: int | None
    signal: int | None
    limit_expired: str
    cpu_time_ns: int
    wall_time_ns: int
    memory_peak_bytes: int
    output_bytes: int
    error_bytes: int
    stopped_processes: int
    runnable_wait_ns: int
    samples_cpu_time_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingRow:
    """A conclusion that waits for the event it names."""

    judgement_id: str
    submission_id: str
    accepted_event_id: str | None
    conclusion_event_id: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """A change of a current verdict: what `VerdictRecorded` says."""

    cursor: int
    event_id: str
    at_us: int
    tenant: str
    contest: str | None
    team: str | None
    submission_id: str
    judgement_id: str | None
    problem: str
    problem_version: str
    language: str
    verdict: str
    previous: str | None
    cause: str
    score: float | None
    cpu_time_ns: int
    wall_time_ns: int
    memory_peak_bytes: int
    submitted_at_us: int
    judged_at_us: int
    traceparent: str | None
