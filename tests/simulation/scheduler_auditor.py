"""An independent auditor of a cell: it sees inputs and decisions and knows the promises, none of the cell's code.

Promises: a judgement is queued once, leased to one process at a time under epochs that count up, concluded once, by
the result of the current lease or as JE for enough faults; no executor holds more than its slots; reserves hold.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from schemas.events import (
    CapacityReported,
    JudgementAssigned,
    JudgementCompleted,
    JudgementConcluded,
    JudgementFaulted,
    LeaseRevoked,
    SubmissionQueued,
    Verdict,
)
from services.scheduler.core.rules import Rules


@dataclass(slots=True, kw_only=True)
class Audited:
    """A judgement as the auditor follows it."""

    language: str
    epoch: int = 0
    lease: JudgementAssigned | None = None
    faults: int = 0


class Auditor:
    """Asserts with every record it sees."""

    def __init__(self, *, rules: Rules) -> None:
        self.rules = rules
        self.judgements: dict[str, Audited] = {}
        self.concluded: dict[str, Verdict] = {}
        self.results: dict[str, JudgementCompleted] = {}
        self.unretriable: set[tuple[str, int]] = set()
        self.reported: dict[str, dict[str, tuple[int, int]]] = {}
        self.reasons: Counter[str] = Counter()
        self._leased: dict[str, set[str]] = {}

    def sees_input(self, event: Any) -> None:
        match event:
            case CapacityReported():
                reported = self.reported.setdefault(event.executor, {})
                sequence, _slots = reported.get(event.incarnation, (0, 0))
                if event.sequence > sequence:
                    reported[event.incarnation] = (event.sequence, event.slots)
            case JudgementCompleted():
                self.results[event.event_id] = event
            case JudgementFaulted() if not event.retriable:
                self.unretriable.add((event.judgement_id, event.lease_epoch))
            case _:
                pass

    def sees_decision(self, event: Any) -> None:
        match event:
            case SubmissionQueued():
                assert event.work.judgement_id not in self.judgements, "queued twice"
                assert event.work.judgement_id not in self.concluded, "queued after its conclusion"
                self.judgements[event.work.judgement_id] = Audited(language=event.work.language)
            case JudgementAssigned():
                self._assigned(event)
            case LeaseRevoked():
                self._ended(event)
                self.reasons[event.reason] += 1
                self.judgements[event.judgement_id].faults += event.counts_attempt
            case JudgementConcluded():
                self._concluded(event)
            case _:
                pass

    def _assigned(self, event: JudgementAssigned) -> None:
        judgement = self.judgements[event.judgement_id]
        if judgement.lease is not None:
            assert event == judgement.lease, "assigned while leased"
            self.reasons["sent again"] += 1
            return
        assert event.lease_epoch == judgement.epoch + 1, "an epoch was skipped or used again"
        _sequence, slots = self.reported[event.executor][event.incarnation]
        judgement.epoch, judgement.lease = event.lease_epoch, event
        held = self._leased.setdefault(event.executor, set())
        held.add(event.judgement_id)
        assert len(held) <= slots, f"{event.executor} holds {len(held)} in {slots} slots"
        self._check_reserves(judgement.language)

    def _check_reserves(self, language: str) -> None:
        used = Counter(self.judgements[known].language for held in self._leased.values() for known in held)
        pools = {pool.language: pool for pool in self.rules.pools}
        if language in pools:
            assert used[language] <= pools[language].max_slots, f"{language} is over its maximum"
        reserved = {known: pool.reserved for known, pool in pools.items()}
        if used[language] <= reserved.get(language, 0):
            return
        # All executors that ever reported: a lost one makes the floor smaller, never larger.
        total = sum(max(slots for _, slots in reported.values()) for reported in self.reported.values())
        kept_free = sum(max(0, count - used[known]) for known, count in reserved.items())
        assert sum(used.values()) + kept_free <= total, f"{language} took a reserved slot"

    def _ended(self, event: LeaseRevoked | JudgementConcluded) -> None:
        judgement = self.judgements[event.judgement_id]
        if judgement.lease is not None:
            assert event.lease_epoch == judgement.epoch, "ended under another epoch"
            self._leased[judgement.lease.executor].discard(event.judgement_id)
        else:
            assert isinstance(event, JudgementConcluded), "revoked without a lease"
        judgement.lease = None

    def _concluded(self, event: JudgementConcluded) -> None:
        assert event.judgement_id not in self.concluded, "concluded twice"
        judgement = self.judgements[event.judgement_id]
        lease = judgement.lease
        if event.accepted_event_id is None:
            assert event.verdict is Verdict.JE
            was_final = (event.judgement_id, event.lease_epoch) in self.unretriable
            assert was_final or len(event.faults) >= self.rules.attempts_max, "JE without faults enough"
        else:
            result = self.results[event.accepted_event_id]
            assert lease is not None
            assert (result.lease_epoch, result.executor, result.incarnation) == (
                lease.lease_epoch,
                lease.executor,
                lease.incarnation,
            ), "concluded by a result of another lease"
            assert event.verdict is result.verdict
            if event.verdict is Verdict.AC:
                assert len(result.runs) == result.tests_total, "AC without every test"
        self._ended(event)
        self.concluded[event.judgement_id] = event.verdict
