"""A simulated cell, seeded: executors that crash, lose, repeat and lie, a cell that is killed, and simulated time.

Records between them are delayed, repeated and overtaken across topics as Kafka allows: each topic keeps its order of
arrival, topics do not keep each other's. A run is (seed, commit).
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.events import (
    JudgementAssigned,
    JudgementConcluded,
    LeaseRevoked,
    PriorityClass,
    SchedulerSnapshotTaken,
    Verdict,
)
from schemas.identity import event_id
from services.scheduler.core.decide import Tick, decide
from services.scheduler.core.rules import SECOND_US, Rules
from services.scheduler.core.snapshot import encode_state, restore, take_snapshot
from services.scheduler.core.state import CellState, Decision, fold
from tests.simulation.scheduler_auditor import Auditor
from tests.unit.scheduler.builders import (
    LANGUAGES,
    NOW_US,
    TestSigner,
    capacity,
    completed,
    faulted,
    received,
    refused,
    run,
)

_MS = 1000
_VERDICTS = (Verdict.AC, Verdict.WA, Verdict.CE, Verdict.TLE, Verdict.RTE, Verdict.MLE, Verdict.OLE)


@dataclass(slots=True, kw_only=True)
class SimulatedExecutor:
    """One executor host; `incarnation` is empty while it is down."""

    name: str
    slots: int
    languages: tuple[str, ...]
    incarnation: str = ""
    starts: int = 0
    sequence: int = 0
    running: dict[tuple[str, int], JudgementAssigned] = field(default_factory=dict)
    done: set[tuple[str, int]] = field(default_factory=set)


class SimulatedCell:
    """The world around one cell."""

    def __init__(self, *, seed: int, submissions: int, rules: Rules, executors: list[SimulatedExecutor]) -> None:
        self.chance = random.Random(seed)
        self.rules = rules
        self.signer = TestSigner()
        self.state = CellState(cell=0, concluded_kept=rules.concluded_kept)
        self.executors = {executor.name: executor for executor in executors}
        self.auditor = Auditor(rules=rules)
        self.now_us = NOW_US
        self.left = submissions
        self.submitted = 0
        self.log: list[Decision] = []
        self.restarts = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = 0
        self._inputs: dict[str, list[Any]] = {}
        self._latest_us: dict[str, int] = {}
        self._snapshot_at = 0

    def run(self) -> None:
        """Until everything is concluded and quiet."""
        for executor in self.executors.values():
            self._start(executor)
        self._later(0, self._submit)
        self._later(0, self._tick)
        limit_us = NOW_US + 7200 * SECOND_US
        while self._events:
            self.now_us, _, happen = heapq.heappop(self._events)
            assert self.now_us < limit_us, f"{len(self.state.judgements)} are not concluded after two hours"
            happen()
            if self.left == 0 and self.submitted == len(self.auditor.concluded):
                return

    def _later(self, delay_us: int, happen: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (self.now_us + delay_us, self._order, happen))

    # The log and the inputs

    def _send(self, topic: str, event: Any, *, delay_us: int) -> None:
        """Appends to a topic after a delay; later sends may overtake it, and it may come twice."""
        copies = 2 if self.chance.random() < 0.02 else 1
        for copy in range(copies):
            self._later(delay_us + copy * self.chance.randrange(5 * SECOND_US), lambda: self._arrive(topic, event))

    def _arrive(self, topic: str, event: Any) -> None:
        records = self._inputs.setdefault(topic, [])
        records.append(event)
        self._give(topic, len(records) - 1)

    def _give(self, topic: str, offset: int) -> None:
        if self.state.applied_input(topic, offset):
            event = self._inputs[topic][offset]
            self.auditor.sees_input(event)
            self._decide(event)

    def _decide(self, event: Any) -> None:
        decisions = decide(self.state, event, now_us=self.now_us, rules=self.rules, signer=self.signer)
        for decision in decisions:
            self.log.append(decision)
            self.auditor.sees_decision(decision.event)
            match decision.event:
                case JudgementAssigned() | LeaseRevoked() | JudgementConcluded():
                    delay_us = self.chance.randrange(1 * _MS, 20 * _MS)
                    self._later(delay_us, lambda event=decision.event: self._tell(event))  # type: ignore[misc]
                case _:
                    pass

    def _tick(self) -> None:
        self._decide(Tick())
        if self.chance.random() < 0.01:
            self._kill_cell()
        self._later(100 * _MS, self._tick)

    def _kill_cell(self) -> None:
        """What was observed is gone; what is remembered comes from the log, often by its newest snapshot."""
        self.restarts += 1
        if self.chance.random() < 0.5:
            self._snapshot_at = len(self.log)
            taken = take_snapshot(self.state, now_us=self.now_us)
            fold(self.state, taken)
            self.log.append(taken)
        newest = self.log[self._snapshot_at].event
        if isinstance(newest, SchedulerSnapshotTaken):
            folded = restore(newest, concluded_kept=self.rules.concluded_kept)
        else:
            folded = CellState(cell=0, concluded_kept=self.rules.concluded_kept)
        for decision in self.log[self._snapshot_at :]:
            fold(folded, decision)
        # Inputs that decided nothing are not in the log: they are read and decided once more.
        again = {
            topic: range(folded.applied.get(topic, -1) + 1, len(records)) for topic, records in self._inputs.items()
        }
        self.state.applied = dict(folded.applied)
        assert encode_state(folded) == encode_state(self.state), "the log tells another state than the cell had"
        self.state = folded
        for topic, offsets in again.items():
            for offset in offsets:
                self._give(topic, offset)

    # Submissions

    def _submit(self) -> None:
        burst = min(self.left, self.chance.randrange(1, 20))
        for _ in range(burst):
            event = received(
                f"submission {self.submitted}",
                language=self.chance.choice(LANGUAGES),
                priority=self.chance.choice((PriorityClass.CONTEST, PriorityClass.PRACTICE, PriorityClass.BATCH)),
            )
            self.submitted += 1
            self.left -= 1
            self._send("submissions", event, delay_us=self.chance.randrange(10 * _MS))
        if self.left:
            self._later(self.chance.randrange(300 * _MS), self._submit)

    # Executors

    def _start(self, executor: SimulatedExecutor) -> None:
        executor.starts += 1
        executor.incarnation = f"{executor.name}/{executor.starts}"
        executor.sequence = 0
        executor.running.clear()
        self._beat(executor, executor.incarnation)
        self._later(self.chance.randrange(20, 90) * SECOND_US, lambda: self._crash(executor))

    def _crash(self, executor: SimulatedExecutor) -> None:
        executor.incarnation = ""
        executor.running.clear()
        self._later(self.chance.choice((0, 1, 5)) * SECOND_US + 1, lambda: self._start(executor))

    def _beat(self, executor: SimulatedExecutor, incarnation: str) -> None:
        if executor.incarnation == incarnation:
            self._report(executor)
            self._later(SECOND_US, lambda: self._beat(executor, incarnation))

    def _report(self, executor: SimulatedExecutor) -> None:
        executor.sequence += 1
        report = capacity(
            executor.name,
            executor.sequence,
            slots=executor.slots,
            incarnation=executor.incarnation,
            running=sorted(executor.running),
            languages=executor.languages,
            at_us=self.now_us,
        )
        self._send("capacity", report, delay_us=self.chance.randrange(1 * _MS, 15 * _MS))

    def _tell(self, event: Any) -> None:
        if isinstance(event, JudgementConcluded):
            return
        executor = self.executors[event.executor]
        held = (event.judgement_id, event.lease_epoch)
        if executor.incarnation != event.incarnation:
            return
        if isinstance(event, LeaseRevoked):
            executor.running.pop(held, None)
            self._report(executor)
        elif held not in executor.running and held not in executor.done and self.chance.random() > 0.01:
            self._begin(executor, event)

    def _begin(self, executor: SimulatedExecutor, assigned: JudgementAssigned) -> None:
        held = (assigned.judgement_id, assigned.lease_epoch)
        if self.chance.random() < 0.02:
            executor.done.add(held)
            self._send("judgements", refused(assigned), delay_us=5 * _MS)
            return
        executor.running[held] = assigned
        self._report(executor)
        self._later(self.chance.randrange(20 * _MS, 600 * _MS), lambda: self._finish(executor, assigned))

    def _finish(self, executor: SimulatedExecutor, assigned: JudgementAssigned) -> None:
        held = (assigned.judgement_id, assigned.lease_epoch)
        if executor.incarnation != assigned.incarnation or held not in executor.running:
            return
        del executor.running[held]
        executor.done.add(held)
        delay_us = self.chance.randrange(10 * SECOND_US) if self.chance.random() < 0.01 else 5 * _MS
        self._send("judgements", self._result(assigned), delay_us=delay_us)
        self._report(executor)

    def _result(self, assigned: JudgementAssigned) -> Any:
        drawn = self.chance.random()
        if drawn < 0.03:
            return faulted(assigned, retriable=drawn < 0.025)
        honest = completed(assigned, self.chance.choice(_VERDICTS))
        if drawn > 0.99:
            lie = event_id("JudgementCompleted", assigned.judgement_id, assigned.lease_epoch, "lie")
            return replace(honest, event_id=lie, verdict=Verdict.AC, runs=(run("only one"),))
        return honest
