"""Ingest through its doors: the real process, a real broker; what is told is held against what the log has."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from schemas.codec import decode
from schemas.events import (
    IntakeFile,
    PriorityClass,
    QueueReported,
    SubmissionRequested,
)
from schemas.headers import traceparent_of
from schemas.identity import judgement_id, submission_id
from schemas.problems import decode_test_list
from schemas.topics import CONTESTS, DECISIONS, PROBLEMS, SUBMISSIONS, intake_topic
from services.chassis.blobs import FolderBlobStore
from services.chassis.kafka import Outgoing
from services.chassis.tokens import Scope, create_token
from tests.integration.ingest_world import (
    OTHER_TENANT,
    TENANT,
    Ingest,
    IngestWorld,
    own_world,
    package,
    program,
    until,
)

ZIP = {"content-type": "application/zip"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngestWorld]:
    with own_world(tmp_path_factory.mktemp("ingest")) as made:
        yield made


@pytest.fixture(scope="module")
def ingest(world: IngestWorld) -> Iterator[Ingest]:
    with world.ingest() as service:
        with service.client(world.tokens["operator"]) as client:
            answer = client.put("/v1/problems/addition", content=package(), headers=ZIP)
            assert answer.status_code == 201, answer.text
        yield service


@pytest.fixture
def client(ingest: Ingest, world: IngestWorld) -> Iterator[httpx.Client]:
    with ingest.client(world.tokens["operator"]) as opened:
        yield opened


def key() -> str:
    return f"test-{uuid.uuid4()}"


def refusal(answer: httpx.Response, status: int, code: str) -> str:
    """The detail of a problem document, after its form was checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["code"] == code, document
    assert document["type"] == f"urn:assize:problem:{code}"
    assert document["detail"].startswith("expected ")
    assert ", came " in document["detail"]
    return str(document["detail"])


async def events_of(world: IngestWorld, submission: str) -> list[Any]:
    return [event for event in await world.submissions() if event.work.submission_id == submission]


async def test_a_submission_is_told_accepted_when_the_log_has_all_of_it(client, world):
    request_id = key()
    answer = client.post("/v1/submissions", json=program(team="t-1"), headers={"idempotency-key": request_id})
    assert answer.status_code == 202, answer.text
    receipt = answer.json()
    submission = submission_id(TENANT, request_id)
    assert receipt == {
        "submission_id": submission,
        "judgement_id": judgement_id(submission, "live", 0),
        "cell": 0,
        "duplicate": False,
        "status_url": f"/v1/submissions/{submission}",
    }
    (event,) = await events_of(world, submission)
    assert event.source == "http"
    assert event.work.tenant == TENANT
    assert event.work.priority_class is PriorityClass.PRACTICE
    assert event.work.entry_point == "sum.py"
    problem = client.get("/v1/problems").json()[0]
    assert event.work.manifest.problem_version == problem["version"]
    blobs = FolderBlobStore(world.folders.state / "blobs")
    assert blobs.get_now(event.work.files[0].digest) == b"print(sum(map(int, input().split())))\n"


async def test_a_problem_version_brings_every_blob_that_judging_needs(ingest, client, world):
    (record, *_) = await world.records(PROBLEMS)
    published = decode(record.value)
    blobs = FolderBlobStore(world.folders.state / "blobs")
    tests = decode_test_list(blobs.get_now(published.manifest.test_data_digest))
    assert [test.name for test in tests] == ["sample/1", "secret/1"]
    assert blobs.get_now(tests[1].input_digest) == b"3 4\n"
    assert blobs.get_now(tests[1].answer_digest) == b"7\n"
    assert published.sample_count == 1
    assert published.published_by == "operator"


async def test_the_same_package_again_is_no_new_event(client, world):
    before = len(await world.records(PROBLEMS))
    answer = client.put("/v1/problems/addition", content=package(), headers=ZIP)
    assert answer.status_code == 200, answer.text
    assert len(await world.records(PROBLEMS)) == before
    other = client.put("/v1/problems/other", content=package(data__secret__1_dot_ans="8\n"), headers=ZIP)
    assert other.status_code == 201
    assert other.json()["version"] != answer.json()["version"]


