"""What a cell decides, rule by rule, through `decide` alone."""

from __future__ import annotations

import dataclasses

import pytest

from schemas.events import (
    DrainExecutor,
    JudgementAssigned,
    JudgementConcluded,
    JudgementRequested,
    LeaseRevoked,
    PausePool,
    PolicyChanged,
    PriorityClass,
    QueueReported,
    ReservePool,
    RevocationReason,
    SubmissionQueued,
    Verdict,
)
from schemas.identity import digest
from schemas.signing import SPEC_TYPE, KeyRing, Signature
from schemas.spec import decode_spec
from services.scheduler.core.decide import Tick
from services.scheduler.core.snapshot import encode_state, restore, take_snapshot
from services.scheduler.core.state import fold
from services.scheduler.core.state import fold as fold_decision
from tests.unit.scheduler.builders import (
    Desk,
    capacity,
    compiled,
    completed,
    faulted,
    manifest,
    only,
    policy,
    pool,
    received,
    refused,
    rules,
    run,
    work,
)


def leased(desk: Desk, name: str = "one", executor: str = "alpha") -> JudgementAssigned:
    """A cell with one executor and one judgement leased to it."""
    desk.take(capacity(executor, 1))
    assigned: JudgementAssigned = only(desk.take(received(name)), JudgementAssigned)
    return assigned


def test_a_submission_is_queued_assigned_and_concluded_once() -> None:
    desk = Desk()
    desk.take(capacity("alpha", 1))
    queued, assigned = desk.take(received("one"), traceparent="00-aa-bb-01")
    assert isinstance(queued, SubmissionQueued)
    assert isinstance(assigned, JudgementAssigned)
    assert (assigned.lease_epoch, assigned.attempt, assigned.executor) == (1, 1, "alpha")
    done = completed(assigned)
    concluded = only(desk.take(done), JudgementConcluded)
    assert (concluded.verdict, concluded.accepted_event_id) == (Verdict.AC, done.event_id)
    assert [decision.traceparent for decision in desk.log] == ["00-aa-bb-01"] * 3
    assert desk.take(done) == []
    assert desk.take(received("one")) == []
    assert desk.state.counts == {"late_results": 1, "repeated_submissions": 1}


def test_the_spec_is_signed_and_rounds_limits_up() -> None:
    desk = Desk()
    assigned = leased(desk)
    spec = decode_spec(assigned.spec)
    assert (spec.cpu_millis, spec.memory_mb, spec.wall_clock_millis) == (1001, 257, 3000)
    assert (spec.compile_cpu_millis, spec.compile_memory_mb, spec.test_count) == (10_000, 1024, 2)
    assert (spec.workdir_bytes, spec.workdir_inodes, spec.isolation) == (64 * 1024 * 1024, 1024, "container")
    assert spec.expires_at_us == assigned.lease_expires_at_us
    ring = KeyRing({desk.signer.key_id: desk.signer.key.public_key})
    ring.verify(Signature(key_id=assigned.spec_key_id, value=assigned.spec_signature), SPEC_TYPE, assigned.spec)


def test_a_rejudging_waits_behind_live_work() -> None:
    desk = Desk()
    desk.take(received("live", priority=PriorityClass.PRACTICE))
    shadow = work("shadow", priority=PriorityClass.REJUDGING)
    desk.take(JudgementRequested(event_id="e", at_us=1, actor="jury", reason="new tests", work=shadow))
    desk.take(received("final", priority=PriorityClass.CONTEST_FINAL))
    names = [
        event.judgement_id for event in desk.take(capacity("alpha", 1, slots=3)) if isinstance(event, JudgementAssigned)
    ]
    assert names == [work("final").judgement_id, work("live").judgement_id, shadow.judgement_id]


