"""The fold of the verdict store: whatever order topics come in, the same verdicts; and who is shown what."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import topics
from schemas.codec import encode
from schemas.errors import PoisonEvent
from schemas.events import (
    Event,
    JudgementAssigned,
    JudgementCompleted,
    JudgementConcluded,
    SubmissionQueued,
    SubmissionReceived,
    Verdict,
)
from schemas.identity import event_id
from schemas.registry import registry
from schemas.signing import Signature
from services.verdicts.core.acceptance import Believed, Record, check_event
from services.verdicts.core.projection import Sheet
from services.verdicts.core.shapes import JudgementView, submission_shape
from services.verdicts.core.subjects import Subjects
from tests.contract.samples import sample

SUBMISSION, JUDGEMENT = event_id("s"), event_id("j")


def believed(event: Event, offset: int = 0) -> Believed:
    topic = next(topic for topic in topics.TOPICS if type(event).__name__ in topic.events)
    return Believed(
        record=Record(
            topic=topic.name,
            partition=0,
            offset=offset,
            key=None,
            value=encode(event),
            headers=(),
            timestamp_ms=1,
            signature=None,
            traceparent=None,
        ),
        event=event,
    )


def way() -> list[Event]:
    """One submission from receipt to conclusion."""
    work = dataclasses.replace(
        sample(SubmissionReceived).work, submission_id=SUBMISSION, judgement_id=JUDGEMENT, origin="live", repeat=0
    )
    about = {"submission_id": SUBMISSION, "judgement_id": JUDGEMENT, "lease_epoch": 1}
    completed = dataclasses.replace(sample(JudgementCompleted), event_id=event_id("c"), verdict=Verdict.WA, **about)
    return [
        dataclasses.replace(sample(SubmissionReceived), event_id=event_id("r"), work=work),
        dataclasses.replace(sample(SubmissionQueued), event_id=event_id("q"), work=work),
        dataclasses.replace(sample(JudgementAssigned), event_id=event_id("a"), **about),
        completed,
        dataclasses.replace(
            sample(JudgementConcluded),
            event_id=event_id("e"),
            verdict=Verdict.WA,
            accepted_event_id=completed.event_id,
            **about,
        ),
    ]


def fold(events: list[Event]) -> Sheet:
    sheet = Sheet(ledger_size=0, cursor=0, ranks={"live": 0})
    for offset, event in enumerate(events):
        sheet.take(believed(event, offset))
    return sheet


@given(st.permutations(way()))
def test_any_order_ends_in_the_same_verdict(events: list[Event]) -> None:
    sheet = fold(events)
    (change,) = sheet.changes
    assert (change.cursor, change.verdict, change.previous) == (1, "WA", None)
    assert sheet.submissions[SUBMISSION].status == "judged"
    assert not sheet.pending
    assert [row.position for row in sheet.ledger] == [1, 2, 3, 4, 5]
    assert len(sheet.runs) == 2


@given(st.lists(st.sampled_from(range(5)), max_size=30))
def test_repetitions_change_nothing(again: list[int]) -> None:
    events = way()
    sheet = fold(events + [events[at] for at in again])
    assert (len(sheet.ledger), len(sheet.changes), sheet.alarms) == (5, 1, [])


@given(st.sampled_from([verdict for verdict in Verdict if verdict not in (Verdict.WA, Verdict.UNKNOWN)]))
def test_a_conclusion_must_say_what_its_result_says(verdict: Verdict) -> None:
    *before, concluded = way()
    assert isinstance(concluded, JudgementConcluded)
    sheet = fold([*before, dataclasses.replace(concluded, verdict=verdict)])
    assert sheet.changes == []
    assert [alarm.code for alarm in sheet.alarms] == ["conclusion_misfit"]


def test_a_judging_error_needs_no_result() -> None:
    received, queued, _, _, concluded = way()
    assert isinstance(concluded, JudgementConcluded)
    sheet = fold([received, queued, dataclasses.replace(concluded, verdict=Verdict.JE, accepted_event_id=None)])
    assert [change.verdict for change in sheet.changes] == ["JE"]


def test_a_result_in_the_shadow_changes_nothing_that_is_current() -> None:
    received, queued, *rest = way()
    assert isinstance(received, SubmissionReceived)
    assert isinstance(queued, SubmissionQueued)
    work = dataclasses.replace(received.work, origin="rejudging-1")
    sheet = fold([dataclasses.replace(received, work=work), dataclasses.replace(queued, work=work), *rest])
    assert sheet.judgements[JUDGEMENT].verdict == "WA"
    assert sheet.changes == []
    assert sheet.submissions[SUBMISSION].status == "received"


@pytest.mark.parametrize("jury", [False, True])
def test_whatever_is_no_sample_is_secret(jury: bool) -> None:
    sheet = fold(way())
    view = JudgementView(
        row=sheet.judgements[JUDGEMENT], current=True, runs=sheet.runs, evidence=None, evidence_missing=True
    )
    shape = submission_shape(sheet.submissions[SUBMISSION], [], [view], [], jury=jury)
    run = shape["judgements"][0]["runs"][0]
    assert run["group"] == "RunReport.group ✓"
    assert (run["exit_code"] is None, run["output_bytes"] is None) == (not jury, not jury)
    json.dumps(shape)


def test_an_executor_cannot_speak_for_another() -> None:
    came = believed(way()[3])
    record = dataclasses.replace(
        came.record, signature=Signature(key_id="executor-mallory-0123456789abcdef", value=b"")
    )
    with pytest.raises(PoisonEvent, match="executor-mallory"):
        check_event(record, came.event)


def test_every_released_event_of_a_topic_has_a_subject() -> None:
    subjects = Subjects(registry())
    names = subjects.subjects().body
    assert "assize.verdicts.v1-value" in names
    assert "assize.judgements.v1-assize.v1.JudgementCompleted" in names
    for name in names:
        newest = subjects.version(name, "latest").body
        assert subjects.by_id(str(newest["id"])).body["schema"] == newest["schema"]
        assert subjects.lookup(name, {"schema": newest["schema"]}).body == newest
