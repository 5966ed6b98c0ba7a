"""The scheduler as a process on a real broker: end to end, killed in mid-stream, taken over, and fed with junk."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import encode
from schemas.events import (
    JudgementAssigned,
    JudgementConcluded,
    LeaseRevoked,
    QueueReported,
    SchedulerSnapshotTaken,
    SubmissionQueued,
    Verdict,
)
from schemas.headers import traceparent_of
from schemas.signing import SPEC_TYPE, KeyRing, Signature, SigningKey
from schemas.spec import decode_spec
from schemas.topics import CAPACITY, DECISIONS, JUDGEMENTS, SUBMISSIONS
from services.chassis.kafka import EventWriter, Outgoing, decode_incoming, read_to_end, start_producer
from services.scheduler.core.snapshot import encode_state, restore
from services.scheduler.core.state import CellState, Decision, fold
from tests.integration.scheduler_world import Quick, SchedulerProcess, World, own_broker, quick_executors
from tests.unit.scheduler.builders import LANGUAGES, capacity, completed, received, work

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with own_broker(tmp_path_factory.mktemp("scheduler")) as made:
        yield made


@asynccontextmanager
async def scheduler(world: World, **settings: str) -> AsyncIterator[SchedulerProcess]:
    process = world.start_scheduler(**settings)
    try:
        await process.until_ready()
        yield process
    finally:
        if process.process.poll() is None:
            process.kill()


async def submit(world: World, names: list[str]) -> None:
    producer = await start_producer(world.bootstrap)
    writer = EventWriter(producer, source="/assize/ingest")
    try:
        for index, name in enumerate(names):
            event = received(name, language=LANGUAGES[index % len(LANGUAGES)])
            await writer.send(
                Outgoing(topic=SUBMISSIONS, partition=0, key=event.work.submission_id, event=event, traceparent=TRACE)
            )
        await producer.flush()
    finally:
        await producer.stop()


def concluded_of(seen: list[Any], names: list[str]) -> Counter[str]:
    wanted = {work(name).judgement_id for name in names}
    return Counter(
        event.judgement_id for event in seen if isinstance(event, JudgementConcluded) and event.judgement_id in wanted
    )


async def until_concluded(quick: Quick, names: list[str], count: int | None = None, *, seconds: float = 60) -> None:
    goal = len(names) if count is None else count
    await quick.until(lambda seen: len(concluded_of(seen, names)) >= goal, seconds=seconds)


async def test_a_submission_goes_through_signed_and_traced(world: World) -> None:
    names = [f"through {number}" for number in range(8)]
    async with scheduler(world) as process, quick_executors(world, slots=2) as quick:
        await submit(world, names)
        await until_concluded(quick, names)
        status, body = process.get("/readyz")
        assert (status, json.loads(body)["cells"]["0"]["executors"]) == (200, ["alpha", "beta"])
        assert "assize_scheduler_decisions_total" in process.get("/metrics")[1]
        assert process.get("/healthz")[0] == 200
        assert process.stop() == 0
    key = SigningKey.load(world.folders.keys / "scheduler.key")
    assigned = [event for event in quick.seen if isinstance(event, JudgementAssigned)]
    for event in assigned:
        signature = Signature(key_id=event.spec_key_id, value=event.spec_signature)
        KeyRing({key.key_id: key.public_key}).verify(signature, SPEC_TYPE, event.spec)
        assert decode_spec(event.spec).network == "disabled"
    records = await read_to_end(world.bootstrap, DECISIONS.name, [0])
    of_them = [record for record in records if record.key == work(names[0]).judgement_id.encode()]
    assert [type(decode_incoming(record)).__name__ for record in of_them] == [
        "SubmissionQueued",
        "JudgementAssigned",
        "JudgementConcluded",
    ]
    assert {traceparent_of(record.headers) for record in of_them} == {TRACE}


async def test_killed_in_mid_stream_each_is_concluded_once(world: World) -> None:
    names = [f"killed {number}" for number in range(2000)]
    async with quick_executors(world, slots=4) as quick:
        process = world.start_scheduler(ASSIZE_SCHEDULER_SNAPSHOT_EVERY="1000")
        submitting = asyncio.create_task(submit(world, names))
        try:
            for goal in (400, 900, 1400):
                await until_concluded(quick, names, goal)
                process.kill()
                process = world.start_scheduler(ASSIZE_SCHEDULER_SNAPSHOT_EVERY="1000")
            await until_concluded(quick, names)
            await submitting
        finally:
            process.kill()
            submitting.cancel()
            await asyncio.gather(submitting, return_exceptions=True)
    decided = await world.decisions()
    times = concluded_of(decided, names)
    assert (len(times), set(times.values())) == (2000, {1})
    ids = Counter(event.event_id for event in decided if not isinstance(event, JudgementAssigned))
    assert set(ids.values()) == {1}
    verdicts = {event.verdict for event in decided if isinstance(event, JudgementConcluded)}
    assert verdicts == {Verdict.AC}
    assert_refolds(decided)


def assert_refolds(decided: list[Any]) -> None:
    """Folding the whole log breaks no rule of the fold, and each snapshot is the state of its moment."""
    state = CellState(cell=0, concluded_kept=200_000)
    snapshots = 0
    for event in decided:
        if isinstance(event, SchedulerSnapshotTaken):
            restored = restore(event, concluded_kept=200_000)
            # Inputs that decided nothing are applied in a snapshot before any decision tells so.
            state.applied = dict(event.applied)
            assert _without_traces(restored) == _without_traces(state)
            snapshots += 1
        fold(state, Decision(event=event, key="", traceparent=None))
    assert snapshots >= 4
    assert not state.judgements


def _without_traces(state: CellState) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(encode_state(state))
    for judgement in value["judgements"].values():
        del judgement["traceparent"]
    return value


async def test_an_open_transaction_of_a_dead_process_is_never_seen(world: World) -> None:
    """What a scheduler wrote and did not commit is neither folded nor shown, and the cell does not wait for it."""
    ghost = await start_producer(world.bootstrap, transactional_id="assize-scheduler-cell-0")
    await ghost.begin_transaction()
    event = received("ghost").work
    queued = SubmissionQueued(event_id="ghost", at_us=1, applied={}, work=event)
    await (await ghost.send(DECISIONS.name, encode(queued), key=b"ghost", partition=0))
    names = ["after the ghost"]
    async with scheduler(world), quick_executors(world, slots=2) as quick:
        await submit(world, names)
        await until_concluded(quick, names, seconds=20)
    assert "ghost" not in {decided.event_id for decided in await world.decisions()}
    await ghost.stop()


async def test_inputs_are_read_committed(world: World) -> None:
    """An aborted submission must not be judged: Faust's own consumer would read it."""
    producer = await start_producer(world.bootstrap, transactional_id="some-ingest")
    writer = EventWriter(producer, source="/assize/ingest")
    await producer.begin_transaction()
    aborted = received("aborted")
    await writer.write(Outgoing(topic=SUBMISSIONS, partition=0, key="aborted", event=aborted))
    await producer.abort_transaction()
    await producer.stop()
    names = ["after the aborted"]
    async with scheduler(world), quick_executors(world, slots=2) as quick:
        await submit(world, names)
        await until_concluded(quick, names, seconds=20)
    queued = {event.work.judgement_id for event in await world.decisions() if isinstance(event, SubmissionQueued)}
    assert aborted.work.judgement_id not in queued


