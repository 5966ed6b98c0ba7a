"""What the scheduler's integration tests stand on: a broker of their own, the real process, and executors that speak
real Kafka and judge at once.

The broker is not the session's: a scheduler reads every record of its cell, so that other suites' work would mix in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition

from deploy.local import kafka_engine
from deploy.local.folders import Folders, StackSettings
from deploy.local.furnish import create_keys, create_topics
from deploy.local.readiness import await_ready, kafka_probe
from schemas.codec import decode
from schemas.events import CapacityReported, JudgementAssigned, JudgementCompleted, LeaseRevoked, RunningReport
from schemas.identity import event_id
from schemas.signing import SigningKey
from schemas.topics import CAPACITY, DECISIONS, JUDGEMENTS
from services.chassis.clock import SystemClock, random_id
from services.chassis.kafka import EventWriter, Outgoing, read_to_end, start_consumer, start_producer
from tests.unit.scheduler.builders import LANGUAGES, completed, image, pool

EXECUTORS = ("alpha", "beta")
ROOT = Path(__file__).parents[2]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(listener.getsockname()[1]) for listener in listeners]


@contextmanager
def own_broker(state: Path, *, cell_count: int = 1) -> Iterator[World]:
    """A furnished broker: topics of `cell_count` cells, keys, images.json."""
    cache = StackSettings.from_environment({**os.environ, "ASSIZE_STATE_DIR": str(state)}).cache
    jars = kafka_engine.home(cache)
    if not jars.exists():
        kafka_engine.fetch_jars(jars, lambda _text: None)
    folders = Folders(state=state)
    for folder in (folders.state, folders.keys, folders.kafka, folders.run):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    port, controller = free_ports(2)
    argv = kafka_engine.prepare(folders, cache, port=port, controller_port=controller)
    world = World(folders=folders, bootstrap=f"127.0.0.1:{port}", cell_count=cell_count)
    with (state / "broker.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=state)
    try:
        asyncio.run(_furnish(world))
        yield world
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def _furnish(world: World) -> None:
    probe = kafka_probe(world.bootstrap)
    await await_ready("the broker", probe, deadline_seconds=30, gave_up=lambda: None, advice="read broker.log")
    await create_topics(world.bootstrap, cell_count=world.cell_count, tenants=())
    await create_keys(world.bootstrap, world.folders, executors=EXECUTORS)
    known = {language: {"image": image(language).image, "digest": image(language).digest} for language in LANGUAGES}
    world.folders.images_file.write_text(json.dumps(known))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A broker with what a scheduler needs."""

    folders: Folders
    bootstrap: str
    cell_count: int

    def start_scheduler(self, **settings: str) -> SchedulerProcess:
        """The real process; not awaited."""
        (port,) = free_ports(1)
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "ASSIZE_KAFKA_BOOTSTRAP": self.bootstrap,
            "ASSIZE_STATE_DIR": str(self.folders.state),
            "ASSIZE_CELL_COUNT": str(self.cell_count),
            "ASSIZE_SCHEDULER_HTTP_PORT": str(port),
            **settings,
        }
        log = self.folders.state / f"scheduler-{port}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.scheduler"], env=environment, stdout=file, stderr=file, cwd="/"
            )
        return SchedulerProcess(process=process, port=port, log=log)

    async def decisions(self, cell: int = 0) -> list[Any]:
        """Everything committed to a cell's log so far."""
        return [decode(incoming.value) for incoming in await read_to_end(self.bootstrap, DECISIONS.name, [cell])]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerProcess:
    """`python -m services.scheduler`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    async def until_ready(self) -> None:
        async with asyncio.timeout(30):
            while (await asyncio.to_thread(self.get, "/readyz"))[0] != 200:
                assert self.process.poll() is None, self.log.read_text()[-3000:]
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@dataclass(slots=True, kw_only=True)
class QuickExecutor:
    """An executor that judges at once: signed, level-triggered reports, fenced by its incarnation."""

    name: str
    slots: int
    writer: EventWriter
    cell: int = 0
    judge: Callable[[JudgementAssigned], JudgementCompleted | None] = completed
    """None: the assignment is lost on the way."""
    incarnation: str = field(default_factory=random_id)
    running: set[tuple[str, int]] = field(default_factory=set)
    known: set[tuple[str, int]] = field(default_factory=set)
    sequence: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    revoked: list[LeaseRevoked] = field(default_factory=list)

    async def report(self) -> None:
        """One capacity report."""
        self.sequence += 1
        report = CapacityReported(
            event_id=event_id("CapacityReported", self.name, self.incarnation, self.sequence),
            at_us=SystemClock().now_us(),
            executor=self.name,
            incarnation=self.incarnation,
            cell=self.cell,
            sequence=self.sequence,
            slots=self.slots,
            running=tuple(
                RunningReport(judgement_id=judgement, lease_epoch=epoch, slot=slot)
                for slot, (judgement, epoch) in enumerate(sorted(self.running))
            ),
            pools=tuple(pool(language) for language in LANGUAGES),
            draining=False,
            health="",
        )
        await self.writer.send(Outgoing(topic=CAPACITY, partition=self.cell, key=self.name, event=report))

    async def take(self, event: Any) -> None:
        """One decision."""
        match event:
            case JudgementAssigned() if (event.executor, event.incarnation) == (self.name, self.incarnation):
                await self._carry_out(event)
            case LeaseRevoked() if event.executor == self.name:
                self.revoked.append(event)
                self.running.discard((event.judgement_id, event.lease_epoch))
                self.changed.set()

    async def _carry_out(self, assigned: JudgementAssigned) -> None:
        held = (assigned.judgement_id, assigned.lease_epoch)
        if held in self.known:
            return
        result = self.judge(assigned)
        if result is None:
            return
        self.known.add(held)
        await self.writer.send(Outgoing(topic=JUDGEMENTS, partition=self.cell, key=assigned.judgement_id, event=result))


@asynccontextmanager
async def quick_executors(world: World, *, slots: int, names: tuple[str, ...] = EXECUTORS) -> AsyncIterator[Quick]:
    """Executors at work until the end of the block."""
    producer = await start_producer(world.bootstrap)
    consumer = await start_consumer(world.bootstrap)
    partition = TopicPartition(DECISIONS.name, 0)
    consumer.assign([partition])
    await consumer.seek_to_end(partition)
    await consumer.position(partition)
    executors = []
    for name in names:
        key = SigningKey.load(world.folders.keys / f"executor-{name}.key")
        executors.append(QuickExecutor(name=name, slots=slots, writer=EventWriter(producer, source="/t", key=key)))
    quick = Quick(executors=executors, producer=producer)

    async def read() -> None:
        while True:
            for messages in (await consumer.getmany(partition, timeout_ms=1000)).values():
                for message in messages:
                    event = decode(message.value)
                    for executor in executors:
                        await executor.take(event)
                    await quick.note(event)

    async def beat(executor: QuickExecutor) -> None:
        while True:
            executor.changed.clear()
            await executor.report()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(executor.changed.wait(), 0.5)

    tasks = [asyncio.create_task(read()), *(asyncio.create_task(beat(executor)) for executor in executors)]
    try:
        yield quick
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await consumer.stop()
        await producer.stop()


@dataclass(slots=True, kw_only=True)
class Quick:
    """The executors, and what of the log was seen while they worked."""

    executors: list[QuickExecutor]
    producer: AIOKafkaProducer
    seen: list[Any] = field(default_factory=list)
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def note(self, event: Any) -> None:
        async with self.moved:
            self.seen.append(event)
            self.moved.notify_all()

    async def until(self, holds: Callable[[list[Any]], bool], *, seconds: float = 60) -> None:
        """Waits until what was seen of the log satisfies a condition."""
        async with asyncio.timeout(seconds), self.moved:
            await self.moved.wait_for(lambda: holds(self.seen))

    def count(self, kind: type[Any]) -> int:
        return sum(isinstance(event, kind) for event in self.seen)