async def test_the_same_request_again_is_the_same_submission(client, world):
    headers = {"idempotency-key": key()}
    first = client.post("/v1/submissions", json=program(), headers=headers).json()
    again = client.post("/v1/submissions", json=program(), headers=headers)
    assert again.status_code == 202
    assert again.json() == first | {"duplicate": True}
    other = client.post("/v1/submissions", json=program(team="somebody-else"), headers=headers)
    refusal(other, 409, "conflict")
    assert len(await events_of(world, first["submission_id"])) == 1


async def test_requests_with_one_key_at_the_same_moment_are_one_submission(ingest, world):
    headers = {"idempotency-key": key()}

    def post(_number: int) -> httpx.Response:
        with ingest.client(world.tokens["submitter"]) as own:
            return own.post("/v1/submissions", json=program(), headers=headers)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))
    assert [answer.status_code for answer in answers] == [202] * 8
    assert sum(not answer.json()["duplicate"] for answer in answers) == 1
    assert len(await events_of(world, answers[0].json()["submission_id"])) == 1


async def test_without_a_key_every_request_is_a_submission(client):
    first, second = (client.post("/v1/submissions", json=program()).json() for _ in range(2))
    assert first["submission_id"] != second["submission_id"]


async def test_multipart_is_the_same_request_as_json(client):
    headers = {"idempotency-key": key()}
    source = b"print(sum(map(int, input().split())))\n"
    as_form = client.post(
        "/v1/submissions",
        data={"problem": "addition", "language": "python3"},
        files=[("files", ("sum.py", source, "text/x-python"))],
        headers=headers,
    )
    assert as_form.status_code == 202, as_form.text
    as_json = client.post("/v1/submissions", json=program(), headers=headers)
    assert as_json.json() == as_form.json() | {"duplicate": True}


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"language": "cobol-2099"}, 422, "unknown_language"),
        ({"problem": "never-published"}, 422, "unknown_problem"),
        ({"problem": "../../x"}, 422, "bad_problem"),
        ({"contest": "a b"}, 422, "bad_contest"),
        ({"team": "-x"}, 422, "bad_team"),
        ({"team": 5}, 422, "invalid_request"),
        ({"surprise": 1}, 422, "invalid_request"),
        ({"files": []}, 422, "bad_file_count"),
        ({"files": [{"name": "a.py", "text": ""}]}, 422, "empty_source"),
        ({"files": [{"name": "a.py"}]}, 422, "bad_file"),
        ({"files": [{"name": "a.py", "content_base64": "%%%"}]}, 422, "bad_file"),
        ({"files": [{"name": "../../x", "text": "1"}]}, 422, "bad_file_name"),
        ({"files": [{"name": "-o.py", "text": "1"}]}, 422, "bad_file_name"),
        ({"files": [{"name": ".py", "text": "1"}]}, 422, "bad_file_name"),
        ({"files": [{"name": "a\n.py", "text": "1"}]}, 422, "bad_file_name"),
        ({"files": [{"name": "x" * 4096 + ".py", "text": "1"}]}, 422, "bad_file_name"),
        ({"files": [{"name": "a.py", "text": "1"}, {"name": "a.py", "text": "2"}]}, 422, "bad_file_name"),
        ({"files": [{"name": f"f{n}.py", "text": "1"} for n in range(33)]}, 422, "bad_file_count"),
        ({"files": [{"name": "a.txt", "text": "1"}]}, 422, "no_source_file"),
        ({"entry_point": "missing.py"}, 422, "bad_entry_point"),
        ({"files": [{"name": "a.py", "text": "x" * (256 * 1024 + 1)}]}, 413, "source_too_large"),
    ],
)
async def test_what_is_wrong_with_a_submission_is_told(client, ingest, changes, status, code):
    before = ingest.metric("assize_ingest_http_refusals", code=code)
    answer = client.post("/v1/submissions", json=program(**changes))
    refusal(answer, status, code)
    assert ingest.metric("assize_ingest_http_refusals", code=code) == before + 1


