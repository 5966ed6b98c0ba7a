"""A cell and what comes to it, made from few words; shared by the unit tests and the simulation."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.events import (
    AssignmentRefused,
    CapacityReported,
    CompileReport,
    Event,
    IdleReserveRule,
    JudgementAssigned,
    JudgementCompleted,
    JudgementFaulted,
    JudgementWork,
    JudgingManifest,
    LimitKind,
    PoolPolicy,
    PoolReport,
    PriorityClass,
    RunEnding,
    RunningReport,
    RunReport,
    SourceFileRef,
    SubmissionReceived,
    Verdict,
)
from schemas.identity import digest, event_id, judgement_id, submission_id
from schemas.signing import SPEC_TYPE, SigningKey
from schemas.spec import decode_spec
from services.scheduler.core.decide import Tick, decide
from services.scheduler.core.rules import SECOND_US, Image, Rules
from services.scheduler.core.state import CellState, Decision, fold

NOW_US = 1_700_000_000 * SECOND_US
LANGUAGES = ("c", "cpp", "java", "python3")
_LATER_US = itertools.count(NOW_US)
SUBMISSIONS = "assize.submissions.v1/0"


class TestSigner:
    """A real key from a fixed seed."""

    __test__ = False

    def __init__(self) -> None:
        self.key = SigningKey("scheduler", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
        self.key_id = self.key.key_id

    def sign_spec(self, spec: bytes) -> bytes:
        return self.key.sign(SPEC_TYPE, spec).value


def image(language: str) -> Image:
    return Image(image=f"assize/{language}", digest=digest(language.encode()))


def rules(**changes: Any) -> Rules:
    given: dict[str, Any] = {"cell": 0, "images": {language: image(language) for language in LANGUAGES}}
    return Rules(**given | changes)


def policy(language: str, *, reserved: int = 0, max_slots: int = 1000, paused: bool = False) -> PoolPolicy:
    return PoolPolicy(
        language=language, reserved=reserved, max_slots=max_slots, idle_reserve=IdleReserveRule.HARD, paused=paused
    )


def manifest(**changes: Any) -> JudgingManifest:
    given: dict[str, Any] = {
        "problem_version": digest(b"problem"),
        "cpu_time_limit_ns": 1_000_000_001,
        "wall_time_limit_ns": 3_000_000_000,
        "memory_limit_bytes": 256 * 1024 * 1024 + 1,
        "output_limit_bytes": 1 << 20,
        "process_limit": 16,
        "compile_cpu_time_limit_ns": 10_000_000_000,
        "compile_memory_limit_bytes": 1 << 30,
        "test_data_digest": digest(b"tests"),
        "test_count": 2,
        "validator_digest": digest(b"validator"),
        "validator_args": (),
    }
    return JudgingManifest(**given | changes)


def work(
    name: str,
    *,
    language: str = "cpp",
    priority: PriorityClass = PriorityClass.CONTEST,
    limits: JudgingManifest | None = None,
) -> JudgementWork:
    submission = submission_id("tenant", name)
    source = digest(name.encode())
    return JudgementWork(
        submission_id=submission,
        judgement_id=judgement_id(submission, "live", 0),
        origin="live",
        repeat=0,
        tenant="tenant",
        contest="contest",
        team="team",
        problem="problem",
        language=language,
        source_digest=source,
        files=(SourceFileRef(name="a.src", digest=source, size_bytes=1),),
        priority_class=priority,
        manifest=limits or manifest(),
        received_at_us=NOW_US,
    )


def received(name: str, **changes: Any) -> SubmissionReceived:
    wanted = work(name, **changes)
    return SubmissionReceived(
        event_id=event_id("SubmissionReceived", wanted.submission_id),
        at_us=NOW_US,
        cell=0,
        request_id=name,
        request_digest=wanted.source_digest,
        source="http",
        work=wanted,
    )


def pool(language: str, **changes: Any) -> PoolReport:
    given: dict[str, Any] = {
        "language": language,
        "image": image(language).image,
        "image_digest": image(language).digest,
        "isolation": "container",
        "serving": True,
        "reason": "",
        "warm": 1,
        "min_warm": 1,
        "max_warm": 4,
    }
    return PoolReport(**given | changes)


def capacity(
    executor: str,
    sequence: int,
    *,
    slots: int = 2,
    incarnation: str = "first",
    running: Iterable[tuple[str, int]] = (),
    languages: Iterable[str] = LANGUAGES,
    pools: tuple[PoolReport, ...] | None = None,
    draining: bool = False,
    health: str = "",
    at_us: int | None = None,
) -> CapacityReported:
    """A report; each is made later than the one before unless told otherwise."""
    return CapacityReported(
        event_id=event_id("CapacityReported", executor, incarnation, sequence),
        at_us=next(_LATER_US) if at_us is None else at_us,
        executor=executor,
        incarnation=incarnation,
        cell=0,
        sequence=sequence,
        slots=slots,
        running=tuple(
            RunningReport(judgement_id=judgement, lease_epoch=epoch, slot=slot)
            for slot, (judgement, epoch) in enumerate(running)
        ),
        pools=tuple(pool(language) for language in languages) if pools is None else pools,
        draining=draining,
        health=health,
    )


def run(test: str, verdict: Verdict = Verdict.AC) -> RunReport:
    return RunReport(
        test=test,
        group="secret",
        verdict=verdict,
        ending=RunEnding.EXITED,
        exit_code=0,
        limit_expired=LimitKind.NONE,
        cpu_time_ns=1,
        wall_time_ns=1,
        memory_peak_bytes=1,
        output_bytes=1,
        error_bytes=0,
        stopped_processes=0,
        runnable_wait_ns=0,
        samples_cpu_time_ns=(1,),
    )


def compiled(*, succeeded: bool) -> CompileReport:
    return CompileReport(
        succeeded=succeeded,
        ending=RunEnding.EXITED,
        exit_code=0 if succeeded else 1,
        limit_expired=LimitKind.NONE,
        cpu_time_ns=1,
        wall_time_ns=1,
        memory_peak_bytes=1,
    )


def completed(assigned: JudgementAssigned, verdict: Verdict = Verdict.AC, **changes: Any) -> JudgementCompleted:
    """An honest result of an assignment."""
    spec = decode_spec(assigned.spec)
    passed = tuple(run(f"secret/{number}") for number in range(spec.test_count))
    runs = passed if verdict is Verdict.AC else (*passed[:-1], run("secret/last", verdict))
    given: dict[str, Any] = {
        "event_id": event_id("JudgementCompleted", assigned.judgement_id, assigned.lease_epoch, assigned.incarnation),
        "at_us": NOW_US,
        "judgement_id": assigned.judgement_id,
        "submission_id": assigned.submission_id,
        "lease_epoch": assigned.lease_epoch,
        "executor": assigned.executor,
        "incarnation": assigned.incarnation,
        "verdict": verdict,
        "compile": compiled(succeeded=verdict is not Verdict.CE),
        "runs": () if verdict is Verdict.CE else runs,
        "tests_total": spec.test_count,
        "cpu_time_ns": 1,
        "wall_time_ns": 1,
        "memory_peak_bytes": 1,
        "evidence_digest": digest(b"evidence"),
        "spec_digest": digest(assigned.spec),
        "image_digest": spec.image_digest,
        "isolation": spec.isolation,
        "preflight_digest": digest(b"preflight"),
        "sandbox_id": "sandbox",
        "slot": 0,
        "started_at_us": NOW_US,
    }
    return JudgementCompleted(**given | changes)


def faulted(assigned: JudgementAssigned, *, retriable: bool = True) -> JudgementFaulted:
    return JudgementFaulted(
        event_id=event_id("JudgementFaulted", assigned.judgement_id, assigned.lease_epoch, assigned.incarnation),
        at_us=NOW_US,
        judgement_id=assigned.judgement_id,
        submission_id=assigned.submission_id,
        lease_epoch=assigned.lease_epoch,
        executor=assigned.executor,
        incarnation=assigned.incarnation,
        stage="compile",
        retriable=retriable,
        message="expected a sandbox, came: none",
    )


def refused(assigned: JudgementAssigned) -> AssignmentRefused:
    return AssignmentRefused(
        event_id=event_id("AssignmentRefused", assigned.judgement_id, assigned.lease_epoch, assigned.incarnation),
        at_us=NOW_US,
        judgement_id=assigned.judgement_id,
        submission_id=assigned.submission_id,
        lease_epoch=assigned.lease_epoch,
        executor=assigned.executor,
        incarnation=assigned.incarnation,
        code="image_missing",
        reason="expected an image, came none",
    )


class Desk:
    """A cell under test: time moves only when it is told, and the whole log is kept."""

    def __init__(self, given: Rules | None = None) -> None:
        self.rules = given or rules()
        self.signer = TestSigner()
        self.state = CellState(cell=0, concluded_kept=self.rules.concluded_kept)
        self.now_us = NOW_US
        self.log: list[Decision] = []
        self.offset = 0

    def take(self, event: Any, traceparent: str | None = None) -> list[Any]:
        """Gives one input, counted as one record of an input topic; returns the events decided."""
        if not isinstance(event, Tick):
            assert self.state.applied_input(SUBMISSIONS, self.offset)
            self.offset += 1
        made = decide(
            self.state,
            event,
            now_us=self.now_us,
            rules=self.rules,
            signer=self.signer,
            traceparent=traceparent,
        )
        self.log.extend(made)
        return [decision.event for decision in made]

    def after(self, seconds: float) -> list[Any]:
        """Lets time pass, tick by tick; returns what was decided meanwhile."""
        decided: list[Any] = []
        end_us = self.now_us + int(seconds * SECOND_US)
        while self.now_us < end_us:
            self.now_us = min(end_us, self.now_us + SECOND_US // 10)
            decided.extend(self.take(Tick()))
        return decided

    def events(self, kind: type[Event]) -> list[Any]:
        return [decision.event for decision in self.log if isinstance(decision.event, kind)]

    def refolded(self) -> CellState:
        """The state as a start finds it: folded from the log alone."""
        state = CellState(cell=0, concluded_kept=self.rules.concluded_kept)
        for decision in self.log:
            fold(state, decision)
        return state


def only(events: list[Any], kind: type[Any]) -> Any:
    """The one event of a kind among these."""
    found = [event for event in events if isinstance(event, kind)]
    assert len(found) == 1, f"expected one {kind.__name__}, came {found}"
    return found[0]