def test_an_interrupted_judgement_keeps_its_place() -> None:
    desk = Desk()
    first = leased(desk, "first")
    desk.take(received("second"))
    for name in ("third", "fourth"):
        desk.take(received(name))
    desk.now_us += 100_000
    decided = desk.take(capacity("alpha", 1, slots=1, incarnation="second"))
    lost = [event for event in decided if isinstance(event, LeaseRevoked)]
    assert {event.reason for event in lost} == {RevocationReason.EXECUTOR_LOST}
    again = only(decided, JudgementAssigned)
    assert (again.judgement_id, again.lease_epoch, again.attempt) == (first.judgement_id, 2, 1)


def test_nothing_is_assigned_beyond_the_slots() -> None:
    desk = Desk()
    desk.take(capacity("alpha", 1, slots=2))
    for number in range(5):
        desk.take(received(str(number)))
    assert len(desk.events(JudgementAssigned)) == 2
    desk.take(completed(desk.events(JudgementAssigned)[0]))
    assert len(desk.events(JudgementAssigned)) == 3


def test_what_an_executor_runs_without_a_lease_takes_a_slot() -> None:
    desk = Desk()
    desk.take(capacity("alpha", 1, slots=2, running=[("ghost", 7)]))
    desk.take(received("one"))
    desk.take(received("two"))
    assert len(desk.events(JudgementAssigned)) == 1
    desk.take(capacity("alpha", 2, slots=2, running=[(work("one").judgement_id, 1)]))
    assert len(desk.events(JudgementAssigned)) == 2


class TestResults:
    @pytest.mark.parametrize(
        "changes",
        [{"lease_epoch": 2}, {"executor": "beta"}, {"incarnation": "other"}, {"judgement_id": "unknown"}],
    )
    def test_only_the_current_lease_counts(self, changes: dict[str, object]) -> None:
        desk = Desk()
        assigned = leased(desk)
        before = encode_state(desk.state)
        assert desk.take(completed(assigned, **changes)) == []
        assert desk.state.counts["late_results"] == 1
        assert len(encode_state(desk.state)) == len(before)

    @pytest.mark.parametrize("verdict", [Verdict.WA, Verdict.RTE, Verdict.TLE, Verdict.MLE, Verdict.OLE, Verdict.CE])
    def test_an_honest_result_is_accepted(self, verdict: Verdict) -> None:
        desk = Desk()
        assigned = leased(desk)
        assert only(desk.take(completed(assigned, verdict)), JudgementConcluded).verdict is verdict

    @pytest.mark.parametrize(
        "changes",
        [
            {"spec_digest": digest(b"other")},
            {"image_digest": digest(b"other")},
            {"isolation": "gvisor"},
            {"tests_total": 3},
            {"submission_id": "other"},
            {"evidence_digest": "none"},
            {"runs": ()},
            {"runs": (run("secret/0"),)},
            {"runs": (run("secret/0"), run("secret/0"))},
            {"runs": (run("a"), run("b"), run("c"))},
            {"runs": (run("a"), run("b", Verdict.WA))},
            {"runs": (run("a"), run("b", Verdict.JE))},
            {"verdict": Verdict.JE},
            {"verdict": Verdict.WA, "runs": (run("a"), run("b"))},
            {"verdict": Verdict.CE, "compile": compiled(succeeded=True), "runs": ()},
            {"verdict": Verdict.TLE, "runs": (run("a", Verdict.WA), run("b", Verdict.TLE))},
            {"compile": compiled(succeeded=False)},
        ],
    )
    def test_a_contradicting_result_is_a_fault_of_its_executor(self, changes: dict[str, object]) -> None:
        desk = Desk()
        verdict = changes.get("verdict", Verdict.AC)
        result = completed(leased(desk), verdict if isinstance(verdict, Verdict) else Verdict.AC)
        revoked = only(desk.take(dataclasses.replace(result, **changes)), LeaseRevoked)
        assert (revoked.reason, revoked.counts_attempt) == (RevocationReason.FAULTED, True)
        assert revoked.detail.startswith("report: expected ")


