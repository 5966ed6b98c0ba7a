"""The rules a cell decides by: fixed for the life of a process, so that a decision depends on its arguments alone.

What may change while it runs (reserves, pauses, drained executors) is in the log as `PolicyChanged`, not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from schemas.events import IdleReserveRule, PoolPolicy
from schemas.identity import is_digest

SECOND_US = 1_000_000
UNBOUNDED_SLOTS = 1_000_000
"""`max_slots` of a language that nobody restricted."""


class Signer(Protocol):
    """Signs execution specs. The same bytes give the same signature, so that deciding stays deterministic."""

    @property
    def key_id(self) -> str: ...

    def sign_spec(self, spec: bytes) -> bytes:
        """64 bytes of Ed25519 over the DSSE encoding of the spec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The one image a language is judged with."""

    image: str
    digest: str

    def __post_init__(self) -> None:
        if not is_digest(self.digest):
            raise ValueError(f"expected an image digest sha256:<64 hex>, came {self.digest!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Limits and times of one cell."""

    cell: int
    images: Mapping[str, Image] = field(default_factory=lambda: MappingProxyType({}))
    pools: tuple[PoolPolicy, ...] = ()
    """Written to the log once for every language that it has no rule for yet."""
    isolation: str = "container"
    workdir_bytes: int = 64 * 1024 * 1024
    workdir_inodes: int = 1024
    executor_silence_us: int = 3 * SECOND_US
    """An executor that reported no capacity for so long is lost."""
    unheld_after_us: int = 2 * SECOND_US
    """How long after its sending an assignment may be missing in a capacity report."""
    unheld_for_us: int = 1 * SECOND_US
    """A judgement must be missing so long before it counts: its result may be on the way on another topic."""
    lease_margin_us: int = 30 * SECOND_US
    """Time of a lease beyond what its limits allow."""
    attempts_max: int = 3
    """Faults of executors after which a judgement ends as JE."""
    interruptions_max: int = 20
    """Leases lost for no fault after which it ends as JE: a program that stops its executor must end some time."""
    refusal_hold_us: int = SECOND_US // 2
    """First hold after a refusal; doubles with each."""
    refusal_hold_max_us: int = 30 * SECOND_US
    queue_bound: int = 10_000
    """Most judgements that may wait; ingest refuses past it."""
    report_every_us: int = SECOND_US // 5
    """Shortest time between two QueueReported."""
    concluded_kept: int = 200_000
    """Concluded judgements that are remembered to know a repeated submission."""

    def __post_init__(self) -> None:
        for name in ("executor_silence_us", "unheld_after_us", "lease_margin_us", "attempts_max", "queue_bound"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} to be positive, came {getattr(self, name)}")
        for pool in self.pools:
            if (wrong := wrong_pool(pool)) is not None:
                raise ValueError(wrong)


def wrong_pool(pool: PoolPolicy) -> str | None:
    """What is wrong with a capacity rule; None when it can be followed."""
    if not pool.language:
        return "expected a language id, came an empty one"
    if not 0 <= pool.reserved <= pool.max_slots <= UNBOUNDED_SLOTS:
        return (
            f"expected 0 <= reserved <= max_slots <= {UNBOUNDED_SLOTS} for {pool.language}, "
            f"came reserved {pool.reserved}, max_slots {pool.max_slots}"
        )
    return None


def open_pool(language: str) -> PoolPolicy:
    """The rule of a language that nobody restricted: no reserve, no bound."""
    return PoolPolicy(
        language=language, reserved=0, max_slots=UNBOUNDED_SLOTS, idle_reserve=IdleReserveRule.HARD, paused=False
    )
