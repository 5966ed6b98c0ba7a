"""Hypothesis plays everyone around a cell, in any order; the auditor holds it to its promises after each step."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schemas.events import JudgementAssigned, Verdict
from services.scheduler.core.decide import Tick
from services.scheduler.core.snapshot import encode_state, restore, take_snapshot
from services.scheduler.core.state import fold
from tests.simulation.scheduler_auditor import Auditor
from tests.unit.scheduler.builders import Desk, capacity, completed, faulted, policy, received, refused, rules

NAMES = ("one", "two", "three", "four", "five", "six")
EXECUTORS = ("alpha", "beta", "gamma")


class CellMachine(RuleBasedStateMachine):
    """A cell with three executors; results may come from any lease that ever was."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(rules(pools=(policy("java", reserved=1, max_slots=2),), interruptions_max=1000))
        self.auditor = Auditor(rules=self.desk.rules)
        self.leases: list[JudgementAssigned] = []
        self.sequence = 0
        self.starts = dict.fromkeys(EXECUTORS, 1)

    def give(self, event: object) -> None:
        self.auditor.sees_input(event)
        for decided in self.desk.take(event):
            self.auditor.sees_decision(decided)
            if isinstance(decided, JudgementAssigned):
                self.leases.append(decided)

    @rule(name=st.sampled_from(NAMES), language=st.sampled_from(("cpp", "java")))
    def submit(self, name: str, language: str) -> None:
        self.give(received(f"{language} {name}", language=language))

    @rule(executor=st.sampled_from(EXECUTORS), slots=st.integers(0, 3), holds=st.booleans())
    def report(self, executor: str, slots: int, holds: bool) -> None:
        self.sequence += 1
        incarnation = f"{executor}/{self.starts[executor]}"
        known = {
            (judgement.judgement_id, lease.assigned.lease_epoch)
            for judgement, lease in self.desk.state.leases_of(executor)
        }
        # An executor never offers fewer slots than it holds judgements in.
        slots = max(slots, len(known))
        running = sorted(known) if holds else ()
        self.give(capacity(executor, self.sequence, slots=slots, incarnation=incarnation, running=running))

    @rule(executor=st.sampled_from(EXECUTORS))
    def crash(self, executor: str) -> None:
        self.starts[executor] += 1

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), verdict=st.sampled_from((Verdict.AC, Verdict.WA, Verdict.CE)))
    def complete(self, data: st.DataObject, verdict: Verdict) -> None:
        self.give(completed(data.draw(st.sampled_from(self.leases)), verdict))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), retriable=st.booleans())
    def fault(self, data: st.DataObject, retriable: bool) -> None:
        self.give(faulted(data.draw(st.sampled_from(self.leases)), retriable=retriable))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        self.give(refused(data.draw(st.sampled_from(self.leases))))

    @rule(tenths=st.integers(1, 50))
    def wait(self, tenths: int) -> None:
        for _ in range(tenths):
            self.desk.now_us += 100_000
            self.give(Tick())

    @rule(snapshot=st.booleans())
    def restart(self, snapshot: bool) -> None:
        if snapshot:
            taken = take_snapshot(self.desk.state, now_us=self.desk.now_us)
            self.desk.state = restore(taken.event, concluded_kept=self.desk.rules.concluded_kept)
            fold(self.desk.state, taken)
            self.desk.log.append(taken)
        else:
            self.desk.state = self.desk.refolded()
            self.desk.state.applied["assize.submissions.v1/0"] = self.desk.offset - 1

    @invariant()
    def the_log_tells_the_state(self) -> None:
        refolded = self.desk.refolded()
        refolded.applied = self.desk.state.applied
        assert encode_state(refolded) == encode_state(self.desk.state)

    @invariant()
    def everyone_is_in_one_place(self) -> None:
        state = self.desk.state
        waiting = {known for group in state.waiting.values() for known in group}
        leased = {known for group in state.leased.values() for known in group}
        assert not waiting & leased
        assert waiting | leased == set(state.judgements)
        assert set(state.held_until_us) <= waiting


CellMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCell = CellMachine.TestCase