async def test_ten_megabytes_of_source_are_too_large(client):
    files = [{"name": "a.py", "text": "#" * 10_000_000}]
    detail = refusal(client.post("/v1/submissions", json=program(files=files)), 413, "body_too_large")
    assert "2097152 bytes" in detail


async def test_a_body_of_unknown_length_is_bounded_while_it_comes(client):
    def flood() -> Iterator[bytes]:
        for _ in range(300):
            yield b"x" * 65_536

    answer = client.post("/v1/submissions", content=flood(), headers={"content-type": "application/json"})
    refusal(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"problem": NaN}',
        b'{"problem": -Infinity}',
        b'{"problem": "a", "problem": "b"}',
        b'{"team": "\\ud800"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
async def test_what_is_no_json_is_refused(client, body):
    answer = client.post("/v1/submissions", content=body, headers={"content-type": "application/json"})
    refusal(answer, 400, "invalid_json")


async def test_other_types_and_encodings_are_refused(client):
    text = client.post("/v1/submissions", content=b"x", headers={"content-type": "text/plain"})
    refusal(text, 415, "unsupported_type")
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    refusal(client.post("/v1/submissions", content=b"x", headers=headers), 415, "unsupported_encoding")
    broken = client.post("/v1/submissions", content=b"x", headers={"content-type": "multipart/form-data"})
    refusal(broken, 400, "invalid_form")


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "\u00e9"])
async def test_an_idempotency_key_that_cannot_be_one_is_refused(client, bad):
    answer = client.post("/v1/submissions", json=program(), headers={b"idempotency-key": bad.encode("latin-1")})
    refusal(answer, 422, "bad_request_id")


async def test_tokens_and_scopes_guard_every_door(ingest, world):
    with ingest.client(None) as nobody:
        answer = nobody.post("/v1/submissions", json=program())
        refusal(answer, 401, "no_token")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        refusal(nobody.get("/v1/languages"), 401, "no_token")
    with ingest.client("assize_wrong") as stranger:
        refusal(stranger.get("/v1/problems"), 401, "unknown_token")
    with ingest.client(world.tokens["reader"]) as reader:
        assert "scope submit" in refusal(reader.post("/v1/submissions", json=program()), 403, "missing_scope")
    with ingest.client(world.tokens["submitter"]) as submitter:
        detail = refusal(submitter.put("/v1/problems/x", content=package(), headers=ZIP), 403, "missing_scope")
        assert "scope operate" in detail
        refusal(submitter.put("/v1/contests/x", json={}), 403, "missing_scope")
        assert submitter.get("/v1/access").json() == {"name": "submitter", "tenant": TENANT, "scopes": ["submit"]}


async def test_a_tenant_sees_and_uses_its_own_problems_alone(ingest, world, client):
    with ingest.client(world.tokens["rival"]) as rival:
        assert rival.get("/v1/problems").json() == []
        refusal(rival.post("/v1/submissions", json=program()), 422, "unknown_problem")
        headers = {"idempotency-key": key()}
        mine = client.post("/v1/submissions", json=program(), headers=headers).json()
        rival.put("/v1/problems/addition", content=package(), headers=ZIP)
        theirs = rival.post("/v1/submissions", json=program(), headers=headers).json()
        assert mine["submission_id"] != theirs["submission_id"]
        assert theirs["submission_id"] == submission_id(OTHER_TENANT, headers["idempotency-key"])


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"no zip at all", "not_a_zip"),
        (package(problem_dot_yaml="name: x\nlimits:\n  time_limit: .nan\n"), "bad_limit"),
        (package(problem_dot_yaml="name: x\nlimits:\n  time_limit: -1\n"), "bad_limit"),
        (package(problem_dot_yaml="name: x\nlimits:\n  memory: 1e400\n"), "bad_limit"),
    ],
)
async def test_packages_that_cannot_be_judged_are_refused(client, content, code):
    refusal(client.put("/v1/problems/broken", content=content, headers=ZIP), 422, code)


