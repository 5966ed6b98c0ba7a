"""`decide`: one input in, the decisions on it out. Everything a cell does starts here.

Deterministic: the same state, input, time, rules and signer give the same decisions, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from schemas.events import (
    AssignmentRefused,
    CapacityReported,
    DrainExecutor,
    FaultReport,
    JudgementCompleted,
    JudgementFaulted,
    JudgementRequested,
    JudgementStarted,
    JudgementWork,
    PausePool,
    ReservePool,
    RevocationReason,
    RunsFinished,
    SubmissionQueued,
    SubmissionReceived,
)
from schemas.identity import event_id
from services.scheduler.core.capacity import hear, lose_silent
from services.scheduler.core.floor import Floor, held_reason, refusal_hold_us
from services.scheduler.core.policy import command, open_with_rules
from services.scheduler.core.queue_report import report_queue
from services.scheduler.core.results import contradiction
from services.scheduler.core.rules import SECOND_US, Rules, Signer
from services.scheduler.core.state import CellState, Decision, Judgement
from services.scheduler.core.turn import Turn, blame, conclude, grant, revoke

_STALL_US = SECOND_US
"""A longer time between two inputs is a stall of this process; executors are not blamed for it."""
_REFUSALS_IN_ROW = 3
"""Refusals of one language in a row after which an executor is not asked for it for a while."""
_HOLD_US = SECOND_US // 2
"""How long a judgement that nobody may have now stands aside before it is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time went on. Comes a few times a second."""


Result = JudgementCompleted | JudgementFaulted | AssignmentRefused
Input = (
    SubmissionReceived
    | JudgementRequested
    | PausePool
    | DrainExecutor
    | ReservePool
    | CapacityReported
    | JudgementStarted
    | RunsFinished
    | Result
    | Tick
)


def decide(
    state: CellState, event: Input, *, now_us: int, rules: Rules, signer: Signer, traceparent: str | None = None
) -> tuple[Decision, ...]:
    """Takes one input; the decisions on it are already folded into `state` when it returns."""
    now_us = _advance(state, now_us)
    turn = Turn(state=state, now_us=now_us, rules=rules, signer=signer)
    open_with_rules(turn)
    match event:
        case SubmissionReceived() | JudgementRequested():
            _queue(turn, event.work, traceparent)
        case PausePool() | DrainExecutor() | ReservePool():
            command(turn, event)
        case CapacityReported():
            hear(turn, event)
        case JudgementStarted() | RunsFinished():
            pass
        case JudgementCompleted() | JudgementFaulted() | AssignmentRefused():
            _end(turn, event)
        case Tick():
            lose_silent(turn)
            _expire(turn)
            _wake(turn)
        case _:
            assert_never(event)
    _assign(turn)
    if isinstance(event, Tick):
        report_queue(turn)
    return tuple(turn.decisions)


def _advance(state: CellState, now_us: int) -> int:
    """The cell's time: never backwards, and a stall of our own is nobody's silence."""
    if state.seen_at_us is None:
        state.seen_at_us = state.started_at_us = now_us
    now_us = max(now_us, state.seen_at_us)
    gap_us = now_us - state.seen_at_us
    if gap_us > _STALL_US:
        state.started_at_us += gap_us
        for view in state.executors.values():
            view.seen_at_us += gap_us
    state.seen_at_us = now_us
    return now_us


def _queue(turn: Turn, work: JudgementWork, traceparent: str | None) -> None:
    state = turn.state
    if work.judgement_id in state.judgements or state.was_concluded(work.judgement_id):
        state.counts["repeated_submissions"] += 1
        return
    turn.write(
        SubmissionQueued(
            event_id=event_id("SubmissionQueued", work.judgement_id, 0, 0),
            at_us=turn.now_us,
            applied=turn.applied(),
            work=work,
        ),
        key=work.judgement_id,
        traceparent=traceparent,
    )


def _end(turn: Turn, event: Result) -> None:
    """An executor says that it ended a judgement. Only the word of the current lease's process counts."""
    state = turn.state
    view = state.executors.get(event.executor)
    if view is not None and view.report.incarnation == event.incarnation:
        view.ended.add((event.judgement_id, event.lease_epoch))
    judgement = state.judgements.get(event.judgement_id)
    if judgement is None or not _is_current(judgement, event):
        state.counts["late_results"] += 1
        return
    language = judgement.work.language
    match event:
        case JudgementCompleted():
            _complete(turn, judgement, event)
        case JudgementFaulted():
            fault = FaultReport(executor=event.executor, stage=event.stage, message=event.message)
            blame(turn, judgement, reason=RevocationReason.FAULTED, fault=fault, retriable=event.retriable)
        case AssignmentRefused():
            detail = f"{event.code}: {event.reason}"
            revoke(turn, judgement, reason=RevocationReason.REFUSED, detail=detail, counts_attempt=False)
            if view is not None:
                view.refused_in_row[language] += 1
                beyond = view.refused_in_row[language] - _REFUSALS_IN_ROW
                if beyond >= 0:
                    view.refused_until_us[language] = turn.now_us + refusal_hold_us(beyond + 1, turn.rules)
            return
        case _:
            assert_never(event)
    if view is not None:
        view.refused_in_row.pop(language, None)


