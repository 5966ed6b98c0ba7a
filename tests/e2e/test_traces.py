"""One trace per submission, from the request to the pushed verdict, through all four services."""

from __future__ import annotations

import httpx
import pytest

from tests.collector import Collector
from tests.conftest import FullStack
from tests.pipeline import EXAMPLES, Doors

SERVICES = {"assize-ingest", "assize-scheduler", "assize-executor", "assize-verdicts"}
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"


@pytest.mark.timeout(120)
def test_the_callers_trace_goes_through_all_four_services(full_stack: FullStack, collector: Collector) -> None:
    doors = Doors(full_stack=full_stack)
    doors.publish("addition")
    path = EXAMPLES / "submissions/addition/AC/sum.py"
    response = httpx.post(
        f"{full_stack.stack.url('ingest')}/v1/submissions",
        json={
            "problem": "addition",
            "language": "python3",
            "files": [{"name": path.name, "text": path.read_text()}],
        },
        headers={
            "authorization": f"Bearer {full_stack.token}",
            "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01",
        },
        timeout=30,
    )
    assert response.status_code == 202, response.text
    submission = response.json()["submission_id"]
    assert doors.await_verdicts([submission], deadline_seconds=60) == {submission: "AC"}

    spans = collector.await_services(TRACE_ID, SERVICES, deadline_seconds=40)
    assert {span.service for span in spans} == SERVICES
    known = {span.span_id for span in spans} | {PARENT_ID}
    assert all(span.parent_id in known for span in spans), "expected one connected tree"
