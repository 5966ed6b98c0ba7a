"""`QueueReported`: how long the queue is and why it stands; ingest refuses past its bound."""

from __future__ import annotations

from schemas.events import QueueDepth, QueueReported
from schemas.identity import event_id
from services.scheduler.core.floor import held_reason
from services.scheduler.core.turn import Turn


def report_queue(turn: Turn) -> None:
    """Reports when it changed, and not too often."""
    state, last = turn.state, turn.state.reported
    if state.reported_at_us is not None and turn.now_us - state.reported_at_us < turn.rules.report_every_us:
        return
    depths = _depths(turn)
    queued = sum(depth.queued for depth in depths)
    running = sum(depth.running for depth in depths)
    if last is not None and (last.depths, last.bound) == (depths, turn.rules.queue_bound):
        return
    received = (judgement.queued.at_us for waiting in state.waiting.values() for judgement in waiting.values())
    report = QueueReported(
        event_id=event_id("QueueReported", state.cell, state.reports),
        at_us=turn.now_us,
        applied=turn.applied(),
        cell=state.cell,
        queued=queued,
        running=running,
        bound=turn.rules.queue_bound,
        oldest_wait_ns=(turn.now_us - min(received, default=turn.now_us)) * 1000,
        depths=depths,
    )
    turn.write(report, key=f"cell-{state.cell}")
    state.reported, state.reported_at_us = report, turn.now_us


def _depths(turn: Turn) -> tuple[QueueDepth, ...]:
    state = turn.state
    held_single: dict[str, int] = {}
    for judgement_id in state.held_until_us:
        language = state.judgements[judgement_id].work.language
        held_single[language] = held_single.get(language, 0) + 1
    depths = []
    for language in sorted(state.waiting):
        queued, running = len(state.waiting[language]), state.running[language]
        reason = held_reason(state, language, now_us=turn.now_us, rules=turn.rules) if queued else ""
        held = queued if reason else held_single.get(language, 0)
        if held and not reason:
            reason = "the executors that serve it refused or could not finish it"
        depths.append(QueueDepth(language=language, queued=queued, running=running, held=held, held_reason=reason))
    return tuple(depths)