def _is_current(judgement: Judgement, event: Result) -> bool:
    if judgement.lease is None:
        return False
    assigned = judgement.lease.assigned
    return (assigned.lease_epoch, assigned.executor, assigned.incarnation) == (
        event.lease_epoch,
        event.executor,
        event.incarnation,
    )


def _complete(turn: Turn, judgement: Judgement, event: JudgementCompleted) -> None:
    assert judgement.lease is not None
    wrong = contradiction(event, judgement.lease.assigned, judgement.work)
    if wrong is not None:
        turn.state.counts["contradicting_results"] += 1
        fault = FaultReport(executor=event.executor, stage="report", message=wrong)
        blame(turn, judgement, reason=RevocationReason.FAULTED, fault=fault, retriable=True)
        return
    conclude(turn, judgement, verdict=event.verdict, accepted_event_id=event.event_id, faults=judgement.faults)


def _expire(turn: Turn) -> None:
    """A lease that ran out is a fault of its executor, which is well and should have ended it."""
    for executor in tuple(turn.state.leased):
        for judgement, lease in turn.state.leases_of(executor):
            late_us = turn.now_us - lease.assigned.lease_expires_at_us
            if late_us > 0:
                fault = FaultReport(
                    executor=executor,
                    stage="lease",
                    message=f"expected a result {late_us / SECOND_US:.1f} s ago, came none",
                )
                blame(turn, judgement, reason=RevocationReason.LEASE_EXPIRED, fault=fault, retriable=True)


def _wake(turn: Turn) -> None:
    """Those that stood aside long enough join their line again."""
    state = turn.state
    for judgement_id in [known for known, until_us in state.held_until_us.items() if until_us <= turn.now_us]:
        del state.held_until_us[judgement_id]
        judgement = state.judgements[judgement_id]
        if judgement.lease is None:
            state.join_line(judgement)


def _assign(turn: Turn) -> None:
    """Gives free slots to those who are next, as long as the rules allow."""
    state = turn.state
    candidates = [language for language, waiting in state.waiting.items() if waiting]
    if not candidates or not state.executors:
        return
    floor = Floor(state, now_us=turn.now_us, rules=turn.rules)
    if floor.is_full:
        return
    open_languages = {
        language for language in candidates if not held_reason(state, language, now_us=turn.now_us, rules=turn.rules)
    }
    while open_languages:
        heads = {language: state.lines[language].first() for language in open_languages}
        open_languages = {language for language, head in heads.items() if head is not None}
        if not open_languages:
            return
        _key, language, judgement_id = min(
            (head[0], language, head[1]) for language, head in heads.items() if head is not None
        )
        if not floor.allows(language) or not floor.has_place(language):
            open_languages.discard(language)
            continue
        judgement = state.judgements[judgement_id]
        view = floor.place(judgement)
        if view is None:
            state.held_until_us[judgement_id] = turn.now_us + _HOLD_US
            continue
        if grant(turn, judgement, view):
            floor.take(view, language)