class TestFaults:
    def test_two_executors_then_a_third_then_je(self) -> None:
        desk = Desk()
        for executor in ("alpha", "beta", "gamma"):
            desk.take(capacity(executor, 1))
        tried = [only(desk.take(received("one")), JudgementAssigned)]
        tried.append(only(desk.take(faulted(tried[-1])), JudgementAssigned))
        tried.append(only(desk.take(faulted(tried[-1])), JudgementAssigned))
        assert {event.executor for event in tried} == {"alpha", "beta", "gamma"}
        assert [event.attempt for event in tried] == [1, 2, 3]
        concluded = only(desk.take(faulted(tried[-1])), JudgementConcluded)
        assert (concluded.verdict, concluded.accepted_event_id) == (Verdict.JE, None)
        assert [fault.executor for fault in concluded.faults] == [event.executor for event in tried]
        assert {(fault.stage, fault.message) for fault in concluded.faults} == {
            ("compile", "expected a sandbox, came: none")
        }

    def test_a_single_executor_is_asked_three_times(self) -> None:
        desk = Desk()
        assigned = leased(desk)
        for _ in range(2):
            assigned = only(desk.take(faulted(assigned)), JudgementAssigned)
        assert only(desk.take(faulted(assigned)), JudgementConcluded).verdict is Verdict.JE
        assert len(desk.events(JudgementAssigned)) == 3

    def test_what_nobody_can_do_better_ends_at_once(self) -> None:
        desk = Desk()
        assert only(desk.take(faulted(leased(desk), retriable=False)), JudgementConcluded).verdict is Verdict.JE

    def test_a_busy_other_executor_is_awaited_while_others_go_on(self) -> None:
        desk = Desk()
        desk.take(capacity("alpha", 1, slots=1))
        desk.take(capacity("beta", 1, slots=1))
        first = only(desk.take(received("one")), JudgementAssigned)
        second = only(desk.take(received("two")), JudgementAssigned)
        desk.take(received("three"))
        decided = desk.take(faulted(first))
        assert only(decided, JudgementAssigned).judgement_id == work("three").judgement_id
        desk.take(completed(second))
        desk.take(capacity("alpha", 2, slots=1, running=[(work("three").judgement_id, 1)]))
        desk.take(capacity("beta", 2, slots=1))
        retried = only(desk.after(0.6), JudgementAssigned)
        assert (retried.judgement_id, retried.executor) == (first.judgement_id, "beta")

    def test_an_expired_lease_is_a_fault(self) -> None:
        desk = Desk()
        assigned = leased(desk)
        held = [(assigned.judgement_id, 1)]
        decided = []
        for second in range(70):
            decided += desk.take(capacity("alpha", second + 2, running=held)) + desk.after(1)
            if any(isinstance(event, LeaseRevoked) for event in decided):
                break
        revoked = only(decided, LeaseRevoked)
        assert (revoked.reason, revoked.counts_attempt) == (RevocationReason.LEASE_EXPIRED, True)
        assert revoked.at_us > assigned.lease_expires_at_us

    def test_work_that_cannot_be_ordered_ends_as_je(self) -> None:
        desk = Desk()
        desk.take(capacity("alpha", 1))
        concluded = only(desk.take(received("one", limits=manifest(test_count=0))), JudgementConcluded)
        assert (concluded.verdict, concluded.lease_epoch) == (Verdict.JE, 0)
        assert concluded.faults[0].executor == "scheduler"
        assert "test_count" in concluded.faults[0].message

    def test_a_judgement_that_stops_its_executor_every_time_ends_as_je(self) -> None:
        desk = Desk(rules(interruptions_max=3))
        leased(desk)
        decided = []
        for number in range(3):
            decided += desk.take(capacity("alpha", 1, incarnation=f"again {number}"))
        concluded = only(decided, JudgementConcluded)
        assert concluded.verdict is Verdict.JE
        assert concluded.faults[0].stage == "lease"


