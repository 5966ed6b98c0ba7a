"""The fold: accepted events into rows.

Theory. A `Sheet` holds the rows that a batch can touch, loaded beforehand, and takes the batch's records one by one
in order. What it wrote down is then stored in one transaction. Everything comes from the records and the rows, so the
same records in the same order make the same rows: a rebuild is equal.

States of a submission: received → queued → running → judged. They follow the scheduler's log alone (an executor's
own events come on another topic, in no order relative to it), and never go back from judged.

A judgement is projected when three things are known, in whatever order they came: the judgement itself, its
conclusion, and the result that the conclusion names (none for JE). Until then the conclusion is `pending`. A conclusion
that does not fit the result it names is an alarm and stays pending: only an exact, accepted report may become a verdict.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas.events import (
    ContestRegistered,
    Event,
    JudgementAssigned,
    JudgementCompleted,
    JudgementConcluded,
    JudgementRequested,
    JudgementWork,
    LeaseRevoked,
    ProblemPublished,
    SubmissionQueued,
    SubmissionReceived,
    VerdictCause,
)
from schemas.identity import LIVE_ORIGIN, canonical_json, event_id
from services.verdicts.core.acceptance import Believed, Record, Refused, headers_text, is_ledgered, subject_of
from services.verdicts.core.rows import (
    AlarmRow,
    ChangeRow,
    ContestRow,
    JudgementRow,
    LedgerRow,
    ParkedRow,
    PendingRow,
    ProblemRow,
    RunRow,
    SubmissionRow,
)

RECEIVED, QUEUED, RUNNING, JUDGED = "received", "queued", "running", "judged"
DUPLICATE_ID, MISFIT, SECOND_CONCLUSION = "event_id_reused", "conclusion_misfit", "concluded_twice"
MISFIT_CODES = frozenset({DUPLICATE_ID, MISFIT, SECOND_CONCLUSION})


@dataclass(slots=True, kw_only=True)
class Sheet:
    """The working copy of a batch. Loaded rows go in; `take` folds; the lists and dicts of changes come out."""

    ledger_size: int
    cursor: int
    ranks: Mapping[str, int]
    """Rank of each origin that counts."""
    submissions: dict[str, SubmissionRow] = field(default_factory=dict)
    judgements: dict[str, JudgementRow] = field(default_factory=dict)
    pending: dict[str, PendingRow] = field(default_factory=dict)
    """By judgement."""
    stored: dict[str, Believed] = field(default_factory=dict)
    """Ledger events by id: those whose ids come again, and those that a conclusion needs."""

    ledger: list[LedgerRow] = field(default_factory=list)
    parked: list[ParkedRow] = field(default_factory=list)
    alarms: list[AlarmRow] = field(default_factory=list)
    problems: dict[tuple[str, str, str], ProblemRow] = field(default_factory=dict)
    contests: dict[tuple[str, str], ContestRow] = field(default_factory=dict)
    runs: list[RunRow] = field(default_factory=list)
    changes: list[ChangeRow] = field(default_factory=list)
    touched_submissions: set[str] = field(default_factory=set)
    touched_judgements: set[str] = field(default_factory=set)
    no_longer_pending: set[str] = field(default_factory=set)
    new_pending: dict[str, PendingRow] = field(default_factory=dict)

    def take(self, came: Believed | Refused) -> None:
        """Folds one record."""
        if isinstance(came, Refused):
            self.parked.append(_parked(came, self.ledger_size))
            return
        if not is_ledgered(came.event):
            return
        identity: str = getattr(came.event, "event_id")  # noqa: B009  every event on a projected topic has one
        first = self.stored.get(identity)
        if first is not None:
            if first.record.value != came.record.value:
                self._alarm(came.record, DUPLICATE_ID, identity, f"first at {_place(first.record)}, kept")
            return
        self.ledger_size += 1
        self.ledger.append(_ledger_row(came, self.ledger_size))
        self.stored[identity] = came
        self._fold(came)

    def _fold(self, came: Believed) -> None:
        event = came.event
        match event:
            case SubmissionReceived() | JudgementRequested():
                self._know(event.work, came)
            case SubmissionQueued():
                self._know(event.work, came)
                self._advance(event.work.submission_id, event.work.judgement_id, QUEUED)
            case JudgementAssigned():
                self._assign(event)
            case LeaseRevoked():
                self._revoke(event)
            case JudgementConcluded():
                self._conclude(event, came)
            case JudgementCompleted():
                self._settle(event.judgement_id, came.record)
            case ProblemPublished():
                row = _problem(event, self.ledger_size)
                self.problems[row.tenant, row.problem, row.problem_version] = row
            case ContestRegistered():
                self.contests[event.tenant, event.contest] = _contest(event, self.ledger_size)
            case _:
                pass  # In the ledger, and part of no read model.

    def _know(self, work: JudgementWork, came: Believed) -> None:
        """A submission and a judgement exist; the first record about them says how they are."""
        if work.submission_id not in self.submissions:
            self._put_submission(_submission(work, self.ledger_size))
        if work.judgement_id not in self.judgements:
            self._put_judgement(_judgement(work))
            self._settle(work.judgement_id, came.record)

    def _advance(self, submission_id: str, judgement_id: str, status: str) -> None:
        """Moves a submission on when the judgement is a live one; a judged submission stays judged."""
        submission, judgement = self.submissions.get(submission_id), self.judgements.get(judgement_id)
        if submission is None or judgement is None or judgement.origin != LIVE_ORIGIN:
            return
        if submission.status not in (JUDGED, status):
            self._put_submission(dataclasses.replace(submission, status=status))

    def _assign(self, event: JudgementAssigned) -> None:
        judgement = self.judgements.get(event.judgement_id)
        if judgement is None or judgement.verdict is not None or event.lease_epoch < judgement.lease_epoch:
            return
        self._put_judgement(
            dataclasses.replace(
                judgement,
                attempt=event.attempt,
                lease_epoch=event.lease_epoch,
                executor=event.executor,
                incarnation=event.incarnation,
            )
        )
        self._advance(event.submission_id, event.judgement_id, RUNNING)

    def _revoke(self, event: LeaseRevoked) -> None:
        judgement = self.judgements.get(event.judgement_id)
        if judgement is None or judgement.verdict is not None or event.lease_epoch != judgement.lease_epoch:
            return
        self._put_judgement(dataclasses.replace(judgement, executor=None, incarnation=None))
        self._advance(event.submission_id, event.judgement_id, QUEUED)

    def _conclude(self, event: JudgementConcluded, came: Believed) -> None:
        judgement = self.judgements.get(event.judgement_id)
        if (judgement is not None and judgement.verdict is not None) or event.judgement_id in self.pending:
            self._alarm(came.record, SECOND_CONCLUSION, event.event_id, f"judgement {event.judgement_id}, first counts")
            return
        row = PendingRow(
            judgement_id=event.judgement_id,
            submission_id=event.submission_id,
            accepted_event_id=event.accepted_event_id,
            conclusion_event_id=event.event_id,
            position=self.ledger_size,
        )
        self.pending[event.judgement_id] = row
        self.new_pending[event.judgement_id] = row
        self._settle(event.judgement_id, came.record)

    def _settle(self, judgement_id: str, now: Record) -> None:
        """Projects a pending conclusion once everything it needs is known. `now` is the record being folded."""
        pending, judgement = self.pending.get(judgement_id), self.judgements.get(judgement_id)
        if pending is None or judgement is None:
            return
        concluded = self.stored[pending.conclusion_event_id]
        conclusion = concluded.event
        assert isinstance(conclusion, JudgementConcluded)
        completed: JudgementCompleted | None = None
        if pending.accepted_event_id is not None:
            named = self.stored.get(pending.accepted_event_id)
            if named is None:
                return
            misfit = _misfit(conclusion, named.event)
            if misfit is not None:
                self._alarm(now, MISFIT, conclusion.event_id, misfit)
                return
            assert isinstance(named.event, JudgementCompleted)
            completed = named.event
        del self.pending[judgement_id]
        if self.new_pending.pop(judgement_id, None) is None:
            self.no_longer_pending.add(judgement_id)
        before = self._current(judgement.submission_id)
        self._put_judgement(_concluded(judgement, conclusion, completed))
        if completed is not None:
            self.runs.extend(_runs(completed))
        self._resolve(judgement.submission_id, before, conclusion, concluded.record.traceparent)

    def _resolve(
        self, submission_id: str, before: JudgementRow | None, conclusion: JudgementConcluded, traceparent: str | None
    ) -> None:
        """Records a change when another judgement became current."""
        current = self._current(submission_id)
        if current is None or (before is not None and before.judgement_id == current.judgement_id):
            return
        submission = self.submissions[submission_id]
        if submission.status != JUDGED:
            self._put_submission(dataclasses.replace(submission, status=JUDGED))
        self.cursor += 1
        self.changes.append(_change(self.cursor, submission, current, before, conclusion.at_us, traceparent))

    def _current(self, submission_id: str) -> JudgementRow | None:
        """The judgement through which the current verdict resolves: highest applied origin, then newest repeat."""
        concluded = [
            row
            for row in self.judgements.values()
            if row.submission_id == submission_id and row.verdict is not None and row.origin in self.ranks
        ]
        return max(concluded, key=lambda row: (self.ranks[row.origin], row.repeat), default=None)

    def _put_submission(self, row: SubmissionRow) -> None:
        self.submissions[row.submission_id] = row
        self.touched_submissions.add(row.submission_id)

    def _put_judgement(self, row: JudgementRow) -> None:
        self.judgements[row.judgement_id] = row
        self.touched_judgements.add(row.judgement_id)

    def _alarm(self, record: Record, code: str, identity: str, detail: str) -> None:
        self.alarms.append(
            AlarmRow(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                code=code,
                event_id=identity,
                detail=detail,
                value=record.value,
            )
        )


def needed_ids(came: Iterable[Believed | Refused]) -> tuple[set[str], set[str]]:
    """(submission ids, event ids) whose rows must be loaded before these records are folded."""
    submissions: set[str] = set()
    events: set[str] = set()
    for entry in came:
        if isinstance(entry, Refused) or not is_ledgered(entry.event):
            continue
        subject = subject_of(entry.event)
        if subject.submission_id is not None:
            submissions.add(subject.submission_id)
        events.add(getattr(entry.event, "event_id"))  # noqa: B009  every event on a projected topic has one
        if isinstance(entry.event, JudgementConcluded) and entry.event.accepted_event_id is not None:
            events.add(entry.event.accepted_event_id)
    return submissions, events


def _misfit(conclusion: JudgementConcluded, named: Event) -> str | None:
    """Why a conclusion cannot rest on the event it names; None when it can."""
    if not isinstance(named, JudgementCompleted):
        return f"expected {conclusion.accepted_event_id} to be JudgementCompleted, came {type(named).__name__}"
    expected = (conclusion.judgement_id, conclusion.submission_id, conclusion.lease_epoch, conclusion.verdict)
    came = (named.judgement_id, named.submission_id, named.lease_epoch, named.verdict)
    return None if expected == came else f"expected {expected}, came {came}"


def _place(record: Record) -> str:
    return f"{record.topic}/{record.partition}@{record.offset}"


def _parked(came: Refused, ledger_size: int) -> ParkedRow:
    record = came.record
    return ParkedRow(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        after_position=ledger_size,
        code=came.code,
        reason=came.reason.replace("\x00", "\\x00"),
        key=record.key,
        value=record.value,
        headers=headers_text(record.headers),
        accepted_at_ms=record.timestamp_ms,
    )


def _ledger_row(came: Believed, position: int) -> LedgerRow:
    record, subject = came.record, subject_of(came.event)
    return LedgerRow(
        position=position,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        event_id=getattr(came.event, "event_id"),  # noqa: B009  every event on a projected topic has one
        event_type=type(came.event).__name__,
        submission_id=subject.submission_id,
        judgement_id=subject.judgement_id,
        lease_epoch=subject.lease_epoch,
        key=record.key,
        value=record.value,
        headers=headers_text(record.headers),
        key_id=None if record.signature is None else record.signature.key_id.replace("\x00", "\\x00"),
        signature=None if record.signature is None else record.signature.value,
        accepted_at_ms=record.timestamp_ms,
    )


def _submission(work: JudgementWork, position: int) -> SubmissionRow:
    return SubmissionRow(
        submission_id=work.submission_id,
        tenant=work.tenant,
        contest=work.contest,
        team=work.team,
        problem=work.problem,
        problem_version=work.manifest.problem_version,
        language=work.language,
        entry_point=work.entry_point,
        source_digest=work.source_digest,
        files=canonical_json([[file.name, file.digest, file.size_bytes] for file in work.files]).decode(),
        priority_class=work.priority_class.value,
        received_at_us=work.received_at_us,
        status=RECEIVED,
        position=position,
    )


def _judgement(work: JudgementWork) -> JudgementRow:
    manifest = work.manifest
    return JudgementRow(
        judgement_id=work.judgement_id,
        submission_id=work.submission_id,
        origin=work.origin,
        repeat=work.repeat,
        problem_version=manifest.problem_version,
        cpu_time_limit_ns=manifest.cpu_time_limit_ns,
        wall_time_limit_ns=manifest.wall_time_limit_ns,
        memory_limit_bytes=manifest.memory_limit_bytes,
        output_limit_bytes=manifest.output_limit_bytes,
        tests_total=manifest.test_count,
    )


def _concluded(
    judgement: JudgementRow, conclusion: JudgementConcluded, completed: JudgementCompleted | None
) -> JudgementRow:
    row = dataclasses.replace(
        judgement,
        lease_epoch=conclusion.lease_epoch,
        verdict=conclusion.verdict.value,
        accepted_event_id=conclusion.accepted_event_id,
        concluded_at_us=conclusion.at_us,
        faults=canonical_json([dataclasses.asdict(fault) for fault in conclusion.faults]).decode(),
    )
    if completed is None:
        return row
    report = None if completed.compile is None else canonical_json(dataclasses.asdict(completed.compile)).decode()
    return dataclasses.replace(
        row,
        executor=completed.executor,
        incarnation=completed.incarnation,
        started_at_us=completed.started_at_us,
        completed_at_us=completed.at_us,
        image_digest=completed.image_digest,
        isolation=completed.isolation,
        spec_digest=completed.spec_digest,
        preflight_digest=completed.preflight_digest,
        evidence_digest=completed.evidence_digest,
        sandbox_id=completed.sandbox_id,
        slot=completed.slot,
        cpu=completed.cpu,
        tests_total=completed.tests_total,
        score=completed.score,
        cpu_time_ns=completed.cpu_time_ns,
        wall_time_ns=completed.wall_time_ns,
        memory_peak_bytes=completed.memory_peak_bytes,
        compile=report,
    )


def _runs(completed: JudgementCompleted) -> Iterable[RunRow]:
    for ordinal, run in enumerate(completed.runs):
        yield RunRow(
            judgement_id=completed.judgement_id,
            ordinal=ordinal,
            test=run.test,
            test_group=run.group,
            verdict=run.verdict.value,
            ending=run.ending.value,
            exit_code=run.exit_code,
            signal=run.signal,
            limit_expired=run.limit_expired.value,
            cpu_time_ns=run.cpu_time_ns,
            wall_time_ns=run.wall_time_ns,
            memory_peak_bytes=run.memory_peak_bytes,
            output_bytes=run.output_bytes,
            error_bytes=run.error_bytes,
            stopped_processes=run.stopped_processes,
            runnable_wait_ns=run.runnable_wait_ns,
            samples_cpu_time_ns=run.samples_cpu_time_ns,
        )


def _change(
    cursor: int,
    submission: SubmissionRow,
    current: JudgementRow,
    before: JudgementRow | None,
    at_us: int,
    traceparent: str | None,
) -> ChangeRow:
    assert current.verdict is not None
    return ChangeRow(
        cursor=cursor,
        event_id=event_id("VerdictRecorded", submission.submission_id, cursor),
        at_us=at_us,
        tenant=submission.tenant,
        contest=submission.contest,
        team=submission.team,
        submission_id=submission.submission_id,
        judgement_id=current.judgement_id,
        problem=submission.problem,
        problem_version=current.problem_version,
        language=submission.language,
        verdict=current.verdict,
        previous=None if before is None else before.verdict,
        cause=VerdictCause.JUDGED.value,
        score=current.score,
        cpu_time_ns=current.cpu_time_ns,
        wall_time_ns=current.wall_time_ns,
        memory_peak_bytes=current.memory_peak_bytes,
        submitted_at_us=submission.received_at_us,
        judged_at_us=at_us,
        traceparent=traceparent,
    )


def _problem(event: ProblemPublished, position: int) -> ProblemRow:
    return ProblemRow(
        tenant=event.tenant,
        problem=event.problem,
        problem_version=event.manifest.problem_version,
        name=event.name,
        manifest=canonical_json(dataclasses.asdict(event.manifest)).decode(),
        bundle_digest=event.bundle_digest,
        sample_count=event.sample_count,
        published_by=event.published_by,
        published_at_us=event.at_us,
        position=position,
    )


def _contest(event: ContestRegistered, position: int) -> ContestRow:
    return ContestRow(
        tenant=event.tenant,
        contest=event.contest,
        name=event.name,
        priority_class=event.priority_class.value,
        starts_at_us=event.starts_at_us,
        ends_at_us=event.ends_at_us,
        registered_by=event.registered_by,
        position=position,
    )