async def test_a_second_process_of_the_cell_fences_the_first(world: World) -> None:
    """At its first breath as well as later: a process that cannot write any more must be gone, not linger."""
    names = [f"fenced {number}" for number in range(3)]
    for name in names:
        async with scheduler(world) as first:
            rival = await start_producer(world.bootstrap, transactional_id="assize-scheduler-cell-0")
            await submit(world, [name])
            assert await asyncio.to_thread(first.process.wait, 30) == 70
            await rival.stop()
    async with scheduler(world), quick_executors(world, slots=2) as quick:
        await until_concluded(quick, names, seconds=20)


async def test_junk_and_forgery_are_parked_and_stop_nothing(world: World) -> None:
    names = ["beside the junk"]
    producer = await start_producer(world.bootstrap)
    forger = SigningKey.load(world.folders.keys / "executor-beta.key")
    for topic in (SUBMISSIONS, JUDGEMENTS, CAPACITY):
        await producer.send_and_wait(topic.name, b"junk", key=b"k", partition=0)
        await producer.send_and_wait(topic.name, None, key=b"k", partition=0)
        await producer.send_and_wait(topic.name, encode(received("misplaced")) + b"x", key=b"k", partition=0)
    unsigned = EventWriter(producer, source="/t")
    await unsigned.write(Outgoing(topic=CAPACITY, partition=0, key="alpha", event=capacity("alpha", 1)))
    foreign = EventWriter(producer, source="/t", key=forger)
    await foreign.write(Outgoing(topic=CAPACITY, partition=0, key="alpha", event=capacity("alpha", 1, slots=99)))
    async with scheduler(world) as process, quick_executors(world, slots=1, names=("alpha",)) as quick:
        quick.executors[0].judge = lambda _assigned: None
        await submit(world, names)
        await quick.until(lambda seen: any(isinstance(event, JudgementAssigned) for event in seen))
        assigned = next(event for event in quick.seen if isinstance(event, JudgementAssigned))
        for writer in (unsigned, foreign):
            await writer.write(Outgoing(topic=JUDGEMENTS, partition=0, key="k", event=completed(assigned, Verdict.WA)))
        right = EventWriter(producer, source="/t", key=SigningKey.load(world.folders.keys / "executor-alpha.key"))
        await right.write(Outgoing(topic=JUDGEMENTS, partition=0, key="k", event=completed(assigned)))
        await until_concluded(quick, names)
        metrics = process.get("/metrics")[1]
    concluded = next(event for event in quick.seen if isinstance(event, JudgementConcluded))
    assert concluded.verdict is Verdict.AC
    codes = {line.split('code="')[1].split('"')[0] for line in metrics.splitlines() if "parked_total{" in line}
    assert {"no_frame", "unsigned", "foreign_key"} <= codes
    await producer.stop()


