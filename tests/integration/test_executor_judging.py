"""An executor on the real Kafka with sandboxes that judge instantly: everything around the sandbox."""

import asyncio

import httpx
import pytest

from bench.instant_isolation import InstantInputs, InstantIsolation, prove_nothing
from schemas.events import (
    AssignmentRefused,
    JudgementCompleted,
    JudgementFaulted,
    JudgementStarted,
    RunsFinished,
    Verdict,
)
from schemas.evidence import decode_evidence
from schemas.identity import digest
from schemas.spec import encode_spec
from services.executor.adapters.process import Backend
from services.executor.adapters.warm import PoolProof
from services.executor.core.faults import JudgeFault
from tests.integration.executor_desk import executor_at_desk, traceparent_seen

SOURCE = (("main.c", b"int main(void){return 0;}"),)


def held_up(gate):
    """Every run waits for the gate."""

    async def wait(_request):
        await gate.wait()

    return wait


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def isolation():
    return InstantIsolation()


@pytest.fixture
async def desk(stack, tmp_path, isolation):
    inputs: list[InstantInputs] = []

    def backend(_settings, blobs, _incarnation) -> Backend:
        inputs.append(InstantInputs(blobs))
        return Backend(isolation=isolation, inputs=inputs[0], prove=prove_nothing)

    async with executor_at_desk(stack, tmp_path, backend, min_warm=1, max_warm=2) as opened:
        await opened.capacity(lambda report: len([p for p in report.pools if p.serving]) == 4)
        yield opened
    assert opened.running.exception() is None
    assert isolation.alive == set(), "every sandbox is destroyed"
    assert inputs[0].held == 0, "every input is let go"


async def test_an_assignment_becomes_a_signed_complete_verdict(desk):
    spec = desk.spec(SOURCE, **desk.problem([(b"1\n", b"1\n"), (b"2 \n", b"2\n")]))
    judgement = await desk.assign(spec, traceparent=TRACE)
    completed = await desk.last_word(judgement)
    assert isinstance(completed, JudgementCompleted)
    assert completed.verdict is Verdict.AC
    assert [run.test for run in completed.runs] == ["sample/0", "secret/1"]
    assert completed.tests_total == 2
    assert completed.spec_digest == digest(encode_spec(spec))
    assert completed.image_digest == spec.image_digest
    assert completed.preflight_digest == "sha256:" + "0" * 64
    evidence = decode_evidence(desk.blobs.get_now(completed.evidence_digest))
    assert evidence.runs[1].stdout.head == b"2 \n"
    events = desk.events_of(judgement)
    assert [type(seen.event) for seen in events] == [JudgementStarted, JudgementCompleted]
    assert events[0].event.sandbox_id == completed.sandbox_id
    # One trace from the decision to the verdict, and a span of ours in it.
    for seen in events:
        assert traceparent_seen(seen).split("-")[1] == TRACE.split("-")[1]
    report = await desk.capacity(lambda report: report.running == ())
    assert report.slots == 1


async def test_the_first_wrong_answer_decides(desk):
    spec = desk.spec(SOURCE, **desk.problem([(b"1", b"1"), (b"2", b"3"), (b"4", b"4")]))
    completed = await desk.last_word(await desk.assign(spec))
    assert completed.verdict is Verdict.WA
    assert [run.verdict for run in completed.runs] == [Verdict.AC, Verdict.WA]


async def test_big_outputs_are_compared_too(desk):
    big = b"12345678\n" * 100_000
    spec = desk.spec(SOURCE, **desk.problem([(big, big), (big, big + b"1\n")]), max_output_bytes=16 << 20)
    completed = await desk.last_word(await desk.assign(spec))
    assert [run.verdict for run in completed.runs] == [Verdict.AC, Verdict.WA]


async def test_a_submission_without_an_entry_is_ce_and_no_fault(desk):
    spec = desk.spec((("notes.txt", b"x"),), **desk.problem([(b"1", b"1")]))
    completed = await desk.last_word(await desk.assign(spec))
    assert completed.verdict is Verdict.CE
    evidence = decode_evidence(desk.blobs.get_now(completed.evidence_digest))
    assert b"notes.txt" in evidence.compiler.head


async def test_back_to_back_judgements_use_a_fresh_sandbox_each(desk, isolation):
    problem = desk.problem([(b"1", b"1")])
    judgements = []
    for _ in range(20):
        judgement = await desk.assign(desk.spec(SOURCE, **problem))
        assert isinstance(await desk.last_word(judgement), JudgementCompleted)
        judgements.append(judgement)
    sandboxes = {desk.events_of(judgement)[0].event.sandbox_id for judgement in judgements}
    assert len(sandboxes) == 20


