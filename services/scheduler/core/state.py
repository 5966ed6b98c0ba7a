"""What a cell knows: the remembered part, which only `fold` changes, and the observed part beside it.

Remembered: judgements that wait or are leased, who was concluded, the capacity rules, how far the inputs are applied.
Observed: executors and what they last reported, who is held until when. It is never written down.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from schemas.events import (
    CapacityReported,
    FaultReport,
    JudgementAssigned,
    JudgementConcluded,
    JudgementWork,
    LeaseRevoked,
    PolicyChanged,
    PoolPolicy,
    PoolReport,
    QueueReported,
    RevocationReason,
    SchedulerSnapshotTaken,
    SubmissionQueued,
)
from services.scheduler.core.order import OrderKey, WaitingLine, order_key
from services.scheduler.core.rules import open_pool

DecisionEvent = (
    SubmissionQueued
    | JudgementAssigned
    | LeaseRevoked
    | JudgementConcluded
    | PolicyChanged
    | QueueReported
    | SchedulerSnapshotTaken
)
Held = tuple[str, int]
"""A judgement under one lease epoch, as an executor holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One record of the log, before it is written."""

    event: DecisionEvent
    key: str
    """The judgement, or the cell."""
    traceparent: str | None
    """Of the submission that it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How often one executor could not take one judgement, and when it last said so."""

    count: int
    at_us: int


@dataclass(slots=True, kw_only=True)
class Lease:
    """The current lease of a judgement."""

    assigned: JudgementAssigned
    """As written; sent again it is the same bytes."""
    resent: bool = False
    sent_at_us: int = 0
    """Observed: when it was last sent."""
    missing_since_us: int | None = None
    """Observed: since when its executor's reports lack it."""


@dataclass(slots=True, kw_only=True)
class Judgement:
    """A judgement that is not concluded."""

    queued: SubmissionQueued
    arrival: int
    traceparent: str | None
    lease_epoch: int = 0
    attempts: int = 0
    interruptions: int = 0
    faults: tuple[FaultReport, ...] = ()
    refusals: dict[str, Refusal] = field(default_factory=dict)
    lease: Lease | None = None

    @property
    def work(self) -> JudgementWork:
        return self.queued.work

    @property
    def judgement_id(self) -> str:
        return self.queued.work.judgement_id

    @property
    def order_key(self) -> OrderKey:
        return order_key(self.queued.work, self.arrival)


@dataclass(slots=True, kw_only=True)
class ExecutorView:
    """An executor as its newest report shows it. Observed."""

    report: CapacityReported
    pools: Mapping[str, PoolReport]
    running: set[Held]
    seen_at_us: int
    changed_at_us: int
    """When what it offers last changed; a refusal from before counts no more."""
    ended: set[Held] = field(default_factory=set)
    """What it said it ended, until its reports no longer list it."""
    refused_in_row: Counter[str] = field(default_factory=Counter)
    """Refusals by language since it last took one."""
    refused_until_us: dict[str, int] = field(default_factory=dict)
    """By language: not asked before."""


class CellState:
    """Private to one cell, changed by one writer."""

    def __init__(self, *, cell: int, concluded_kept: int) -> None:
        self.cell = cell
        self.concluded_kept = concluded_kept
        # Remembered.
        self.applied: dict[str, int] = {}
        self.judgements: dict[str, Judgement] = {}
        self.concluded: dict[bytes, None] = {}
        self.arrivals = 0
        self.pools: dict[str, PoolPolicy] = {}
        self.draining: set[str] = set()
        self.policies = 0
        self.reports = 0
        self.snapshots = 0
        # Derived from the remembered part.
        self.waiting: dict[str, dict[str, Judgement]] = {}
        self.lines: dict[str, WaitingLine] = {}
        self.leased: dict[str, dict[str, Judgement]] = {}
        self.running: Counter[str] = Counter()
        # Observed.
        self.executors: dict[str, ExecutorView] = {}
        self.superseded: dict[str, list[str]] = {}
        self.held_until_us: dict[str, int] = {}
        self.started_at_us = 0
        self.seen_at_us: int | None = None
        self.reported_at_us: int | None = None
        self.reported: QueueReported | None = None
        self.counts: Counter[str] = Counter()

    def applied_input(self, source: str, offset: int) -> bool:
        """Notes that an input of `source` ("topic/partition") is being applied; False when it was already."""
        if offset <= self.applied.get(source, -1):
            return False
        self.applied[source] = offset
        return True

    def pool(self, language: str) -> PoolPolicy:
        return self.pools.get(language) or open_pool(language)

    def was_concluded(self, judgement_id: str) -> bool:
        return short_id(judgement_id) in self.concluded

    def leases_of(self, executor: str) -> Iterator[tuple[Judgement, Lease]]:
        """A copy, so that they can be revoked while going through them."""
        for judgement in tuple(self.leased.get(executor, {}).values()):
            assert judgement.lease is not None
            yield judgement, judgement.lease

    def join_line(self, judgement: Judgement) -> None:
        """Lets a judgement wait in the line of its language."""
        language = judgement.work.language
        waiting = self.waiting.setdefault(language, {})
        if language not in self.lines:
            self.lines[language] = WaitingLine(lambda known: known in waiting and known not in self.held_until_us)
        waiting[judgement.judgement_id] = judgement
        self.lines[language].join(judgement.order_key, judgement.judgement_id)

    def take_lease(self, judgement: Judgement, lease: Lease) -> None:
        self.waiting[judgement.work.language].pop(judgement.judgement_id, None)
        judgement.lease = lease
        self.leased.setdefault(lease.assigned.executor, {})[judgement.judgement_id] = judgement
        self.running[judgement.work.language] += 1

    def end_lease(self, judgement: Judgement) -> None:
        if judgement.lease is None:
            return
        held = self.leased[judgement.lease.assigned.executor]
        del held[judgement.judgement_id]
        if not held:
            del self.leased[judgement.lease.assigned.executor]
        judgement.lease = None
        self.running[judgement.work.language] -= 1


