"""One turn of a cell: the decisions made so far on one input, each folded before the next is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.events import (
    FaultReport,
    JudgementAssigned,
    JudgementConcluded,
    LeaseRevoked,
    RevocationReason,
    Verdict,
)
from schemas.identity import event_id
from services.scheduler.core.rules import Rules, Signer
from services.scheduler.core.spec import build_spec
from services.scheduler.core.state import (
    CellState,
    Decision,
    DecisionEvent,
    ExecutorView,
    Judgement,
    Lease,
    fault_detail,
    fold,
)

_MESSAGE_CHARACTERS = 2000
_OURSELVES = "scheduler"


@dataclass(slots=True, kw_only=True)
class Turn:
    """What a step of the core works with. Every decision goes through `write`."""

    state: CellState
    now_us: int
    rules: Rules
    signer: Signer
    decisions: list[Decision] = field(default_factory=list)

    def applied(self) -> Mapping[str, int]:
        return dict(self.state.applied)

    def write(self, event: DecisionEvent, *, key: str, traceparent: str | None = None) -> None:
        decision = Decision(event=event, key=key, traceparent=traceparent)
        fold(self.state, decision)
        self.decisions.append(decision)


def grant(turn: Turn, judgement: Judgement, view: ExecutorView) -> bool:
    """Leases a waiting judgement to an executor's process; False when it cannot be ordered and was concluded as JE."""
    epoch = judgement.lease_epoch + 1
    work = judgement.work
    try:
        spec, data = build_spec(
            work,
            lease_epoch=epoch,
            executor=view.report.executor,
            incarnation=view.report.incarnation,
            image=turn.rules.images[work.language],
            key_id=turn.signer.key_id,
            now_us=turn.now_us,
            rules=turn.rules,
        )
    except ValueError as error:
        fault = FaultReport(executor=_OURSELVES, stage="spec", message=str(error)[:_MESSAGE_CHARACTERS])
        conclude(turn, judgement, verdict=Verdict.JE, accepted_event_id=None, faults=(*judgement.faults, fault))
        return False
    turn.write(
        JudgementAssigned(
            event_id=event_id("JudgementAssigned", work.judgement_id, epoch, 0),
            at_us=turn.now_us,
            applied=turn.applied(),
            judgement_id=work.judgement_id,
            submission_id=work.submission_id,
            lease_epoch=epoch,
            executor=view.report.executor,
            incarnation=view.report.incarnation,
            attempt=judgement.attempts + 1,
            lease_expires_at_us=spec.expires_at_us,
            spec=data,
            spec_signature=turn.signer.sign_spec(data),
            spec_key_id=turn.signer.key_id,
        ),
        key=work.judgement_id,
        traceparent=judgement.traceparent,
    )
    return True


def send_again(turn: Turn, judgement: Judgement, lease: Lease) -> None:
    """Writes the assignment once more, byte for byte: the same process answers it as the same order."""
    turn.write(lease.assigned, key=judgement.judgement_id, traceparent=judgement.traceparent)
    lease.sent_at_us = turn.now_us
    lease.missing_since_us = None


def interrupt(turn: Turn, judgement: Judgement, *, reason: RevocationReason, detail: str) -> None:
    """Ends a lease for no fault of the judgement: it waits again and loses no attempt, within a bound."""
    executor = _lease(judgement).assigned.executor
    if judgement.interruptions + 1 >= turn.rules.interruptions_max:
        message = f"{judgement.interruptions + 1} leases were lost, the last as {reason}: {detail}"
        fault = FaultReport(executor=executor, stage="lease", message=message[:_MESSAGE_CHARACTERS])
        conclude(turn, judgement, verdict=Verdict.JE, accepted_event_id=None, faults=(*judgement.faults, fault))
        return
    revoke(turn, judgement, reason=reason, detail=detail, counts_attempt=False)


def blame(turn: Turn, judgement: Judgement, *, reason: RevocationReason, fault: FaultReport, retriable: bool) -> None:
    """Takes a fault of an executor: another attempt, or JE when there were enough or none can do better."""
    fault = FaultReport(executor=fault.executor, stage=fault.stage[:100], message=fault.message[:_MESSAGE_CHARACTERS])
    if not retriable or judgement.attempts + 1 >= turn.rules.attempts_max:
        conclude(turn, judgement, verdict=Verdict.JE, accepted_event_id=None, faults=(*judgement.faults, fault))
        return
    detail = fault_detail(fault.stage, fault.message)
    revoke(turn, judgement, reason=reason, detail=detail, counts_attempt=True)


def revoke(turn: Turn, judgement: Judgement, *, reason: RevocationReason, detail: str, counts_attempt: bool) -> None:
    """Ends the lease of a judgement; it waits again."""
    assigned = _lease(judgement).assigned
    turn.write(
        LeaseRevoked(
            event_id=event_id("LeaseRevoked", judgement.judgement_id, assigned.lease_epoch, 0),
            at_us=turn.now_us,
            applied=turn.applied(),
            judgement_id=judgement.judgement_id,
            submission_id=assigned.submission_id,
            lease_epoch=assigned.lease_epoch,
            executor=assigned.executor,
            incarnation=assigned.incarnation,
            reason=reason,
            counts_attempt=counts_attempt,
            detail=detail[:_MESSAGE_CHARACTERS],
        ),
        key=judgement.judgement_id,
        traceparent=judgement.traceparent,
    )


def conclude(
    turn: Turn,
    judgement: Judgement,
    *,
    verdict: Verdict,
    accepted_event_id: str | None,
    faults: tuple[FaultReport, ...],
) -> None:
    """Ends a judgement. Folding takes it away, so nothing can conclude it a second time."""
    turn.write(
        JudgementConcluded(
            event_id=event_id("JudgementConcluded", judgement.judgement_id, judgement.lease_epoch, 0),
            at_us=turn.now_us,
            applied=turn.applied(),
            judgement_id=judgement.judgement_id,
            submission_id=judgement.work.submission_id,
            lease_epoch=judgement.lease_epoch,
            verdict=verdict,
            accepted_event_id=accepted_event_id,
            faults=faults,
        ),
        key=judgement.judgement_id,
        traceparent=judgement.traceparent,
    )


def _lease(judgement: Judgement) -> Lease:
    assert judgement.lease is not None, f"{judgement.judgement_id} has no lease"
    return judgement.lease
