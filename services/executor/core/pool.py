"""How many warm sandboxes each language should have: the policy, as pure functions over counts.

A pool wants its lower bound and one more for every claim within `DEMAND_WINDOW_NS`, up to its upper bound, so that it
follows demand without a forecast. One sandbox is made at a time; the pool that is the emptiest in proportion comes
first. All pools together stay within a memory budget, in which the lower bounds have precedence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

DEMAND_WINDOW_NS: Final = 10 * 1_000_000_000
IDLE_SANDBOX_BYTES: Final = 16 * 1024 * 1024
"""What an idle sandbox is counted with: measured 7 MB with its shim, and room for the engine's own share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolBounds:
    """Bounds of every pool, and the memory of all idle sandboxes together."""

    min_warm: int
    max_warm: int
    memory_budget_bytes: int

    def __post_init__(self) -> None:
        if not 0 <= self.min_warm <= self.max_warm:
            raise ValueError(f"expected 0 <= min_warm <= max_warm, came {self.min_warm} and {self.max_warm}")

    @property
    def most_warm(self) -> int:
        """Of all pools together."""
        return self.memory_budget_bytes // IDLE_SANDBOX_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolCounts:
    """One pool that serves, as it is now."""

    language: str
    warm: int
    claimed_at_ns: tuple[int, ...]
    """Monotonic times of the latest claims."""


def wanted(pool: PoolCounts, bounds: PoolBounds, now_ns: int) -> int:
    """How many warm sandboxes a pool should have."""
    recent = sum(1 for at_ns in pool.claimed_at_ns if now_ns - at_ns <= DEMAND_WINDOW_NS)
    return min(bounds.min_warm + recent, bounds.max_warm)


def next_refill(pools: Sequence[PoolCounts], bounds: PoolBounds, now_ns: int) -> str | None:
    """The language that gets the next sandbox; None when no pool lacks one or the budget is used up."""
    if sum(pool.warm for pool in pools) >= bounds.most_warm:
        return None
    lacking = [
        (pool.warm >= bounds.min_warm, pool.warm / target, pool.language)
        for pool in pools
        if pool.warm < (target := wanted(pool, bounds, now_ns))
    ]
    return min(lacking)[2] if lacking else None


def next_surplus(pools: Sequence[PoolCounts], bounds: PoolBounds, now_ns: int) -> str | None:
    """The language that gives a sandbox back; None when no pool has too many."""
    surplus = [(pool.warm - wanted(pool, bounds, now_ns), pool.language) for pool in pools]
    excess, language = max(surplus, default=(0, ""))
    return language if excess > 0 else None


def recent_claims(claimed_at_ns: Sequence[int], now_ns: int, bounds: PoolBounds) -> tuple[int, ...]:
    """The claims that still matter, with a new one at `now_ns`: never more than the upper bound can use."""
    kept = [at_ns for at_ns in claimed_at_ns if now_ns - at_ns <= DEMAND_WINDOW_NS]
    return (*kept, now_ns)[-max(1, bounds.max_warm) :]