@pytest.mark.parametrize("what", ["test_data", "input", "answer", "source"])
async def test_missing_data_is_a_retriable_fault(desk, what):
    problem = desk.problem([(b"input " + what.encode(), b"answer " + what.encode())])
    if what == "answer":
        problem = desk.problem([(b"answer " + what.encode(), b"answer " + what.encode() + b" ")])
    spec = desk.spec((("main.c", f"// {what}".encode()),), **problem)
    lost = {
        "test_data": spec.test_data_digest,
        "input": digest(b"input " + what.encode()),
        "answer": digest(b"answer " + what.encode() + b" "),
        "source": spec.files[0][1],
    }[what]
    desk.blobs.path_of(lost).write_bytes(b"damaged")
    faulted = await desk.last_word(await desk.assign(spec))
    assert isinstance(faulted, JudgementFaulted)
    assert (faulted.stage, faulted.retriable) == ("data", True)
    assert lost in faulted.message
    # The executor goes on.
    good = desk.spec(SOURCE, **desk.problem([(b"1", b"1")]))
    assert (await desk.last_word(await desk.assign(good))).verdict is Verdict.AC


async def test_what_is_not_exactly_ordered_is_refused_before_a_sandbox_is_claimed(desk, isolation):
    await desk.capacity(lambda report: all(pool.warm == 1 for pool in report.pools))
    made = isolation.made
    problem = desk.problem([(b"1", b"1")])
    other = "sha256:" + "f" * 64
    altered = desk.spec(SOURCE, **problem)
    cases = {
        "image_mismatch": (desk.spec(SOURCE, **problem, image_digest=other), {}),
        "isolation_mismatch": (desk.spec(SOURCE, **problem, isolation="microvm"), {}),
        "sources_mismatch": (desk.spec(SOURCE, **problem, source_digest=other), {}),
        "unknown_validator": (desk.spec(SOURCE, **problem, validator_digest=other), {}),
        "expired": (desk.spec(SOURCE, **problem, issued_at_us=1, expires_at_us=2), {}),
        "bad_signature": (altered, {"data": encode_spec(altered).replace(b'"memoryMb":128', b'"memoryMb":129')}),
        "mismatch": (desk.spec(SOURCE, **problem), {"lease_epoch": 7}),
    }
    for code, (spec, changes) in cases.items():
        refused = await desk.last_word(await desk.assign(spec, **changes))
        assert isinstance(refused, AssignmentRefused), code
        assert refused.code == code
    assert isolation.made == made


async def test_an_assignment_for_another_incarnation_is_not_ours(desk):
    problem = desk.problem([(b"1", b"1")])
    await desk.assign(desk.spec(SOURCE, **problem, incarnation="somebody-else"))
    spec = desk.spec(SOURCE, **problem)
    assert (await desk.last_word(await desk.assign(spec))).verdict is Verdict.AC
    assert len({seen.event.judgement_id for seen in desk.seen}) == 1


async def test_the_same_assignment_again_gets_the_same_bytes_again(desk):
    spec = desk.spec(SOURCE, **desk.problem([(b"1", b"1")]))
    judgement = await desk.assign(spec)
    await desk.last_word(judgement)
    await desk.assign(spec)
    completed = await desk.until(
        lambda: (
            found
            if len(found := [s for s in desk.events_of(judgement) if isinstance(s.event, JudgementCompleted)]) == 2
            else None
        )
    )
    assert completed[0].incoming.value == completed[1].incoming.value
    assert len(desk.events_of(judgement)) == 3


async def test_a_revoked_lease_ends_in_silence_and_frees_its_slot(desk, isolation):
    isolation.before_run = held_up(asyncio.Event())
    problem = desk.problem([(b"1", b"1")])
    spec = desk.spec(SOURCE, **problem)
    judgement = await desk.assign(spec)
    await desk.capacity(lambda report: [held.judgement_id for held in report.running] == [judgement])
    await desk.revoke(spec)
    await desk.capacity(lambda report: report.running == ())
    isolation.before_run = None
    assert (await desk.last_word(await desk.assign(desk.spec(SOURCE, **problem)))).verdict is Verdict.AC
    assert all(not isinstance(seen.event, JudgementCompleted | JudgementFaulted) for seen in desk.events_of(judgement))


async def test_without_a_slot_an_assignment_is_refused(desk, isolation):
    gate = asyncio.Event()
    isolation.before_run = held_up(gate)
    problem = desk.problem([(b"1", b"1")])
    first = await desk.assign(desk.spec(SOURCE, **problem))
    await desk.capacity(lambda report: [held.judgement_id for held in report.running] == [first])
    refused = await desk.last_word(await desk.assign(desk.spec(SOURCE, **problem)))
    assert refused.code == "no_slot"
    gate.set()
    assert (await desk.last_word(first)).verdict is Verdict.AC


