"""What is free in the cell right now, and who may have it: slots, reserves and placement.

A language may use the slots reserved for it and those reserved for nobody, up to its maximum. A reserve that its
owner does not use stays empty here (IdleReserveRule.HARD); lending it comes with interruptions and is not done yet,
so LENT is treated as HARD, which breaks nobody's reserve.
Reserves are counted over the whole cell: they hold as far as the executors serve the same languages.
"""

from __future__ import annotations

from collections import Counter

from services.scheduler.core.rules import Rules
from services.scheduler.core.state import CellState, ExecutorView, Judgement

_OF_NOBODY_KNOWN = ""
"""Counts slots that an executor fills with what is not leased to it (any more)."""


def serves(view: ExecutorView, language: str, rules: Rules) -> bool:
    """Whether an executor would carry out what this cell orders for a language."""
    pool, image = view.pools.get(language), rules.images.get(language)
    return (
        pool is not None
        and image is not None
        and pool.serving
        and pool.image_digest == image.digest
        and pool.isolation == rules.isolation
    )


def is_open(state: CellState, view: ExecutorView) -> bool:
    """Whether an executor takes new work at all."""
    return not view.report.draining and not view.report.health and view.report.executor not in state.draining


class Floor:
    """The free slots at one moment; kept up to date while they are given out."""

    def __init__(self, state: CellState, *, now_us: int, rules: Rules) -> None:
        self._state = state
        self._now_us = now_us
        self._rules = rules
        self._open = {name: view for name, view in state.executors.items() if is_open(state, view)}
        self._free: dict[str, int] = {}
        # Everything that is leased counts, on executors that take nothing new as well; there, what it fills is all
        # the capacity that they have.
        self._used: Counter[str] = +state.running
        slots = sum(len(held) for name, held in state.leased.items() if name not in self._open)
        for name, view in self._open.items():
            leased = state.leased.get(name, {})
            known = {(judgement.judgement_id, judgement.lease_epoch) for judgement in leased.values()}
            others = len(view.running - view.ended - known)
            self._used[_OF_NOBODY_KNOWN] += others
            self._free[name] = view.report.slots - len(leased) - others
            slots += view.report.slots
        self._reserved = {pool.language: pool.reserved for pool in state.pools.values()}
        self._shared = max(0, slots - sum(self._reserved.values()))

    @property
    def is_full(self) -> bool:
        return all(free <= 0 for free in self._free.values())

    def allows(self, language: str) -> bool:
        """Whether the capacity rules let a language have one more slot."""
        pool = self._state.pool(language)
        if pool.paused or self._state.running[language] >= pool.max_slots:
            return False
        if self._used[language] < pool.reserved:
            return True
        lent = sum(max(0, used - self._reserved.get(known, 0)) for known, used in self._used.items())
        return lent < self._shared

    def servers(self, language: str) -> list[ExecutorView]:
        """Open executors that serve a language and may be asked now, with a free slot or without."""
        return [
            view
            for view in self._open.values()
            if serves(view, language, self._rules) and view.refused_until_us.get(language, 0) <= self._now_us
        ]

    def has_place(self, language: str) -> bool:
        return any(self._free[view.report.executor] > 0 for view in self.servers(language))

    def place(self, judgement: Judgement) -> ExecutorView | None:
        """The executor to lease a judgement to; None when none of those with a free slot may have it now.

        One whose fault it was before is asked only when nobody else serves the language. Among the rest, one that
        serves fewer languages goes first, so that slots that only some can use stay free for them; then the emptiest.
        """
        serving = self.servers(judgement.work.language)
        faulted = {fault.executor for fault in judgement.faults}
        fresh = [view for view in serving if view.report.executor not in faulted]
        ready = [
            view
            for view in fresh or serving
            if self._free[view.report.executor] > 0 and self._now_us >= self._held_until_us(judgement, view)
        ]
        return min(ready, key=self._preference, default=None)

    def take(self, view: ExecutorView, language: str) -> None:
        self._free[view.report.executor] -= 1
        self._used[language] += 1

    def _preference(self, view: ExecutorView) -> tuple[int, int, str]:
        serving = sum(pool.serving for pool in view.pools.values())
        return (serving, -self._free[view.report.executor], view.report.executor)

    def _held_until_us(self, judgement: Judgement, view: ExecutorView) -> int:
        refusal = judgement.refusals.get(view.report.executor)
        if refusal is None or view.changed_at_us > refusal.at_us:
            return 0
        return refusal.at_us + refusal_hold_us(refusal.count, self._rules)


def refusal_hold_us(count: int, rules: Rules) -> int:
    """How long after the count-th refusal in a row nobody asks again."""
    return int(min(rules.refusal_hold_us << min(count - 1, 20), rules.refusal_hold_max_us))


def held_reason(state: CellState, language: str, *, now_us: int, rules: Rules) -> str:
    """Why nothing of a language can be taken by anyone; empty when it only waits for its turn."""
    image = rules.images.get(language)
    if image is None:
        return f"no image is known for {language}"
    if state.pool(language).paused:
        return f"{language} is paused"
    views = [view for view in state.executors.values() if is_open(state, view)]
    if not views:
        return "no executor takes new work"
    if any(serves(view, language, rules) for view in views):
        asked = [view for view in views if view.refused_until_us.get(language, 0) <= now_us]
        return "" if any(serves(view, language, rules) for view in asked) else f"executors refuse {language} at present"
    for view in views:
        pool = view.pools.get(language)
        if pool is None:
            continue
        if not pool.serving:
            return f"{view.report.executor} does not serve {language}: {pool.reason[:200]}"
        if pool.image_digest != image.digest:
            return f"expected image {image.digest}, {view.report.executor} has {pool.image_digest}"
        return f"expected isolation {rules.isolation}, {view.report.executor} has {pool.isolation}"
    return f"no executor has a pool of {language}"
