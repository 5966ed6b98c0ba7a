"""The verdict store on a real log and a real database: what goes in by hand comes out once, and is proven."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import pytest
import websockets
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from websockets.typing import Subprotocol

from schemas import topics
from schemas.codec import decode_as, encode
from schemas.events import CapacityReported, PoolReport, RunningReport, Verdict, VerdictRecorded
from schemas.headers import header
from schemas.identity import event_id
from services.chassis.clock import SystemClock
from services.chassis.kafka import read_to_end
from tests.integration.verdicts_rig import (
    EXECUTOR,
    ROOT,
    SECRET_BYTES,
    Entry,
    Rig,
    Service,
    foreign_key,
    make_rig,
    state_folder,
    until,
)


@pytest.fixture(scope="session")
def rig(kafka_bootstrap: str, postgres_dsn: str) -> Rig:
    return make_rig(kafka_bootstrap, postgres_dsn, state_folder(postgres_dsn))


@pytest.fixture
def service(rig: Rig) -> Iterator[Service]:
    with rig.serving() as running:
        yield running


def verdict_of(rig: Rig, service: Service, entry: Entry) -> str | None:
    with rig.client(service) as client:
        answer = client.get(f"/v1/submissions/{entry.submission_id}")
    return answer.json()["verdict"] if answer.status_code == 200 else None


def _is_judged(rig: Rig, service: Service, entry: Entry) -> bool:
    return verdict_of(rig, service, entry) is not None


def judged(rig: Rig, service: Service, *entries: Entry) -> None:
    for entry in entries:
        is_judged = functools.partial(_is_judged, rig, service, entry)
        until(is_judged, f"a verdict of {entry.submission_id}")


def page_of(service: Service, path: str) -> str:
    return httpx.get(service.url + path, timeout=20).text


def all_published(service: Service) -> bool:
    state = json.loads(page_of(service, "/readyz"))
    return bool(state["published_cursor"] == state["cursor"])


def listen(rig: Rig, service: Service, path: str, token: str = "reader", **options: Any) -> websockets.connect:
    access = {"Authorization": f"Bearer {rig.tokens.get(token, token)}"}
    return websockets.connect(service.url.replace("http", "ws") + path, additional_headers=access, **options)


async def receive_all(stream: websockets.ClientConnection, received: list[dict[str, Any]]) -> None:
    while True:
        received.append(json.loads(await stream.recv()))


async def published(rig: Rig) -> list[VerdictRecorded]:
    records = await read_to_end(rig.bootstrap, topics.VERDICTS.name, [0])
    events = [decode_as(record.value, VerdictRecorded) for record in records]
    return [event for event in events if isinstance(event, VerdictRecorded)]


async def test_a_submission_is_shown_with_its_judgement_runs_and_history(rig: Rig, service: Service) -> None:
    entry = rig.entry(verdict=Verdict.TLE, compiler="warning: unused")
    async with rig.writing() as hand:
        await hand.judge(entry)
    judged(rig, service, entry)
    with rig.client(service) as client:
        shown = client.get(f"/v1/submissions/{entry.submission_id}").json()
    assert (shown["status"], shown["verdict"]) == ("judged", "TLE")
    assert shown["files"] == [{"name": "main.c", "text": "int main(){}\n", "note": None}]
    (judgement,) = shown["judgements"]
    assert judgement["current"] is True
    assert judgement["compile"]["output"] == "warning: unused"
    assert [run["verdict"] for run in judgement["runs"]] == ["AC", "TLE"]
    assert judgement["limits"]["cpu_time_limit_ns"] == 1_000_000_000
    assert [line["event"] for line in shown["timeline"]] == [
        "SubmissionReceived",
        "SubmissionQueued",
        "JudgementAssigned",
        "JudgementStarted",
        "JudgementCompleted",
        "JudgementConcluded",
    ]


async def test_a_verdict_is_published_once_with_the_trace_of_its_submission(rig: Rig, service: Service) -> None:
    entry = rig.entry(verdict=Verdict.WA)
    async with rig.writing() as hand:
        await hand.judge(entry)
    judged(rig, service, entry)
    until(lambda: all_published(service), "a published verdict")

    async def records() -> list[tuple[VerdictRecorded, str]]:
        found = []
        for record in await read_to_end(rig.bootstrap, topics.VERDICTS.name, [0]):
            event = decode_as(record.value, VerdictRecorded)
            assert isinstance(event, VerdictRecorded)
            if event.submission_id == entry.submission_id:
                found.append((event, (header(record.headers, "traceparent") or b"").decode()))
        return found

    while not (found := await records()):
        pass
    ((event, traceparent),) = found
    assert (event.verdict, event.previous, event.tenant) == (Verdict.WA, None, "rig")
    assert traceparent.split("-")[1] == "0af7651916cd43dd8448eb211c80319c"


async def test_a_conclusion_waits_for_the_result_it_names(rig: Rig, service: Service) -> None:
    entry, after = rig.entry(), rig.entry()
    async with rig.writing() as hand:
        for event in (entry.received, entry.queued, entry.assigned, entry.concluded):
            await hand.write(event)
        await hand.judge(after)
        judged(rig, service, after)
        assert verdict_of(rig, service, entry) is None
        assert len(await rig.rows("SELECT * FROM pending WHERE submission_id = $1", entry.submission_id)) == 1
        await hand.write(entry.completed)
    judged(rig, service, entry)
    assert not await rig.rows("SELECT * FROM pending WHERE submission_id = $1", entry.submission_id)


async def test_what_is_not_believed_is_parked_with_its_reason_and_stops_nothing(rig: Rig, service: Service) -> None:
    entry, unsigned = rig.entry(), rig.entry()
    async with rig.writing() as hand:
        offsets = {
            "no_frame": await hand.raw(topics.JUDGEMENTS, b"junk"),
            "unknown_schema": await hand.raw(topics.JUDGEMENTS, b"\x00\x00\x0f\xff\xffjunk"),
            "unsigned": await hand.write(unsigned.completed, signed=False),
            "unknown_key": await hand.write(unsigned.completed, key=foreign_key()),
            "foreign_key": await hand.write(dataclasses.replace(unsigned.completed, executor="another")),
            "bad_id": await hand.write(dataclasses.replace(unsigned.started, submission_id="1 OR 1=1")),
            "bad_name": await hand.write(dataclasses.replace(unsigned.started, incarnation="nul \x00 here")),
            "undecodable": await hand.raw(topics.DECISIONS, encode(entry.concluded)[:5] + b"\xff"),
        }
        for event in (unsigned.received, unsigned.queued, unsigned.assigned, unsigned.concluded):
            await hand.write(event)
        await hand.judge(entry)
    judged(rig, service, entry)
    rows = await rig.rows("SELECT code, \"offset\", topic FROM parked WHERE topic <> 'assize.keys.v1'")
    parked = {(row["code"], row["offset"]) for row in rows}
    assert set(offsets.items()) <= parked | {("unknown_schema", offsets["unknown_schema"])}
    assert ("unknown_schema", offsets["unknown_schema"]) in parked
    assert verdict_of(rig, service, unsigned) is None
    assert 'assize_verdicts_parked_total{code="unsigned"' in page_of(service, "/metrics")


async def test_the_same_event_twice_counts_once_and_other_bytes_under_its_id_are_an_alarm(
    rig: Rig, service: Service
) -> None:
    entry, last = rig.entry(verdict=Verdict.AC), rig.entry()
    forged = dataclasses.replace(entry.completed, verdict=Verdict.WA)
    async with rig.writing() as hand:
        for event in (entry.received, entry.queued, entry.assigned, entry.completed):
            await hand.write(event, copies=2)
        offset = await hand.write(forged)
        await hand.write(entry.concluded, copies=3)
        await hand.judge(last)
    judged(rig, service, last, entry)
    assert verdict_of(rig, service, entry) == "AC"
    assert len(await rig.rows("SELECT * FROM verdict_changes WHERE submission_id = $1", entry.submission_id)) == 1
    alarms = await rig.rows(
        'SELECT code FROM alarms WHERE topic = $1 AND "offset" = $2', topics.JUDGEMENTS.name, offset
    )
    assert [row["code"] for row in alarms] == ["event_id_reused"]


async def test_a_conclusion_that_does_not_fit_its_result_never_becomes_a_verdict(rig: Rig, service: Service) -> None:
    entry, last = rig.entry(verdict=Verdict.WA), rig.entry()
    lying = dataclasses.replace(entry.concluded, verdict=Verdict.AC)
    async with rig.writing() as hand:
        for event in (entry.received, entry.queued, entry.assigned, entry.completed, lying):
            await hand.write(event)
        await hand.judge(last)
    judged(rig, service, last)
    assert verdict_of(rig, service, entry) is None
    alarms = await rig.rows("SELECT code FROM alarms WHERE event_id = $1", lying.event_id)
    assert [row["code"] for row in alarms] == ["conclusion_misfit"]


async def test_a_late_result_is_kept_and_marked_and_changes_nothing(rig: Rig, service: Service) -> None:
    entry, last = rig.entry(verdict=Verdict.AC), rig.entry()
    late = dataclasses.replace(
        entry.completed, event_id=event_id("late", entry.submission_id), verdict=Verdict.WA, incarnation="incarnation-0"
    )
    async with rig.writing() as hand:
        await hand.judge(entry)
        await hand.write(late)
        await hand.judge(last)
    judged(rig, service, last)
    with rig.client(service) as client:
        shown = client.get(f"/v1/submissions/{entry.submission_id}").json()
    assert shown["verdict"] == "AC"
    assert [line["detail"] for line in shown["timeline"] if "late" in line["detail"]] == [
        f"came late and changes nothing: WA after 2 of 2 tests, on {EXECUTOR}"
    ]


async def test_only_jury_sees_what_a_secret_test_could_carry(rig: Rig, service: Service) -> None:
    entry = rig.entry(verdict=Verdict.WA)
    async with rig.writing() as hand:
        await hand.judge(entry)
    judged(rig, service, entry)
    with rig.client(service) as reader, rig.client(service, "jury") as jury:
        seen = reader.get(f"/v1/submissions/{entry.submission_id}")
        everything = jury.get(f"/v1/submissions/{entry.submission_id}").json()
    assert SECRET_BYTES not in seen.text
    sample, secret = seen.json()["judgements"][0]["runs"]
    assert (sample["stdout"], sample["validator_message"]) == ("sample output", "sample judged")
    hidden = ("stdout", "stderr", "validator_message", "exit_code", "signal", "output_bytes", "error_bytes")
    assert {secret[name] for name in hidden} == {None}
    secret = everything["judgements"][0]["runs"][1]
    assert (secret["stdout"], secret["validator_message"], secret["exit_code"]) == (SECRET_BYTES, SECRET_BYTES, 42)


async def test_a_missing_blob_is_a_note_and_not_an_error(rig: Rig, service: Service) -> None:
    entry = rig.entry(files=(("gone.c", "int gone;\n"),), compiler="lost")
    async with rig.writing() as hand:
        await hand.judge(entry)
    judged(rig, service, entry)
    for name in (entry.work.files[0].digest, entry.completed.evidence_digest):
        rig.blobs.path_of(name).unlink()
    with rig.client(service) as client:
        shown = client.get(f"/v1/submissions/{entry.submission_id}").json()
    assert shown["files"] == [{"name": "gone.c", "text": None, "note": "the source is no longer in the blob store"}]
    assert shown["judgements"][0]["compile"]["output"] is None
    assert shown["judgements"][0]["note"] == "the evidence is no longer in the blob store"


async def test_one_tenant_sees_no_byte_of_another(rig: Rig, service: Service) -> None:
    entry = rig.entry(problem="rig-only-ours")
    async with rig.writing() as hand:
        await hand.judge(entry)
    judged(rig, service, entry)
    with rig.client(service, "stranger") as stranger:
        assert stranger.get(f"/v1/submissions/{entry.submission_id}").status_code == 404
        assert stranger.get("/v1/submissions", params={"problem": "rig-only-ours"}).json()["submissions"] == []
        assert stranger.get("/v1/verdicts", params={"submission": entry.submission_id}).json()["verdicts"] == []
    theirs = rig.entry(tenant="other")
    async with listen(rig, service, f"/v1/verdicts/stream?after={await head(rig)}", "stranger") as stream:
        async with rig.writing() as hand:
            await hand.judge(rig.entry(), theirs)
        assert json.loads(await stream.recv())["submission_id"] == theirs.submission_id


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [(None, 401, "no_token"), ("nonsense", 401, "unknown_token"), ("submitter", 403, "scope_missing")],
)
async def test_whoever_may_not_read_is_told_why(
    rig: Rig, service: Service, token: str | None, status: int, code: str
) -> None:
    access = {} if token is None else {"Authorization": f"Bearer {rig.tokens.get(token, token)}"}
    async with httpx.AsyncClient(base_url=service.url, headers=access) as client:
        answer = await client.get("/v1/submissions")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(service.url.replace("http", "ws") + "/v1/verdicts/stream", additional_headers=access)
    assert refused.value.response.status_code == status


async def head(rig: Rig) -> int:
    return int((await rig.rows("SELECT coalesce(max(cursor), 0) AS head FROM verdict_changes"))[0]["head"])


async def test_a_stream_goes_on_after_its_cursor_without_gap_or_double(rig: Rig, service: Service) -> None:
    entries = [rig.entry(contest="stream") for _ in range(12)]
    start = await head(rig)
    path = "/v1/verdicts/stream?contest=stream&after="
    seen: list[dict[str, object]] = []
    async with rig.writing() as hand:
        await hand.judge(*entries[:4])
        async with listen(rig, service, path + str(start)) as stream:
            await hand.judge(rig.entry(contest="another"), *entries[4:6])
            seen.extend([json.loads(await stream.recv()) for _ in range(5)])
        async with listen(rig, service, f"{path}{seen[-1]['cursor']}") as stream:
            await hand.judge(*entries[6:])
            seen.extend([json.loads(await stream.recv()) for _ in range(7)])
    assert [message["submission_id"] for message in seen] == [entry.submission_id for entry in entries]
    cursors = [int(str(message["cursor"])) for message in seen]
    assert cursors == sorted(set(cursors))


async def test_a_client_that_reads_too_slowly_is_closed_with_its_cursor(rig: Rig, service: Service) -> None:
    path = f"/v1/verdicts/stream?contest=slow&after={await head(rig)}"
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", int(service.url.rpartition(":")[2])))
    async with listen(rig, service, path, max_queue=1, sock=narrow, compression=None) as stream, rig.writing() as hand:
        stream.transport.pause_reading()
        for _ in range(60):
            entries = [rig.entry(contest="slow", team="t" * 500, problem="p" * 500) for _ in range(50)]
            await hand.at_once(*entries)
            judged(rig, service, entries[-1])
            if "assize_verdicts_slow_clients_total{" in page_of(service, "/metrics"):
                break
        stream.transport.resume_reading()
        received: list[dict[str, Any]] = []
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await receive_all(stream, received)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013
    assert closed.value.rcvd.reason == f"too slow: go on with after={received[-1]['cursor']}"
    cursors = [message["cursor"] for message in received]
    assert cursors == sorted(set(cursors))


async def test_the_page_stream_tells_states_verdicts_and_pools(rig: Rig, service: Service) -> None:
    offered = [Subprotocol("assize.v1"), Subprotocol(f"assize.token.{rig.tokens['reader']}")]
    address = service.url.replace("http", "ws") + "/v1/activity/stream"
    async with websockets.connect(address, subprotocols=offered) as stream:
        assert stream.subprotocol == "assize.v1"
        assert json.loads(await stream.recv())["type"] == "snapshot"
        entry = rig.entry()
        async with rig.writing() as hand:
            await hand.write(capacity(1))
            await hand.judge(entry)
            kinds, verdict = set(), None
            while not (verdict and "pools" in kinds):
                message = json.loads(await stream.recv())
                kinds.add(message["type"])
                for shown in message.get("submissions", []):
                    if shown["submission_id"] == entry.submission_id:
                        verdict = shown["verdict"]
    assert verdict == "AC"
    with rig.client(service) as client:
        (executor,) = [e for e in client.get("/v1/pools").json()["executors"] if e["executor"] == EXECUTOR]
    assert executor["slots"] == 2
    assert executor["pools"][0]["reason"] == "pids limit did not hold"


def capacity(sequence: int) -> CapacityReported:
    now = SystemClock().now_us()
    return CapacityReported(
        event_id=event_id("CapacityReported", EXECUTOR, now, sequence),
        at_us=now,
        executor=EXECUTOR,
        incarnation="incarnation-1",
        cell=0,
        sequence=now,
        slots=2,
        running=(RunningReport(judgement_id=event_id("x"), lease_epoch=1, slot=0),),
        pools=(
            PoolReport(
                language="c",
                image="assize/c",
                image_digest="sha256:" + "0" * 64,
                isolation="container",
                serving=False,
                reason="pids limit did not hold",
                warm=0,
                min_warm=2,
                max_warm=4,
            ),
        ),
        draining=False,
        health="",
    )


async def test_kill_9_in_the_middle_leaves_one_verdict_each_and_no_double(rig: Rig) -> None:
    entries = [rig.entry(verdict=verdict) for verdict in (*list(Verdict)[:8], Verdict.AC, Verdict.WA) for _ in range(5)]
    async with rig.writing() as hand:
        for part in range(5):
            with rig.serving() as service:
                await hand.judge(*entries[part * 10 : part * 10 + 5])
                asyncio.get_running_loop().call_later(0.01 * part, service.kill)
                await hand.judge(*entries[part * 10 + 5 : part * 10 + 10])
                await asyncio.to_thread(service.process.wait)
    with rig.serving() as service:
        judged(rig, service, *entries)
        for entry in entries:
            assert verdict_of(rig, service, entry) == entry.concluded.verdict
        until(lambda: all_published(service), "everything to be published")
        for entry in entries:
            rows = await rig.rows("SELECT * FROM verdict_changes WHERE submission_id = $1", entry.submission_id)
            assert len(rows) == 1
        events = await published(rig)
        assert [event.cursor for event in events] == list(range(1, await head(rig) + 1))
        positions = await rig.rows("SELECT count(*) AS n, max(position) AS top FROM ledger")
        assert positions[0]["n"] == positions[0]["top"]
        assert rebuild(rig)["equal"] is True


async def test_a_second_process_takes_over_and_the_first_ends(rig: Rig, service: Service) -> None:
    with rig.serving() as second:
        entry = rig.entry()
        async with rig.writing() as hand:
            await hand.judge(entry)
        judged(rig, second, entry)
        until(lambda: service.process.poll() is not None, "the fenced process to end")
        assert service.process.poll() == 70
        assert b"Fenced" in service.log.read_bytes() or b"Fenc" in service.log.read_bytes()
    events = await published(rig)
    assert len({event.cursor for event in events}) == len(events)


async def test_the_ledger_refuses_every_change(rig: Rig, service: Service) -> None:
    for statement in (
        "UPDATE ledger SET event_type = 'x'",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
        "UPDATE verdict_changes SET verdict = 'AC'",
        "DELETE FROM verdict_changes",
        "DELETE FROM parked",
    ):
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await rig.rows(statement)


def rebuild(rig: Rig, *options: str) -> dict[str, object]:
    """`python -m services.verdicts.rebuild --json`."""
    done = subprocess.run(
        [sys.executable, "-m", "services.verdicts.rebuild", "--json", *options],
        env=rig.environment(1),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    assert (done.returncode == 0) is report["equal"]
    return report


async def test_a_rebuild_while_serving_is_equal_and_a_tampered_row_is_found(rig: Rig, service: Service) -> None:
    entry = rig.entry(verdict=Verdict.WA)
    async with rig.writing() as hand:
        await hand.judge(entry)
        judged(rig, service, entry)
        before = await published(rig)
        assert rebuild(rig)["equal"] is True
        assert len(await published(rig)) == len(before)
        connection = await asyncpg.connect(rig.dsn, server_settings={"search_path": "assize"})
        try:
            change = "UPDATE judgements SET verdict = $2 WHERE submission_id = $1"
            await connection.execute(change, entry.submission_id, "AC")
            report = rebuild(rig)
            assert report["equal"] is False
            differing = [table["table"] for table in report["tables"] if not table["equal"]]  # type: ignore[attr-defined]
            assert differing == ["judgements", "verdicts"]
            await connection.execute(change, entry.submission_id, "WA")
            await connection.execute("SET session_replication_role = replica")
            move = (
                "UPDATE ledger SET value = value || $2 WHERE submission_id = $1 AND event_type = 'JudgementCompleted'"
            )
            await connection.execute(move, entry.submission_id, b"!")
            assert rebuild(rig)["equal"] is False
            await connection.execute(
                "UPDATE ledger SET value = substr(value, 1, length(value) - 1) "
                "WHERE submission_id = $1 AND event_type = 'JudgementCompleted'",
                entry.submission_id,
            )
        finally:
            await connection.close()
    assert rebuild(rig)["equal"] is True
    schemas = await rig.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'assize_rebuild%'")
    assert schemas == []


async def test_an_independent_client_reads_the_verdicts_with_our_schema_endpoint(rig: Rig, service: Service) -> None:
    entry = rig.entry(verdict=Verdict.RTE)
    async with rig.writing() as hand:
        await hand.judge(entry)
    judged(rig, service, entry)
    until(lambda: all_published(service), "everything to be published")
    records = await read_to_end(rig.bootstrap, topics.VERDICTS.name, [0])
    context = SerializationContext(topics.VERDICTS.name, MessageField.VALUE)

    def ask() -> tuple[list[dict[str, object]], object, list[str]]:
        with SchemaRegistryClient({"url": service.url}) as client:
            deserialize = AvroDeserializer(client)
            values = [deserialize(record.value, context) for record in records]
            latest = client.get_latest_version(f"{topics.VERDICTS.name}-value")
            return values, (latest.version, latest.schema_id), client.get_subjects()

    values, latest, subjects = await asyncio.to_thread(ask)
    (ours,) = [value for value in values if value["submission_id"] == entry.submission_id]
    assert (ours["verdict"], ours["language"]) == ("RTE", "c")
    assert latest == (1, int.from_bytes(records[0].value[1:5], "big"))
    assert f"{topics.DECISIONS.name}-assize.v1.JudgementConcluded" in subjects


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/schemas/ids/99999", 404, 40403),
        ("GET", "/schemas/ids/x", 404, 40403),
        ("GET", "/subjects/nothing/versions", 404, 40401),
        ("GET", "/subjects/assize.verdicts.v1-value/versions/7", 404, 40402),
        ("GET", "/subjects/assize.verdicts.v1-value/versions/one", 422, 42202),
        ("POST", "/subjects/assize.verdicts.v1-value/versions", 405, 42205),
        ("POST", "/subjects/assize.verdicts.v1-value", 422, 42201),
    ],
)
def test_the_schema_endpoint_refuses_in_the_registrys_own_form(
    service: Service, method: str, path: str, status: int, code: int
) -> None:
    answer = httpx.request(method, service.url + path, json={"schema": 7} if method == "POST" else None)
    assert answer.headers["content-type"] == "application/vnd.schemaregistry.v1+json"
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