async def test_a_long_judgement_tells_its_runs_on_the_way(desk, isolation):
    tests = [(str(number).encode(), str(number).encode()) for number in range(6)]

    async def slow(_request):
        await asyncio.sleep(0.4)

    isolation.before_run = slow
    judgement = await desk.assign(desk.spec(SOURCE, **desk.problem(tests)))
    completed = await desk.last_word(judgement)
    progress = [seen.event for seen in desk.events_of(judgement) if isinstance(seen.event, RunsFinished)]
    assert progress
    assert [event.ordinal for event in progress] == list(range(len(progress)))
    told = [run.test for event in progress for run in event.runs]
    assert told == [run.test for run in completed.runs][: len(told)]


async def test_an_engine_that_dies_in_mid_judgement_is_a_fault_and_it_serves_again_when_it_is_back(desk, isolation):
    problem = desk.problem([(b"1", b"1")])
    isolation.fault = JudgeFault("expected an engine, came nothing", stage="sandbox_create", retriable=True)
    for sandbox in list(isolation.alive):
        sandbox.dies(isolation.fault)
    faulted = await desk.last_word(await desk.assign(desk.spec(SOURCE, **problem)))
    assert isinstance(faulted, JudgementFaulted)
    assert faulted.retriable
    report = await desk.capacity(lambda report: not next(p for p in report.pools if p.language == "c").serving)
    assert "expected an engine" in next(p for p in report.pools if p.language == "c").reason
    isolation.fault = None
    await desk.capacity(lambda report: all(pool.serving for pool in report.pools))
    assert (await desk.last_word(await desk.assign(desk.spec(SOURCE, **problem)))).verdict is Verdict.AC


async def test_an_engine_that_dies_while_idle_is_noticed(desk, isolation):
    isolation.fault = JudgeFault("expected an engine, came nothing", stage="engine", retriable=True)
    report = await desk.capacity(lambda report: "expected an engine" in report.health)
    assert not any(pool.serving or pool.warm for pool in report.pools)
    isolation.fault = None
    report = await desk.capacity(lambda report: all(pool.serving for pool in report.pools))
    assert report.health == ""


async def test_warm_sandboxes_that_died_unseen_are_replaced_without_a_fault(desk, isolation):
    problem = desk.problem([(b"1", b"1")])
    await desk.capacity(lambda report: all(pool.warm == 1 for pool in report.pools))
    for sandbox in list(isolation.alive):
        sandbox.dies(JudgeFault("expected a runner, came nothing", stage="place", retriable=True))
    assert (await desk.last_word(await desk.assign(desk.spec(SOURCE, **problem)))).verdict is Verdict.AC


async def test_it_drains_within_its_bound_and_gives_back_what_it_holds(desk, isolation):
    isolation.before_run = held_up(asyncio.Event())
    judgement = await desk.assign(desk.spec(SOURCE, **desk.problem([(b"1", b"1")])))
    await desk.capacity(lambda report: [held.judgement_id for held in report.running] == [judgement])
    desk.stopping.set()
    await desk.capacity(lambda report: report.draining and report.running == ())
    await desk.running
    assert not [seen for seen in desk.events_of(judgement) if isinstance(seen.event, JudgementCompleted)]


async def test_health_readiness_and_metrics_are_served(desk):
    base = f"http://127.0.0.1:{desk.settings.http_port}"
    async with httpx.AsyncClient(base_url=base) as client:
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["pools"]["c"]["serving"] is True
        assert (await client.get("/metrics")).status_code == 200


async def test_a_pool_whose_preflight_does_not_hold_is_not_served(stack, tmp_path, isolation):
    async def prove(language, _image) -> PoolProof:
        return PoolProof(holds=language != "c", reason="" if language != "c" else "pids: not held", digest=digest(b"r"))

    def backend(_settings, blobs, _incarnation) -> Backend:
        return Backend(isolation=isolation, inputs=InstantInputs(blobs), prove=prove)

    async with executor_at_desk(stack, tmp_path, backend, min_warm=0) as desk:
        report = await desk.capacity(lambda report: len([p for p in report.pools if p.serving]) == 3)
        assert next(pool for pool in report.pools if pool.language == "c").reason == "pids: not held"
        refused = await desk.last_word(await desk.assign(desk.spec(SOURCE, **desk.problem([(b"1", b"1")]))))
        assert refused.code == "not_serving"
        assert "pids: not held" in refused.reason