async def test_a_problem_id_is_no_path(client):
    answer = client.put("/v1/problems/..%2F..%2Fx", content=package(), headers=ZIP)
    assert answer.status_code in {404, 422}
    refusal(client.put("/v1/problems/-x", content=package(), headers=ZIP), 422, "bad_problem")


async def test_a_contest_gives_its_submissions_their_class_while_it_runs(client, world):
    running = {
        "name": "Final",
        "class": "final",
        "starts_at": "2020-01-01T00:00:00Z",
        "ends_at": "2090-01-01T00:00:00Z",
    }
    over = running | {"class": "contest", "ends_at": "2021-01-01T00:00:00+02:00"}
    assert client.put("/v1/contests/final", json=running).status_code == 201
    assert client.put("/v1/contests/final", json=running).status_code == 200
    assert client.put("/v1/contests/over", json=over).status_code == 201
    classes = {}
    for contest in ("final", "over", "unheard-of"):
        submission = client.post("/v1/submissions", json=program(contest=contest)).json()["submission_id"]
        (event,) = await events_of(world, submission)
        classes[contest] = event.work.priority_class
    assert classes == {
        "final": PriorityClass.CONTEST_FINAL,
        "over": PriorityClass.PRACTICE,
        "unheard-of": PriorityClass.PRACTICE,
    }
    assert [view["id"] for view in client.get("/v1/contests").json()] == ["final", "over"]


@pytest.mark.parametrize(
    "changes",
    [
        {"class": "urgent"},
        {"starts_at": "2020-01-01T00:00:00"},
        {"ends_at": "soon"},
        {"ends_at": "2019-01-01T00:00:00Z"},
        {"name": ""},
        {"more": 1},
    ],
)
async def test_contests_that_say_nonsense_are_refused(client, changes):
    contest = {"name": "C", "class": "contest", "starts_at": "2020-01-01T00:00:00Z", "ends_at": "2021-01-01T00:00:00Z"}
    refusal(client.put("/v1/contests/odd", json=contest | changes), 422, "bad_contest")


async def test_contests_of_the_state_folder_are_registered_at_the_start(world):
    folder = world.folders.state / "contests.d"
    folder.mkdir(exist_ok=True)
    file = folder / "spring.toml"
    text = f'tenant = "{TENANT}"\ncontest = "spring"\nname = "Spring"\nclass = "contest"\nstarts_at = 2020-01-01T00:00:00Z\n'
    try:
        file.write_text(text + "ends_at = 2090-01-01T00:00:00Z\n")
        for _ in range(2):
            with world.ingest() as service, service.client(world.tokens["operator"]) as own:
                views = {view["id"]: view for view in own.get("/v1/contests").json()}
        assert views["spring"]["priority_class"] == "CONTEST"
        assert views["spring"]["registered_by"] == "file:spring.toml"
        keys = [record.key for record in await world.records(CONTESTS)]
        assert keys.count(b"spring") == 1
        file.write_text(text)
        refused = world.launch()
        assert refused.process.wait(40) == 2
        (line,) = refused.logged("start_refused")
        assert "spring.toml: expected exactly name, class, starts_at, ends_at" in line["reason"]
    finally:
        file.unlink()


async def test_openapi_31_describes_every_door(ingest):
    with ingest.client(None) as nobody:
        document = nobody.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/access",
        "/v1/submissions",
        "/v1/languages",
        "/v1/problems",
        "/v1/problems/{problem}",
        "/v1/contests",
        "/v1/contests/{contest}",
    }
    content = document["paths"]["/v1/submissions"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}


async def test_languages_are_those_of_the_recipes(client):
    languages = {view["id"]: view for view in client.get("/v1/languages").json()}
    assert {"c", "cpp", "python3", "java"} <= set(languages)
    assert "cc" in languages["cpp"]["extensions"]


