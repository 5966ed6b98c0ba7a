"""What ingest's integration tests stand on: a broker of their own that can be stopped, tokens, and the real process.

The broker is not the session's: ingest folds every submission and every queue report of a broker, and these tests stop it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deploy.local import kafka_engine
from deploy.local.folders import Folders, StackSettings
from deploy.local.furnish import create_topics
from deploy.local.readiness import await_ready, kafka_probe
from schemas.codec import decode, encode
from schemas.events import SubmissionRequested
from schemas.topics import REJECTIONS, SUBMISSIONS, Topic, intake_topic
from services.chassis.kafka import EventWriter, Incoming, Outgoing, read_to_end, start_producer
from services.chassis.tokens import Scope, create_token

ROOT = Path(__file__).parents[2]
START_SECONDS = 40
TENANT = "school"
OTHER_TENANT = "rival"


def until(holds: Callable[[], bool], expected: str, *, seconds: float = START_SECONDS) -> None:
    """Looks again and again until `holds`, for what another process does and tells nobody."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"expected {expected} within {seconds} s"
        time.sleep(0.05)


@dataclass(slots=True, kw_only=True)
class Ingest:
    """`python -m services.ingest`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, token: str | None, **headers: str) -> httpx.Client:
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a counter that carry these labels."""
        total = 0.0
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            found = re.fullmatch(rf"{name}_total\{{(.*)\}} (\S+)", line)
            if found and all(f'{key}="{value}"' in found[1] for key, value in labels.items()):
                total += float(found[2])
        return total

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"ingest ended: {self.log.read_text()[-2000:]}"
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def logged(self, action: str) -> list[dict[str, Any]]:
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("action") == action]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@dataclass(slots=True, kw_only=True)
class IngestWorld:
    """A broker, a state folder, and tokens by what they may do."""

    folders: Folders
    port: int
    broker_argv: tuple[str, ...]
    cell_count: int
    broker: subprocess.Popen[bytes] | None = None
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start_broker(self) -> None:
        with (self.folders.state / "broker.log").open("ab") as log:
            self.broker = subprocess.Popen(self.broker_argv, stdout=log, stderr=log, cwd=self.folders.state)
        ready = await_ready(
            "the broker",
            kafka_probe(self.bootstrap),
            deadline_seconds=40,
            gave_up=lambda: None,
            advice="read broker.log",
        )
        asyncio.run(ready)

    def stop_broker(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.broker is not None
        self.broker.send_signal(number)
        self.broker.wait(30)

    @contextmanager
    def ingest(self, **settings: str) -> Iterator[Ingest]:
        """The service, ready."""
        service = self.launch(**settings)
        try:
            until(service.is_ready, f"ingest to be ready; it says {service.log}")
            yield service
        finally:
            if service.process.poll() is None:
                service.stop()

    def launch(self, **settings: str) -> Ingest:
        """The service, not awaited."""
        (port,) = free_ports(1)
        environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "ASSIZE_KAFKA_BOOTSTRAP": self.bootstrap,
            "ASSIZE_STATE_DIR": str(self.folders.state),
            "ASSIZE_CELL_COUNT": str(self.cell_count),
            "ASSIZE_INGEST_HTTP_PORT": str(port),
            **settings,
        }
        log = self.folders.state / f"ingest-{port}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.ingest"], env=environment, stdout=file, stderr=file, cwd="/"
            )
        return Ingest(process=process, port=port, log=log)

    async def records(self, topic: Topic) -> list[Incoming]:
        return await read_to_end(self.bootstrap, topic.name, range(topic.partition_count(self.cell_count)))

    async def submissions(self) -> list[Any]:
        return [decode(incoming.value) for incoming in await self.records(SUBMISSIONS)]

    async def rejections(self) -> list[Any]:
        return [decode(incoming.value) for incoming in await self.records(REJECTIONS)]

    async def write(self, *outgoing: Outgoing) -> None:
        producer = await start_producer(self.bootstrap)
        try:
            writer = EventWriter(producer, source="/tests")
            for record in outgoing:
                await writer.write(record)
        finally:
            await producer.stop()

    async def write_intake(self, tenant: str, *events: SubmissionRequested) -> None:
        """Writes as a contest system does: into the one partition, the key of its choice."""
        producer = await start_producer(self.bootstrap)
        try:
            for event in events:
                await producer.send(intake_topic(tenant).name, encode(event), key=b"any", partition=0)
            await producer.flush()
        finally:
            await producer.stop()

    async def write_raw(self, topic: Topic, *values: bytes, key: bytes | None = None) -> list[int]:
        """Writes bytes as they are; gives their offsets."""
        producer = await start_producer(self.bootstrap)
        try:
            return [(await producer.send_and_wait(topic.name, value, key=key, partition=0)).offset for value in values]
        finally:
            await producer.stop()


@contextmanager
def own_world(state: Path, *, cell_count: int = 1) -> Iterator[IngestWorld]:
    cache = StackSettings.from_environment({**os.environ, "ASSIZE_STATE_DIR": str(state)}).cache
    jars = kafka_engine.home(cache)
    if not jars.exists():
        kafka_engine.fetch_jars(jars, lambda _text: None)
    folders = Folders(state=state)
    for folder in (folders.state, folders.keys, folders.kafka, folders.run):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    port, controller = free_ports(2)
    argv = tuple(kafka_engine.prepare(folders, cache, port=port, controller_port=controller))
    world = IngestWorld(folders=folders, port=port, broker_argv=argv, cell_count=cell_count)
    for name, tenant, scopes in (
        ("operator", TENANT, tuple(Scope)),
        ("submitter", TENANT, (Scope.SUBMIT,)),
        ("reader", TENANT, (Scope.READ,)),
        ("rival", OTHER_TENANT, tuple(Scope)),
    ):
        world.tokens[name] = create_token(folders.tokens_file, name=name, tenant=tenant, scopes=scopes)
    world.start_broker()
    try:
        asyncio.run(create_topics(world.bootstrap, cell_count=cell_count, tenants=()))
        yield world
    finally:
        if world.broker is not None and world.broker.poll() is None:
            world.stop_broker()


def package(**changes: str | bytes) -> bytes:
    """A small problem package; `changes` replace files, by name with `__` for `/` and `_dot_` for `.`."""
    files: dict[str, str | bytes] = {
        "problem.yaml": "problem_format_version: 2025-09\nname: Addition\nlimits:\n  time_limit: 1.0\n",
        "data/sample/1.in": "1 2\n",
        "data/sample/1.ans": "3\n",
        "data/secret/1.in": "3 4\n",
        "data/secret/1.ans": "7\n",
    }
    files |= {name.replace("__", "/").replace("_dot_", "."): content for name, content in changes.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def program(**changes: object) -> Mapping[str, Any]:
    """A submission as JSON."""
    return {
        "problem": "addition",
        "language": "python3",
        "files": [{"name": "sum.py", "text": "print(sum(map(int, input().split())))\n"}],
        **changes,
    }


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(listener.getsockname()[1]) for listener in listeners]