class TestRefusals:
    def test_a_refusal_is_no_attempt_and_is_held_until_the_offer_changes(self) -> None:
        desk = Desk()
        revoked = only(desk.take(refused(leased(desk))), LeaseRevoked)
        assert (revoked.reason, revoked.counts_attempt) == (RevocationReason.REFUSED, False)
        desk.now_us += 100_000
        assert desk.take(capacity("alpha", 2)) == []
        again = only(desk.take(capacity("alpha", 3, slots=3)), JudgementAssigned)
        assert (again.lease_epoch, again.attempt) == (2, 1)

    def test_the_hold_ends_and_grows(self) -> None:
        desk = Desk()
        assigned = leased(desk)
        desk.take(refused(assigned))
        assigned = only(desk.after(1.1), JudgementAssigned)
        desk.take(refused(assigned))
        assert not [event for event in desk.after(0.4) if isinstance(event, JudgementAssigned)]
        assert only(desk.after(1.5), JudgementAssigned).lease_epoch == 3

    def test_another_executor_is_asked_at_once(self) -> None:
        desk = Desk()
        assigned = leased(desk)
        desk.take(capacity("beta", 1))
        assert only(desk.take(refused(assigned)), JudgementAssigned).executor == "beta"

    def test_refusals_in_a_row_spare_the_rest_of_the_queue(self) -> None:
        desk = Desk()
        desk.take(capacity("alpha", 1, slots=1))
        for number in range(10):
            desk.take(received(str(number)))
        for _ in range(3):
            desk.take(refused(desk.events(JudgementAssigned)[-1]))
        assert len(desk.events(JudgementAssigned)) == 3
        report = [event for event in desk.after(0.3) if isinstance(event, QueueReported)][-1]
        assert (report.depths[0].held, report.depths[0].held_reason) == (10, "executors refuse cpp at present")


class TestExecutors:
    def test_a_silent_executor_loses_its_leases(self) -> None:
        desk = Desk()
        assigned = leased(desk)
        assert not [event for event in desk.after(2.9) if isinstance(event, LeaseRevoked)]
        revoked = only(desk.after(0.5), LeaseRevoked)
        assert (revoked.reason, revoked.counts_attempt) == (RevocationReason.EXECUTOR_LOST, False)
        again = only(desk.take(capacity("beta", 1)), JudgementAssigned)
        assert (again.lease_epoch, again.attempt) == (2, 1)
        assert desk.take(completed(assigned)) == []

    def test_a_stall_of_the_cell_is_nobodys_silence(self) -> None:
        desk = Desk()
        leased(desk)
        desk.after(0.2)
        desk.now_us += 10_000_000
        assert not [event for event in desk.take(Tick()) if isinstance(event, LeaseRevoked)]

    def test_after_a_start_an_executor_that_never_came_back_is_lost(self) -> None:
        desk = Desk()
        leased(desk)
        desk.state = desk.refolded()
        assert only(desk.after(3.3), LeaseRevoked).reason is RevocationReason.EXECUTOR_LOST

    def test_a_superseded_incarnation_never_counts_again(self) -> None:
        desk = Desk()
        desk.take(capacity("alpha", 5))
        desk.take(capacity("alpha", 1, incarnation="second"))
        assert desk.take(capacity("alpha", 6)) == []
        assert desk.state.counts["stale_reports"] == 1
        assert only(desk.take(received("one")), JudgementAssigned).incarnation == "second"

    def test_a_late_report_of_an_earlier_process_is_ignored(self) -> None:
        desk = Desk()
        late = capacity("alpha", 5)
        desk.take(capacity("alpha", 1, incarnation="second"))
        assert desk.take(late) == []
        assert only(desk.take(received("one")), JudgementAssigned).incarnation == "second"
        assert desk.take(capacity("alpha", 2, incarnation="second", running=[(work("one").judgement_id, 1)])) == []
        assert desk.state.counts["stale_reports"] == 1

    def test_an_older_report_is_ignored(self) -> None:
        desk = Desk()
        desk.take(capacity("alpha", 5, slots=0))
        desk.take(capacity("alpha", 4))
        assert not desk.events(JudgementAssigned)
        assert desk.state.counts["stale_reports"] == 1

    def test_a_lost_assignment_is_sent_again_in_the_same_bytes_and_then_revoked(self) -> None:
        desk = Desk()
        assigned = leased(desk)
        decided: list[object] = []
        for number in range(4):
            decided += desk.after(1) + desk.take(capacity("alpha", number + 2))
        assert only(decided, JudgementAssigned) == assigned
        assert not [event for event in decided if isinstance(event, LeaseRevoked)]
        for number in range(3):
            decided += desk.after(1) + desk.take(capacity("alpha", number + 6))
        revoked = only(decided, LeaseRevoked)
        assert (revoked.reason, revoked.counts_attempt) == (RevocationReason.NOT_HELD, False)
        assert desk.events(JudgementAssigned)[-1].lease_epoch == 2

    @pytest.mark.parametrize(
        "report",
        [
            capacity("alpha", 1, pools=(pool("cpp", serving=False, reason="no proof"),)),
            capacity("alpha", 1, pools=(pool("cpp", image_digest=digest(b"other")),)),
            capacity("alpha", 1, pools=(pool("cpp", isolation="gvisor"),)),
            capacity("alpha", 1, languages=("c",)),
            capacity("alpha", 1, draining=True),
            capacity("alpha", 1, health="disk full"),
            capacity("alpha", 1, slots=0),
        ],
    )
    def test_who_cannot_take_it_does_not_get_it(self, report: object) -> None:
        desk = Desk()
        desk.take(report)
        assert not [event for event in desk.take(received("one")) if isinstance(event, JudgementAssigned)]


