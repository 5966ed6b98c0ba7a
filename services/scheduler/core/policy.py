"""Commands of operators: each becomes the cell's next policy, or nothing when it changes nothing or cannot be."""

from __future__ import annotations

import dataclasses
from typing import assert_never

from schemas.events import DrainExecutor, PausePool, PolicyChanged, PoolPolicy, ReservePool
from schemas.identity import event_id
from services.scheduler.core.rules import wrong_pool
from services.scheduler.core.turn import Turn


def command(turn: Turn, event: PausePool | DrainExecutor | ReservePool) -> None:
    """Takes one command."""
    state = turn.state
    pools, draining = dict(state.pools), set(state.draining)
    match event:
        case PausePool():
            pools[event.language] = dataclasses.replace(state.pool(event.language), paused=event.paused)
        case ReservePool():
            if wrong_pool(event.pool) is not None:
                state.counts["refused_commands"] += 1
                return
            pools[event.pool.language] = event.pool
        case DrainExecutor() if event.draining:
            draining.add(event.executor)
        case DrainExecutor():
            draining.discard(event.executor)
        case _:
            assert_never(event)
    _change(turn, pools, draining, actor=event.actor, reason=event.reason)


def open_with_rules(turn: Turn) -> None:
    """Brings capacity rules of the settings into the log, for languages that it has none for."""
    missing = {pool.language: pool for pool in turn.rules.pools if pool.language not in turn.state.pools}
    if missing:
        pools = turn.state.pools | missing
        _change(turn, pools, set(turn.state.draining), actor="settings", reason="capacity rules of the settings")


def _change(turn: Turn, pools: dict[str, PoolPolicy], draining: set[str], *, actor: str, reason: str) -> None:
    state = turn.state
    if pools == state.pools and draining == state.draining:
        return
    turn.write(
        PolicyChanged(
            event_id=event_id("PolicyChanged", state.cell, state.policies),
            at_us=turn.now_us,
            applied=turn.applied(),
            pools=tuple(pools[language] for language in sorted(pools)),
            draining_executors=tuple(sorted(draining)),
            actor=actor,
            reason=reason,
        ),
        key=f"cell-{state.cell}",
    )