async def test_a_lost_assignment_and_a_lost_executor_heal(world: World) -> None:
    names = ["lost"]
    lost: list[JudgementAssigned] = []

    def lose_first(assigned: JudgementAssigned) -> Any:
        lost.append(assigned)
        return None if len(lost) == 1 else completed(assigned)

    async with scheduler(world):
        async with quick_executors(world, slots=1, names=("alpha",)) as quick:
            quick.executors[0].judge = lose_first
            await submit(world, names)
            await until_concluded(quick, names, seconds=20)
        assert lost[0] == lost[1]
        async with quick_executors(world, slots=1, names=("beta",)) as quick:
            quick.executors[0].judge = lambda _assigned: None
            await submit(world, ["orphan"])
            await quick.until(lambda seen: any(isinstance(event, JudgementAssigned) for event in seen))
        async with quick_executors(world, slots=1, names=("alpha",)) as quick:
            await until_concluded(quick, ["orphan"], seconds=20)
            orphan = work("orphan").judgement_id
            revoked = [event for event in quick.seen if isinstance(event, LeaseRevoked)]
            assert {(event.judgement_id, event.reason.value, event.counts_attempt) for event in revoked} == {
                (orphan, "EXECUTOR_LOST", False)
            }


async def test_a_burst_after_an_idle_cell_is_assigned_and_concluded_once(world: World) -> None:
    """One by one and 3 000 at once; how fast is told by `bench.pipeline`, not here."""
    async with scheduler(world), quick_executors(world, slots=64) as quick:
        await quick.until(lambda seen: any(isinstance(event, QueueReported) for event in seen), seconds=20)
        alone = [f"alone {number}" for number in range(20)]
        for name in alone:
            await submit(world, [name])
            await until_concluded(quick, [name])
        names = [f"many {number}" for number in range(3000)]
        await submit(world, names)
        await until_concluded(quick, names)
        concluded = Counter(event.judgement_id for event in quick.seen if isinstance(event, JudgementConcluded))
    assert concluded == Counter({work(name).judgement_id: 1 for name in (*alone, *names)})


async def test_a_port_in_use_refuses_the_start(world: World) -> None:
    async with scheduler(world) as first:
        second = world.start_scheduler(ASSIZE_SCHEDULER_HTTP_PORT=str(first.port), ASSIZE_SCHEDULER_INSTANCE="2")
        assert await asyncio.to_thread(second.process.wait, 20) == 2
        assert "expected to listen on" in second.log.read_text()


def test_a_key_that_others_can_read_refuses_the_start(world: World, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("root.pub", "scheduler.key"):
        (keys / name).write_bytes((world.folders.keys / name).read_bytes())
    (keys / "scheduler.key").chmod(0o644)
    process = world.start_scheduler(ASSIZE_STATE_DIR=str(tmp_path))
    assert process.process.wait(20) == 2
    assert "expected" in process.log.read_text()


@pytest.fixture(scope="module")
def two_cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with own_broker(tmp_path_factory.mktemp("cells"), cell_count=2) as made:
        yield made


async def until_cells(processes: list[SchedulerProcess], expected: list[int]) -> None:
    """Waits until the processes have this many cells each, sorted, and every cell is somewhere once."""
    async with asyncio.timeout(40):
        while True:
            held = [await asyncio.to_thread(cells_of, process) for process in processes]
            if sorted(len(cells) for cells in held) == expected and len(set().union(*held)) == 2:
                return
            await asyncio.sleep(0.1)


def cells_of(process: SchedulerProcess) -> set[str]:
    status, body = process.get("/readyz")
    return set(json.loads(body)["cells"]) if status in {200, 503} else set()


async def queue(world: World, cell: int, name: str) -> None:
    """Submits to a cell and waits until its log has it queued."""
    producer = await start_producer(world.bootstrap)
    writer = EventWriter(producer, source="/assize/ingest")
    event = dataclasses.replace(received(name), cell=cell)
    await writer.write(Outgoing(topic=SUBMISSIONS, partition=cell, key=name, event=event))
    await producer.stop()
    async with asyncio.timeout(30):
        while event.work not in [
            decided.work for decided in await world.decisions(cell) if isinstance(decided, SubmissionQueued)
        ]:
            pass


async def test_two_processes_share_two_cells_and_one_takes_over(two_cells: World) -> None:
    """Every topic of a cell goes to one process, and what it had queued is known to who takes over."""
    async with scheduler(two_cells, ASSIZE_SCHEDULER_INSTANCE="1") as first:
        await until_cells([first], [2])
        async with scheduler(two_cells, ASSIZE_SCHEDULER_INSTANCE="2") as second:
            await until_cells([first, second], [1, 1])
            for cell in (0, 1):
                await queue(two_cells, cell, f"in cell {cell}")
            second.kill()
            await until_cells([first], [2])
            for cell in (0, 1):
                await queue(two_cells, cell, f"again in cell {cell}")
    for cell in (0, 1):
        decided = await two_cells.decisions(cell)
        assert sum(isinstance(event, SubmissionQueued) for event in decided) == 2
