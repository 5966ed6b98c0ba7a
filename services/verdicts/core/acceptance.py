"""Which records are believed, which go into the ledger, and what ids they carry.

A record is parked when it cannot be decoded, does not belong on its topic, or carries a name that no table can hold;
an executor's event also when its signature is missing, bad, or of another executor's key. Nothing is ever guessed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass

from schemas import topics
from schemas.errors import PoisonEvent
from schemas.events import (
    AssignmentRefused,
    ContestRegistered,
    Event,
    JudgementAssigned,
    JudgementCompleted,
    JudgementConcluded,
    JudgementFaulted,
    JudgementRequested,
    JudgementStarted,
    JudgementWork,
    LeaseRevoked,
    ProblemPublished,
    QueueReported,
    RunsFinished,
    SchedulerSnapshotTaken,
    SubmissionQueued,
    SubmissionReceived,
)
from schemas.headers import Headers
from schemas.identity import canonical_json
from schemas.signing import Signature

PROJECTED: tuple[topics.Topic, ...] = (
    topics.KEYS,
    topics.PROBLEMS,
    topics.CONTESTS,
    topics.SUBMISSIONS,
    topics.REQUESTS,
    topics.DECISIONS,
    topics.JUDGEMENTS,
    topics.REJUDGINGS,
)
"""What is consumed, keys first: a signature is checked with keys that are read before it."""
SIGNED = frozenset({topics.JUDGEMENTS.name, topics.CAPACITY.name})
"""Topics of executors: an event there counts only with that executor's signature."""
LONGEST_NAME_BYTES = 512
"""In UTF-8; the longest index over such names stays below what a page of Postgres can hold."""

_TOPIC_EVENTS = {topic.name: frozenset(topic.events) for topic in (*PROJECTED, topics.CAPACITY)}
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LEASED = (JudgementAssigned, LeaseRevoked, AssignmentRefused, JudgementStarted, RunsFinished, JudgementCompleted)
_WITH_WORK = (SubmissionReceived, SubmissionQueued, JudgementRequested)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as it lay on its topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers
    timestamp_ms: int
    signature: Signature | None
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """A record and the event it is."""

    record: Record
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A record that is parked, and why."""

    record: Record
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an event is about."""

    submission_id: str | None = None
    judgement_id: str | None = None
    lease_epoch: int | None = None


def check_event(record: Record, event: Event) -> None:
    """Returns when a decoded event may be projected.

    Raises:
        PoisonEvent: it does not belong on its topic, another executor signed it, or a name does not fit.
    """
    name = type(event).__name__
    allowed = _TOPIC_EVENTS[record.topic]
    if name not in allowed:
        raise PoisonEvent("wrong_type", f"expected one of {sorted(allowed)} on {record.topic}, came {name}")
    if record.topic in SIGNED:
        _check_signer(record, event)
    for label, text in _names(event):
        if len(text.encode()) > LONGEST_NAME_BYTES or "\x00" in text:
            raise PoisonEvent(
                "bad_name",
                f"expected {label} of at most {LONGEST_NAME_BYTES} bytes without NUL, came {text[:60]!r}",
            )
    for label, text in _ids(event):
        if _ID.fullmatch(text) is None:
            raise PoisonEvent("bad_id", f"expected {label} to be a UUID, came {text[:60]!r}")


def is_ledgered(event: Event) -> bool:
    """Whether an event is a fact or a decision; reports and snapshots only repeat others."""
    return not isinstance(event, QueueReported | SchedulerSnapshotTaken)


def subject_of(event: Event) -> Subject:
    """Submission, judgement and lease that an event is about."""
    if isinstance(event, _WITH_WORK):
        return Subject(submission_id=event.work.submission_id, judgement_id=event.work.judgement_id)
    if isinstance(event, (*_LEASED, JudgementFaulted, JudgementConcluded)):
        return Subject(
            submission_id=event.submission_id, judgement_id=event.judgement_id, lease_epoch=event.lease_epoch
        )
    return Subject()


def headers_text(headers: Headers) -> str:
    """Headers as canonical JSON: the same headers are the same text."""
    return canonical_json([[name, base64.b64encode(value).decode()] for name, value in headers]).decode()


def _check_signer(record: Record, event: Event) -> None:
    executor = getattr(event, "executor", "")
    came = "" if record.signature is None else record.signature.key_id.rpartition("-")[0]
    if came != f"executor-{executor}":
        raise PoisonEvent("foreign_key", f"expected a signature by executor-{executor}, came one by {came!r}")


def _ids(event: Event) -> Iterator[tuple[str, str]]:
    yield "event_id", getattr(event, "event_id", "")
    subject = subject_of(event)
    if subject.submission_id is not None:
        yield "submission_id", subject.submission_id
    if subject.judgement_id is not None:
        yield "judgement_id", subject.judgement_id
    if isinstance(event, JudgementConcluded) and event.accepted_event_id is not None:
        yield "accepted_event_id", event.accepted_event_id


def _names(event: Event) -> Iterator[tuple[str, str]]:
    """Every text that becomes a column of its own."""
    if isinstance(event, _WITH_WORK):
        yield from _work_names(event.work)
    if isinstance(event, ProblemPublished):
        texts = (event.tenant, event.problem, event.name, event.bundle_digest, event.published_by)
        yield from zip(("tenant", "problem", "name", "bundle_digest", "published_by"), texts, strict=True)
        yield "problem_version", event.manifest.problem_version
    if isinstance(event, ContestRegistered):
        texts = (event.tenant, event.contest, event.name, event.registered_by, "")
        yield from zip(("tenant", "contest", "name", "registered_by", "none"), texts, strict=True)
    if isinstance(event, (*_LEASED, JudgementFaulted)):
        yield "executor", event.executor
        yield "incarnation", event.incarnation
    if isinstance(event, JudgementCompleted):
        for label in ("image_digest", "isolation", "spec_digest", "preflight_digest", "evidence_digest", "sandbox_id"):
            yield label, getattr(event, label)
        for run in event.runs:
            yield "test", run.test
            yield "group", run.group


def _work_names(work: JudgementWork) -> Iterator[tuple[str, str]]:
    for label in ("origin", "tenant", "contest", "team", "problem", "language", "entry_point", "source_digest"):
        yield label, getattr(work, label) or ""
    yield "problem_version", work.manifest.problem_version
