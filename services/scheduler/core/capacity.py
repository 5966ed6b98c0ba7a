"""Capacity reports: level-triggered, so that the cell heals from any lost record by hearing the next report."""

from __future__ import annotations

from schemas.events import CapacityReported, RevocationReason
from services.scheduler.core.rules import SECOND_US
from services.scheduler.core.state import ExecutorView
from services.scheduler.core.turn import Turn, interrupt, send_again

_SUPERSEDED_KEPT = 16


def hear(turn: Turn, report: CapacityReported) -> None:
    """Takes the whole state of an executor; what is leased to it and lacking there is sent again or revoked."""
    state = turn.state
    view = state.executors.get(report.executor)
    if report.cell != state.cell:
        state.counts["foreign_reports"] += 1
        return
    if report.incarnation in state.superseded.get(report.executor, ()) or _is_older(report, view):
        state.counts["stale_reports"] += 1
        return
    if view is not None and view.report.incarnation != report.incarnation:
        _supersede(turn, report.executor, view.report.incarnation)
        view = None
    for judgement, lease in state.leases_of(report.executor):
        if lease.assigned.incarnation != report.incarnation:
            detail = f"expected incarnation {lease.assigned.incarnation}, came {report.incarnation}"
            interrupt(turn, judgement, reason=RevocationReason.EXECUTOR_LOST, detail=detail)
    is_same_offer = view is not None and _offer(view.report) == _offer(report)
    fresh = ExecutorView(
        report=report,
        pools={pool.language: pool for pool in report.pools},
        running={(running.judgement_id, running.lease_epoch) for running in report.running},
        seen_at_us=turn.now_us,
        changed_at_us=turn.now_us,
    )
    if view is not None:
        fresh.ended = view.ended & fresh.running
        if is_same_offer:
            fresh.changed_at_us = view.changed_at_us
            fresh.refused_in_row = view.refused_in_row
            fresh.refused_until_us = view.refused_until_us
    state.executors[report.executor] = fresh
    if not is_same_offer:
        _release(turn)
    _reconcile(turn, fresh)


def lose_silent(turn: Turn) -> None:
    """Revokes what is leased to executors that were silent for too long, and forgets them."""
    state, bound_us = turn.state, turn.rules.executor_silence_us
    for executor in [name for name, view in state.executors.items() if turn.now_us - view.seen_at_us > bound_us]:
        del state.executors[executor]
        state.superseded.pop(executor, None)
        _revoke_all(turn, executor)
    if turn.now_us - state.started_at_us > bound_us:
        for executor in [name for name in state.leased if name not in state.executors]:
            _revoke_all(turn, executor)


def _revoke_all(turn: Turn, executor: str) -> None:
    detail = f"no capacity report for {turn.rules.executor_silence_us / SECOND_US:.1f} s"
    for judgement, _lease in turn.state.leases_of(executor):
        interrupt(turn, judgement, reason=RevocationReason.EXECUTOR_LOST, detail=detail)


def _reconcile(turn: Turn, view: ExecutorView) -> None:
    """Holds the leases of an executor against what it says it runs."""
    for judgement, lease in turn.state.leases_of(view.report.executor):
        if (judgement.judgement_id, judgement.lease_epoch) in view.running:
            lease.missing_since_us = None
            continue
        if lease.missing_since_us is None:
            lease.missing_since_us = turn.now_us
        is_due = turn.now_us - lease.sent_at_us > turn.rules.unheld_after_us
        if not is_due or turn.now_us - lease.missing_since_us < turn.rules.unheld_for_us:
            continue
        if lease.resent:
            detail = "the executor's reports lack it although it was sent twice"
            interrupt(turn, judgement, reason=RevocationReason.NOT_HELD, detail=detail)
        else:
            send_again(turn, judgement, lease)


def _is_older(report: CapacityReported, view: ExecutorView | None) -> bool:
    """Within an incarnation its counter tells; between two, the clock of the host that both ran on."""
    if view is None:
        return False
    if view.report.incarnation == report.incarnation:
        return report.sequence <= view.report.sequence
    return report.at_us <= view.report.at_us


def _supersede(turn: Turn, executor: str, incarnation: str) -> None:
    """A process that was followed by another counts no more while that one lives: two must not take turns."""
    known = turn.state.superseded.setdefault(executor, [])
    if incarnation not in known:
        known.append(incarnation)
        del known[:-_SUPERSEDED_KEPT]


def _offer(report: CapacityReported) -> tuple[object, ...]:
    """What decides whether an executor can take work; warm counts come and go."""
    pools = tuple((pool.language, pool.image_digest, pool.isolation, pool.serving) for pool in report.pools)
    return (report.slots, pools, report.draining, report.health)


def _release(turn: Turn) -> None:
    """The floor changed: those that stood aside are tried at once."""
    state = turn.state
    held, state.held_until_us = tuple(state.held_until_us), {}
    for judgement_id in held:
        judgement = state.judgements[judgement_id]
        if judgement.lease is None:
            state.join_line(judgement)