class TestPolicy:
    def test_a_reserve_is_kept_for_its_owner(self) -> None:
        desk = Desk(rules(pools=(policy("java", reserved=2),)))
        desk.after(0.1)
        desk.take(capacity("alpha", 1, slots=4))
        for number in range(5):
            desk.take(received(f"cpp {number}"))
        assert len(desk.events(JudgementAssigned)) == 2
        for number in range(3):
            desk.take(received(f"java {number}", language="java"))
        languages = [decode_spec(event.spec).language for event in desk.events(JudgementAssigned)]
        assert sorted(languages) == ["cpp", "cpp", "java", "java"]

    def test_an_owner_may_use_the_shared_slots_up_to_its_maximum(self) -> None:
        desk = Desk(rules(pools=(policy("java", reserved=1, max_slots=3),)))
        desk.after(0.1)
        desk.take(capacity("alpha", 1, slots=4))
        for number in range(5):
            desk.take(received(f"java {number}", language="java"))
        assert len(desk.events(JudgementAssigned)) == 3

    def test_pausing_and_going_on(self) -> None:
        desk = Desk()
        desk.take(capacity("alpha", 1))
        pause = PausePool(event_id="e", at_us=1, actor="operator", reason="broken tests", language="cpp", paused=True)
        changed = only(desk.take(pause), PolicyChanged)
        assert (changed.actor, changed.reason, changed.pools[0].paused) == ("operator", "broken tests", True)
        assert desk.take(dataclasses.replace(pause, event_id="f")) == []
        assert not [event for event in desk.take(received("one")) if isinstance(event, JudgementAssigned)]
        assert only(desk.take(dataclasses.replace(pause, paused=False)), JudgementAssigned)

    def test_draining_and_taking_back(self) -> None:
        desk = Desk()
        assigned = leased(desk)
        drain = DrainExecutor(event_id="e", at_us=1, actor="operator", reason="disk", executor="alpha", draining=True)
        assert only(desk.take(drain), PolicyChanged).draining_executors == ("alpha",)
        desk.take(received("two"))
        assert only(desk.take(completed(assigned)), JudgementConcluded)
        assert len(desk.events(JudgementAssigned)) == 1
        assert only(desk.take(dataclasses.replace(drain, draining=False)), JudgementAssigned)

    def test_a_reserve_that_cannot_be_is_refused(self) -> None:
        desk = Desk()
        wrong = ReservePool(
            event_id="e", at_us=1, actor="operator", reason="typo", pool=policy("cpp", reserved=3, max_slots=2)
        )
        assert desk.take(wrong) == []
        assert desk.state.counts["refused_commands"] == 1
        right = dataclasses.replace(wrong, pool=policy("cpp", reserved=1, max_slots=2))
        assert only(desk.take(right), PolicyChanged).pools == (right.pool,)


