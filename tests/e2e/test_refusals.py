"""Bad input through every door: a clear refusal naming what was expected and what came; nothing stops."""

from __future__ import annotations

import asyncio
import io
import zipfile

import httpx
import pytest

from schemas.codec import decode_as
from schemas.events import SubmissionRejected
from schemas.topics import REJECTIONS, intake_topic
from services.chassis.kafka import read_to_end, start_producer
from services.chassis.tokens import Scope, create_token
from tests.conftest import FullStack
from tests.pipeline import EXAMPLES, Doors

GOOD = {"problem": "addition", "language": "python3", "files": [{"name": "a.py", "text": "print(1)"}]}


@pytest.fixture(scope="module")
def doors(full_stack: FullStack) -> Doors:
    doors = Doors(full_stack=full_stack)
    doors.publish("addition")
    return doors


def post(full_stack: FullStack, body: object, token: str | None = None) -> httpx.Response:
    return httpx.post(
        f"{full_stack.stack.url('ingest')}/v1/submissions",
        json=body,
        headers={"authorization": f"Bearer {token or full_stack.token}"},
        timeout=30,
    )


@pytest.mark.parametrize(
    ("change", "statuses", "names"),
    [
        pytest.param({"language": "cobol"}, {400, 422}, "cobol", id="unknown language"),
        pytest.param({"problem": "nowhere"}, {400, 404, 422}, "nowhere", id="unknown problem"),
        pytest.param({"files": [{"name": "a.py", "text": ""}]}, {400, 422}, "0 bytes", id="empty source"),
        pytest.param({"files": []}, {400, 422}, "file", id="no file"),
        pytest.param({"files": [{"name": "../../x", "text": "1"}]}, {400, 422}, "../../x", id="path"),
        pytest.param({"files": [{"name": "a.py", "text": "x" * 10_000_000}]}, {413}, "", id="10 MB"),
    ],
)
def test_refusal_is_a_problem_document_and_names_what_came(
    change: dict[str, object], statuses: set[int], names: str, doors: Doors, full_stack: FullStack
) -> None:
    response = post(full_stack, GOOD | change)
    assert response.status_code in statuses, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert "expected" in document["detail"]
    assert names in document["detail"]


def test_nan_limit_is_refused_by_name(full_stack: FullStack) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("problem.yaml", "limits:\n  time_limit: .nan\n")
        archive.writestr("data/sample/1.in", "1")
        archive.writestr("data/sample/1.ans", "1")
    response = httpx.put(
        f"{full_stack.stack.url('ingest')}/v1/problems/broken",
        content=out.getvalue(),
        headers={"authorization": f"Bearer {full_stack.token}", "content-type": "application/zip"},
        timeout=30,
    )
    assert response.status_code in {400, 422}
    assert "time_limit" in response.json()["detail"]
    assert "nan" in response.json()["detail"]


def test_token_without_scope_and_no_token(full_stack: FullStack) -> None:
    reader = create_token(full_stack.folders.tokens_file, name="reader", tenant="local", scopes=[Scope.READ])
    refused = post(full_stack, GOOD, reader)
    assert refused.status_code == 403
    assert "submit" in refused.json()["detail"]
    assert post(full_stack, GOOD, "assize_wrong").status_code == 401


def test_junk_on_the_intake_topic_is_parked_and_the_pipeline_goes_on(doors: Doors, full_stack: FullStack) -> None:
    async def flood() -> None:
        producer = await start_producer(full_stack.stack.kafka_bootstrap)
        try:
            for junk in (b"junk", b"", b"\x00\x00\x00\x00\x01\xff\xff", b"x" * 1_000_000):
                await producer.send_and_wait(intake_topic("local").name, junk, partition=0)
        finally:
            await producer.stop()

    before = len(asyncio.run(read_to_end(full_stack.stack.kafka_bootstrap, REJECTIONS.name, [0])))
    asyncio.run(flood())
    after = doors.submit(EXAMPLES / "submissions/addition/AC/sum.py", language="python3").json()["submission_id"]
    assert doors.await_verdicts([after], deadline_seconds=60) == {after: "AC"}
    parked = asyncio.run(read_to_end(full_stack.stack.kafka_bootstrap, REJECTIONS.name, [0]))[before:]
    reasons = [decode_as(incoming.value, SubmissionRejected) for incoming in parked]
    assert len(reasons) == 4
    for rejected in reasons:
        assert isinstance(rejected, SubmissionRejected)
        assert "expected" in rejected.reason
        assert len(rejected.prefix) <= 256
    counters = httpx.get(f"{full_stack.stack.url('ingest')}/metrics", timeout=10).text
    assert "refused" in counters or "reject" in counters
