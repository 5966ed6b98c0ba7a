"""The order of the queue: priority class, then arrival. The one place that says who is next.

A judgement that was interrupted keeps its arrival and so stands in front of those that came after it. Fair shares
between contests and teams, and ageing, become further parts of `order_key`; nothing else knows what it is made of.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Final

from schemas.events import JudgementWork, PriorityClass

OrderKey = tuple[int, int]

_RANK: Final[Mapping[PriorityClass, int]] = {
    PriorityClass.CONTEST_FINAL: 0,
    PriorityClass.CONTEST: 1,
    PriorityClass.PRACTICE: 2,
    PriorityClass.REJUDGING: 3,
    PriorityClass.BATCH: 4,
    PriorityClass.UNKNOWN: 5,
}


def order_key(work: JudgementWork, arrival: int) -> OrderKey:
    """Smaller is sooner; no two judgements of a cell have the same."""
    return (_RANK[work.priority_class], arrival)


class WaitingLine:
    """Those of one language that wait, in order. Leaving is lazy: `waits` tells whether an entry still counts."""

    def __init__(self, waits: Callable[[str], bool]) -> None:
        self._waits = waits
        self._heap: list[tuple[OrderKey, str]] = []

    def join(self, key: OrderKey, judgement_id: str) -> None:
        heapq.heappush(self._heap, (key, judgement_id))

    def first(self) -> tuple[OrderKey, str] | None:
        """Who is next; being leased or held is what makes them leave."""
        while self._heap and not self._waits(self._heap[0][1]):
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None