class TestQueueReports:
    def test_reported_at_change_and_not_too_often(self) -> None:
        desk = Desk()
        first = only(desk.after(0.1), QueueReported)
        assert (first.queued, first.running, first.bound) == (0, 0, 10_000)
        desk.take(received("one"))
        desk.take(received("two"))
        assert desk.after(0.1) == []
        second = only(desk.after(0.1), QueueReported)
        assert (second.queued, second.depths[0].held_reason) == (2, "no executor takes new work")
        assert desk.after(2) == []

    def test_a_language_without_an_image_is_held_with_the_reason(self) -> None:
        desk = Desk(rules(images={}))
        desk.take(capacity("alpha", 1))
        desk.take(received("one"))
        report = only(desk.after(0.3), QueueReported)
        assert (report.depths[0].held, report.depths[0].held_reason) == (1, "no image is known for cpp")


class TestRemembering:
    def busy(self) -> Desk:
        desk = Desk(rules(pools=(policy("java", reserved=1),), concluded_kept=3))
        desk.after(0.2)
        desk.take(capacity("alpha", 1, slots=2))
        desk.take(capacity("beta", 1, slots=1))
        for number in range(12):
            desk.take(received(str(number)), traceparent=f"00-{number}-1-01")
        for number in range(6):
            assigned = desk.events(JudgementAssigned)[number]
            match number % 3:
                case 0:
                    desk.take(completed(assigned))
                case 1:
                    desk.take(faulted(assigned))
                case _:
                    desk.take(refused(assigned))
        desk.after(1)
        return desk

    def test_the_log_alone_gives_the_same_state(self) -> None:
        desk = self.busy()
        assert encode_state(desk.refolded()) == encode_state(desk.state)

    def test_a_snapshot_and_its_tail_give_the_same_state(self) -> None:
        desk = self.busy()
        taken = take_snapshot(desk.state, now_us=desk.now_us)
        fold_decision(desk.state, taken)
        tail = len(desk.log)
        desk.take(received("later"))
        desk.after(4)
        restored = restore(taken.event, concluded_kept=3)
        for decision in [taken, *desk.log[tail:]]:
            fold(restored, decision)
        assert encode_state(restored) == encode_state(desk.state)

    def test_the_same_inputs_give_the_same_bytes(self) -> None:
        assert self.busy().log == self.busy().log

    def test_event_ids_never_repeat_but_for_what_is_sent_again(self) -> None:
        log = self.busy().log
        assert len({decision.event.event_id for decision in log}) == len(log)

    def test_concluded_ones_are_remembered_within_a_bound(self) -> None:
        desk = Desk(rules(concluded_kept=2))
        desk.take(capacity("alpha", 1))
        for name in ("one", "two", "three"):
            desk.take(completed(only(desk.take(received(name)), JudgementAssigned)))
        assert desk.take(received("three")) == []
        assert len(desk.state.concluded) == 2

    def test_an_input_is_applied_once(self) -> None:
        desk = Desk()
        assert desk.state.applied_input("topic/0", 4)
        assert not desk.state.applied_input("topic/0", 4)
        assert not desk.state.applied_input("topic/0", 3)
        assert desk.state.applied_input("topic/0", 6)