def short_id(judgement_id: str) -> bytes:
    """16 bytes that stand for an id among those that were concluded."""
    return hashlib.blake2b(judgement_id.encode(), digest_size=16).digest()


def fold(state: CellState, decision: Decision) -> None:
    """Makes a decision so: the only way in which the remembered part changes."""
    event = decision.event
    for source, offset in event.applied.items():
        state.applied[source] = max(offset, state.applied.get(source, -1))
    match event:
        case SubmissionQueued():
            _queued(state, event, decision.traceparent)
        case JudgementAssigned():
            _assigned(state, event)
        case LeaseRevoked():
            _revoked(state, event)
        case JudgementConcluded():
            _concluded(state, event)
        case PolicyChanged():
            state.pools = {pool.language: pool for pool in event.pools}
            state.draining = set(event.draining_executors)
            state.policies += 1
        case QueueReported():
            state.reports += 1
        case SchedulerSnapshotTaken():
            state.snapshots += 1
        case _:
            assert_never(event)


def _queued(state: CellState, event: SubmissionQueued, traceparent: str | None) -> None:
    assert event.work.judgement_id not in state.judgements, f"{event.work.judgement_id} was queued twice"
    state.arrivals += 1
    judgement = Judgement(queued=event, arrival=state.arrivals, traceparent=traceparent)
    state.judgements[event.work.judgement_id] = judgement
    state.join_line(judgement)


def _assigned(state: CellState, event: JudgementAssigned) -> None:
    judgement = state.judgements[event.judgement_id]
    if judgement.lease is not None:
        assert judgement.lease.assigned == event, f"{event.judgement_id} was assigned while it is leased"
        judgement.lease.resent = True
        return
    assert event.lease_epoch == judgement.lease_epoch + 1, f"{event.judgement_id} skipped a lease epoch"
    judgement.lease_epoch = event.lease_epoch
    state.take_lease(judgement, Lease(assigned=event, sent_at_us=event.at_us))


def _revoked(state: CellState, event: LeaseRevoked) -> None:
    judgement = state.judgements[event.judgement_id]
    assert judgement.lease is not None, f"{event.judgement_id} has no lease to revoke"
    assert event.lease_epoch == judgement.lease_epoch, f"{event.judgement_id} is leased under another epoch"
    state.end_lease(judgement)
    if event.counts_attempt:
        judgement.attempts += 1
        judgement.faults = (*judgement.faults, fault_of(event.executor, event.detail))
    elif event.reason is RevocationReason.REFUSED:
        known = judgement.refusals.get(event.executor)
        count = 1 if known is None else known.count + 1
        judgement.refusals[event.executor] = Refusal(count=count, at_us=event.at_us)
    else:
        judgement.interruptions += 1
    state.join_line(judgement)


def _concluded(state: CellState, event: JudgementConcluded) -> None:
    judgement = state.judgements.pop(event.judgement_id)
    state.end_lease(judgement)
    state.waiting[judgement.work.language].pop(event.judgement_id, None)
    state.held_until_us.pop(event.judgement_id, None)
    state.concluded[short_id(event.judgement_id)] = None
    while len(state.concluded) > state.concluded_kept:
        del state.concluded[next(iter(state.concluded))]


def fault_detail(stage: str, message: str) -> str:
    """A fault as the `detail` of its LeaseRevoked; `fault_of` reads it back."""
    return f"{stage.replace(': ', ':')}: {message}"


def fault_of(executor: str, detail: str) -> FaultReport:
    stage, _, message = detail.partition(": ")
    return FaultReport(executor=executor, stage=stage, message=message)