async def test_a_trace_goes_on_in_the_record(client, world):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "idempotency-key": key()}
    submission = client.post("/v1/submissions", json=program(), headers=headers).json()["submission_id"]
    (record,) = [r for r in await world.records(SUBMISSIONS) if r.key == submission.encode()]
    carried = traceparent_of(record.headers)
    assert carried is not None
    assert carried.split("-")[1] == trace


async def test_no_source_and_no_token_is_ever_logged(client, ingest, world):
    canary = "canary_4f1d0b"
    client.post("/v1/submissions", json=program(files=[{"name": "a.py", "text": canary}]))
    client.post(
        "/v1/submissions", content=f'{{"problem": {canary}'.encode(), headers={"content-type": "application/json"}
    )
    log = ingest.log.read_text()
    assert canary not in log
    assert not any(token in log for token in world.tokens.values())


async def test_a_client_that_sends_its_head_for_ever_is_left(ingest):
    with socket.create_connection(("127.0.0.1", ingest.port), timeout=30) as slow:
        slow.sendall(b"POST /v1/submissions HTTP/1.1\r\nHost: x\r\n")
        assert slow.recv(100) == b"", "expected the connection to be closed"


async def test_a_body_that_never_ends_is_told_too_slow(world):
    with world.ingest(ASSIZE_INGEST_BODY_TIMEOUT_MS="300") as service:
        head = (
            f"POST /v1/submissions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {world.tokens['submitter']}\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        )
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as slow:
            slow.sendall(head.encode())
            assert slow.recv(2000).startswith(b"HTTP/1.1 408 ")


def requested(request_id: str, **changes: Any) -> SubmissionRequested:
    fields = {
        "request_id": request_id,
        "problem": "addition",
        "language": "python3",
        "files": (IntakeFile(name="sum.py", content=b"print(3)\n"),),
        "requested_at_us": 1_700_000_000_000_000,
        **changes,
    }
    return SubmissionRequested(**fields)


async def settled(world: IngestWorld, submission: str) -> Any:
    """The event of a submission, as soon as the log has it."""
    deadline = time.monotonic() + 30
    while not (found := await events_of(world, submission)):
        assert time.monotonic() < deadline, f"expected submission {submission} on the log"
        await asyncio.sleep(0.05)
    assert len(found) == 1
    return found[0]


async def test_junk_on_the_intake_topic_is_parked_and_the_next_one_is_taken(ingest, world):
    topic = intake_topic(TENANT)
    before = ingest.metric("assize_ingest_intake_records", outcome="no_frame")
    junk = [b"\x01" * 1_000_000, b"", b"\x00\x00\x00\x00\x63abc", b"\x00\xff\xff\xff\xffabc"]
    offsets = await world.write_raw(topic, *junk, key=b"\xffkey")
    request_id = key()
    await world.write_intake(TENANT, requested(request_id))
    event = await settled(world, submission_id(TENANT, request_id))
    assert event.source == "intake"
    parked = {event.source_offset: event for event in await world.rejections()}
    assert set(offsets) <= set(parked)
    first = parked[offsets[0]]
    assert (first.source_topic, first.tenant, first.size_bytes) == (topic.name, TENANT, 1_000_000)
    assert first.prefix == b"\x01" * 256
    assert first.code == "no_frame"
    assert "expected" in first.reason
    assert parked[offsets[3]].code == "unknown_schema"
    assert ingest.metric("assize_ingest_intake_records", outcome="no_frame") >= before + 2


async def test_what_intake_refuses_carries_the_reason_and_the_request(world, ingest):
    cases = {
        "unknown_language": requested(key(), language="cobol-2099"),
        "unknown_problem": requested(key(), problem="nowhere"),
        "bad_file_name": requested(key(), files=(IntakeFile(name="../../x", content=b"1"),)),
        "empty_source": requested(key(), files=(IntakeFile(name="a.py", content=b""),)),
        "source_too_large": requested(key(), files=(IntakeFile(name="a.py", content=b"#" * 300_000),)),
        "bad_request_id": requested("with space " + key()),
    }
    last = key()
    await world.write_intake(TENANT, *cases.values(), requested(last))
    await settled(world, submission_id(TENANT, last))
    told = {event.request_id: event.code for event in await world.rejections()}
    assert {code: told[event.request_id] for code, event in cases.items()} == {code: code for code in cases}


async def test_the_two_doors_share_their_keys(client, world):
    request_id = key()
    body = program(files=[{"name": "sum.py", "text": "print(3)\n"}])
    first = client.post("/v1/submissions", json=body, headers={"idempotency-key": request_id}).json()
    last = key()
    await world.write_intake(TENANT, requested(request_id), requested(request_id, team="other"), requested(last))
    await settled(world, submission_id(TENANT, last))
    assert len(await events_of(world, first["submission_id"])) == 1
    conflicts = [event for event in await world.rejections() if event.request_id == request_id]
    assert [event.code for event in conflicts] == ["conflict"]


async def test_a_new_tenant_gets_its_intake_topic(world, ingest):
    tenant = f"t{uuid.uuid4().hex[:8]}"
    create_token(world.folders.tokens_file, name=tenant, tenant=tenant, scopes=(Scope.SUBMIT,))
    until(
        lambda: any(tenant in line["tenants"] for line in ingest.logged("intake_followed")), f"{tenant} to be followed"
    )
    await world.write_intake(tenant, requested(key(), language="none"))
    deadline = time.monotonic() + 30
    while not any(event.tenant == tenant for event in await world.rejections()):
        assert time.monotonic() < deadline, "expected a rejection of the new tenant"


async def test_a_full_queue_holds_http_off_and_intake_back(world):
    def report(queued: int, number: int, applied: int, bound: int) -> Outgoing:
        event = QueueReported(
            event_id=f"queue-{uuid.uuid4()}",
            at_us=number,
            applied={f"{SUBMISSIONS.name}/0": applied},
            cell=0,
            queued=queued,
            running=0,
            bound=bound,
            oldest_wait_ns=0,
            depths=(),
        )
        return Outgoing(topic=DECISIONS, partition=0, key="0", event=event)

    newest = (await world.records(SUBMISSIONS))[-1].offset
    with world.ingest() as service, service.client(world.tokens["submitter"]) as own:
        headers = {"idempotency-key": key()}
        assert own.post("/v1/submissions", json=program(), headers=headers).status_code == 202
        await world.write(report(100, 1, newest + 1, bound=100))
        try:
            until(
                lambda: own.post("/v1/submissions", json=program()).status_code == 429,
                "a full queue to be told",
                seconds=10,
            )
            answer = own.post("/v1/submissions", json=program())
            refusal(answer, 429, "queue_full")
            assert int(answer.headers["retry-after"]) > 0
            again = own.post("/v1/submissions", json=program(), headers=headers)
            assert again.status_code == 202, "a request that is known is answered whatever the queue"
            request_id = key()
            before = len(await world.rejections())
            await world.write_intake(TENANT, requested(request_id))
        finally:
            newest = (await world.records(SUBMISSIONS))[-1].offset
            await world.write(report(0, 2, newest, bound=1_000_000))
        await settled(world, submission_id(TENANT, request_id))
        assert len(await world.rejections()) == before


async def test_a_restart_knows_what_was_taken(world, ingest, client):
    headers = {"idempotency-key": key()}
    first = client.post("/v1/submissions", json=program(), headers=headers).json()
    with world.ingest() as service, service.client(world.tokens["submitter"]) as own:
        again = own.post("/v1/submissions", json=program(), headers=headers)
        assert again.json() == first | {"duplicate": True}
        refusal(own.post("/v1/submissions", json=program(team="x"), headers=headers), 409, "conflict")


async def test_two_processes_agree_on_problems_and_keys(world, ingest, client):
    with world.ingest() as second, second.client(world.tokens["operator"]) as own:
        name = f"p-{uuid.uuid4().hex[:8]}"
        assert own.put(f"/v1/problems/{name}", content=package(), headers=ZIP).status_code == 201
        until(lambda: any(view["id"] == name for view in client.get("/v1/problems").json()), "the problem to be known")
        headers = {"idempotency-key": key()}
        first = own.post("/v1/submissions", json=program(problem=name), headers=headers).json()
        until(
            lambda: client.post("/v1/submissions", json=program(problem="zz"), headers=headers).status_code == 409,
            "the key to be known",
        )
        assert client.post("/v1/submissions", json=program(problem=name), headers=headers).json() == first | {
            "duplicate": True
        }


async def test_kill_9_in_mid_flight_loses_and_doubles_nothing(world):
    """Whatever was told 202 is on the log once; intake goes on where it was."""
    request_ids = [key() for _ in range(60)]
    intake_ids = [key() for _ in range(60)]
    with world.ingest() as doomed:
        await world.write_intake(TENANT, *(requested(request_id) for request_id in intake_ids))
        told = []
        with doomed.client(world.tokens["submitter"]) as own:
            for number, request_id in enumerate(request_ids):
                if number == 30:
                    doomed.kill()
                try:
                    answer = own.post("/v1/submissions", json=program(), headers={"idempotency-key": request_id})
                except httpx.TransportError:
                    break
                assert answer.status_code == 202
                told.append(request_id)
    with world.ingest() as heir, heir.client(world.tokens["submitter"]) as own:
        for request_id in request_ids:
            assert (
                own.post("/v1/submissions", json=program(), headers={"idempotency-key": request_id}).status_code == 202
            )
        for request_id in intake_ids:
            await settled(world, submission_id(TENANT, request_id))
    events = [event.work.submission_id for event in await world.submissions()]
    for request_id in request_ids:
        assert events.count(submission_id(TENANT, request_id)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_without_a_broker_nothing_is_told_accepted_and_the_same_process_goes_on(tmp_path, number):
    def live() -> None:
        with (
            own_world(tmp_path) as world,
            world.ingest(ASSIZE_INGEST_PUBLISH_TIMEOUT_MS="1500") as service,
            service.client(world.tokens["operator"]) as own,
        ):
            assert own.put("/v1/problems/addition", content=package(), headers=ZIP).status_code == 201
            assert own.post("/v1/submissions", json=program()).status_code == 202
            world.stop_broker(number)
            headers = {"idempotency-key": key()}
            for _ in range(2):
                began = time.monotonic()
                answer = own.post("/v1/submissions", json=program(), headers=headers)
                assert time.monotonic() - began < 5
                assert "Idempotency-Key" in refusal(answer, 503, "not_durable")
                assert int(answer.headers["retry-after"]) > 0
            assert httpx.get(f"{service.url}/healthz").status_code == 200
            world.start_broker()
            until(
                lambda: own.post("/v1/submissions", json=program(), headers=headers).status_code == 202,
                "the same process to take submissions again",
            )
            submission = submission_id(TENANT, headers["idempotency-key"])
            assert len(asyncio.run(events_of(world, submission))) == 1
            assert service.process.poll() is None
            assert service.stop() == 0

    await asyncio.to_thread(live)


async def test_start_is_refused_without_tokens_or_with_a_readable_token_file(world):
    tokens = world.folders.tokens_file
    tokens.chmod(0o644)
    try:
        service = world.launch()
        assert service.process.wait(30) == 2
        (line,) = service.logged("start_refused")
        assert "expected" in line["reason"]
    finally:
        tokens.chmod(0o600)
    unknown = world.launch(ASSIZE_INGEST_BODY_LIMIT_BYTE="1")
    assert unknown.process.wait(30) == 2
    assert "ASSIZE_INGEST_BODY_LIMIT_BYTE" in unknown.logged("start_refused")[0]["reason"]
    small = world.launch(ASSIZE_INGEST_BODY_LIMIT_BYTES="2000")
    assert small.process.wait(30) == 2
    assert json.dumps(small.logged("start_refused")).count("expected") == 1
