"""The verdict store as a process, and the log that it reads, written by hand: what its tests stand on.

One database and one state folder serve the whole session, because the topics do: the cursors on `assize.verdicts.v1`
belong to the database that published them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas import topics
from schemas.events import (
    CompileReport,
    Event,
    FaultReport,
    JudgementAssigned,
    JudgementCompleted,
    JudgementConcluded,
    JudgementStarted,
    JudgementWork,
    JudgingManifest,
    LimitKind,
    PriorityClass,
    QueueDepth,
    QueueReported,
    RunEnding,
    RunReport,
    SourceFileRef,
    SubmissionQueued,
    SubmissionReceived,
    Verdict,
)
from schemas.evidence import Evidence, KeptStream, RunEvidence, encode_evidence
from schemas.identity import digest, event_id, judgement_id, source_digest, submission_id
from schemas.signing import SigningKey
from services.chassis.blobs import FolderBlobStore
from services.chassis.clock import SystemClock, random_id
from services.chassis.kafka import EventWriter, Outgoing, start_producer
from services.chassis.keys import publish_keys
from services.chassis.tokens import Scope, create_token

ROOT = Path(__file__).parents[2]
DATABASE = "verdicts_rig"
START_SECONDS = 40.0
EXECUTOR = "rig-1"
SECRET_BYTES = "SECRET-INPUT-7261"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One submission that the rig writes, and everything said about it."""

    work: JudgementWork
    received: SubmissionReceived
    queued: SubmissionQueued
    assigned: JudgementAssigned
    started: JudgementStarted
    completed: JudgementCompleted
    concluded: JudgementConcluded

    @property
    def submission_id(self) -> str:
        return self.work.submission_id


@dataclass(slots=True, kw_only=True)
class Service:
    """A running `python -m services.verdicts`."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=20)


@dataclass(slots=True, kw_only=True)
class Rig:
    """The log's hand: keys, tokens, blobs, and a writer for every topic."""

    bootstrap: str
    dsn: str
    state: Path
    executor_key: SigningKey
    tokens: dict[str, str] = field(default_factory=dict)
    """By name: reader, jury, submitter (without read), stranger (of another tenant)."""
    _counter: int = 0

    @property
    def blobs(self) -> FolderBlobStore:
        return FolderBlobStore(self.state / "blobs")

    def environment(self, port: int) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "ASSIZE_KAFKA_BOOTSTRAP": self.bootstrap,
            "ASSIZE_POSTGRES_DSN": self.dsn,
            "ASSIZE_STATE_DIR": str(self.state),
            "ASSIZE_VERDICTS_HTTP_PORT": str(port),
            "ASSIZE_VERDICTS_STREAM_QUEUE_MESSAGES": "50",
        }

    @contextlib.contextmanager
    def serving(self, *, port: int | None = None) -> Iterator[Service]:
        """The process, ready; stopped afterwards unless the test did."""
        port = free_port() if port is None else port
        log = self.state / f"verdicts-{port}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.verdicts"],
                env=self.environment(port),
                cwd="/",
                stderr=stream,
                stdout=stream,
            )
        service = Service(process=process, url=f"http://127.0.0.1:{port}", log=log)
        try:
            until(lambda: self._is_ready(service), f"{service.url} to be ready, see {log}")
            yield service
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _is_ready(self, service: Service) -> bool:
        assert service.process.poll() is None, service.log.read_text()[-3000:]
        try:
            return httpx.get(service.url + "/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def client(self, service: Service, name: str = "reader") -> httpx.Client:
        return httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {self.tokens[name]}"}, timeout=20)

    def entry(
        self,
        *,
        verdict: Verdict = Verdict.AC,
        tenant: str = "rig",
        files: tuple[tuple[str, str], ...] = (("main.c", "int main(){}\n"),),
        compiler: str | None = None,
        contest: str | None = None,
        team: str | None = "team-1",
        problem: str = "rig-problem",
    ) -> Entry:
        """A submission of its own with a judgement that ends in `verdict`, not yet on any topic."""
        self._counter += 1
        request = f"rig-{random_id()}"
        work = self._work(submission_id(tenant, request), tenant, files, contest, team, problem)
        now = SystemClock().now_us()
        judged: dict[str, Any] = {
            "judgement_id": work.judgement_id,
            "submission_id": work.submission_id,
            "lease_epoch": 1,
        }
        at: dict[str, Any] = {"executor": EXECUTOR, "incarnation": "incarnation-1"}
        completed = self._completed(work, verdict, compiler, now, judged | at)
        return Entry(
            work=work,
            received=SubmissionReceived(
                event_id=event_id("SubmissionReceived", work.submission_id),
                at_us=now,
                cell=0,
                request_id=request,
                request_digest=digest(request.encode()),
                source="http",
                work=work,
            ),
            queued=SubmissionQueued(
                event_id=event_id("SubmissionQueued", work.judgement_id), at_us=now + 1, applied={}, work=work
            ),
            assigned=JudgementAssigned(
                event_id=event_id("JudgementAssigned", work.judgement_id, 1),
                at_us=now + 2,
                applied={},
                attempt=1,
                lease_expires_at_us=now + 60_000_000,
                spec=b"{}",
                spec_signature=bytes(64),
                spec_key_id="scheduler-0",
                **judged,
                **at,
            ),
            started=JudgementStarted(
                event_id=event_id("JudgementStarted", work.judgement_id, 1, "incarnation-1"),
                at_us=now + 3,
                slot=0,
                cpu=None,
                sandbox_id="sandbox-1",
                image_digest=digest(b"image"),
                isolation="container",
                **judged,
                **at,
            ),
            completed=completed,
            concluded=JudgementConcluded(
                event_id=event_id("JudgementConcluded", work.judgement_id),
                at_us=now + 5,
                applied={},
                verdict=verdict,
                accepted_event_id=None if verdict is Verdict.JE else completed.event_id,
                faults=(FaultReport(executor=EXECUTOR, stage="claim", message="no sandbox"),)
                if verdict is Verdict.JE
                else (),
                **judged,
            ),
        )

    def _work(
        self,
        submission: str,
        tenant: str,
        files: tuple[tuple[str, str], ...],
        contest: str | None,
        team: str | None,
        problem: str,
    ) -> JudgementWork:
        references = tuple(
            SourceFileRef(name=name, digest=self.blobs.put_now(text.encode()), size_bytes=len(text.encode()))
            for name, text in files
        )
        return JudgementWork(
            submission_id=submission,
            judgement_id=judgement_id(submission, "live", 0),
            origin="live",
            repeat=0,
            tenant=tenant,
            contest=contest,
            team=team,
            problem=problem,
            language="c",
            entry_point=None,
            source_digest=source_digest([(entry.name, entry.digest) for entry in references]),
            files=references,
            priority_class=PriorityClass.PRACTICE,
            manifest=manifest(),
            received_at_us=SystemClock().now_us(),
        )

    def _completed(
        self, work: JudgementWork, verdict: Verdict, compiler: str | None, now: int, fields: dict[str, Any]
    ) -> JudgementCompleted:
        def stream(text: str) -> KeptStream:
            return KeptStream(head=text.encode(), tail=b"", length_bytes=len(text.encode()))

        judged = (_run("sample/1", "sample", Verdict.AC), _run("secret/1", "secret", verdict))
        runs: tuple[RunReport, ...] = () if verdict is Verdict.CE else judged
        evidence = Evidence(
            compiler=None if compiler is None else stream(compiler),
            runs=tuple(
                RunEvidence(
                    test=run.test,
                    group=run.group,
                    stdout=stream(SECRET_BYTES if run.group == "secret" else "sample output"),
                    stderr=stream(""),
                    validator_message=SECRET_BYTES if run.group == "secret" else "sample judged",
                )
                for run in runs
            ),
        )
        return JudgementCompleted(
            event_id=event_id("JudgementCompleted", work.judgement_id, 1, "incarnation-1"),
            at_us=now + 4,
            verdict=verdict,
            compile=CompileReport(
                succeeded=verdict is not Verdict.CE,
                ending=RunEnding.EXITED,
                exit_code=int(verdict is Verdict.CE),
                signal=None,
                limit_expired=LimitKind.NONE,
                cpu_time_ns=80_000_000,
                wall_time_ns=90_000_000,
                memory_peak_bytes=30_000_000,
            ),
            runs=runs,
            tests_total=2,
            cpu_time_ns=max((run.cpu_time_ns for run in runs), default=0),
            wall_time_ns=max((run.wall_time_ns for run in runs), default=0),
            memory_peak_bytes=max((run.memory_peak_bytes for run in runs), default=0),
            score=None,
            evidence_digest=self.blobs.put_now(encode_evidence(evidence)),
            spec_digest=digest(b"spec"),
            image_digest=digest(b"image"),
            isolation="container",
            preflight_digest=digest(b"preflight"),
            sandbox_id="sandbox-1",
            slot=0,
            cpu=None,
            started_at_us=now + 3,
            **fields,
        )

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[Hand]:
        producer = await start_producer(self.bootstrap)
        try:
            yield Hand(producer=producer, executor_key=self.executor_key)
        finally:
            await producer.stop()

    async def rows(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """What Postgres holds, asked directly."""
        connection = await asyncpg.connect(self.dsn, server_settings={"search_path": "assize"})
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()


@dataclass(slots=True, kw_only=True)
class Hand:
    """Writes events where they belong, as their authors would."""

    producer: Any
    executor_key: SigningKey

    async def write(self, event: Event, *, key: SigningKey | None = None, signed: bool = True, copies: int = 1) -> int:
        """Writes one event, judgements signed by the rig's executor; returns its (last) offset."""
        topic = next(topic for topic in topics.TOPICS if type(event).__name__ in topic.events)
        signing = (key or self.executor_key) if topic in (topics.JUDGEMENTS, topics.CAPACITY) and signed else None
        writer = EventWriter(self.producer, source="/assize/rig", key=signing)
        outgoing = Outgoing(topic=topic, partition=0, key=_key_of(event), event=event, traceparent=TRACEPARENT)
        offset = -1
        for _ in range(copies):
            offset = (await (await writer.send(outgoing))).offset
        return offset

    async def raw(self, topic: topics.Topic, value: bytes) -> int:
        return int((await (await self.producer.send(topic.name, value, partition=0, key=b"raw"))).offset)

    async def at_once(self, *entries: Entry) -> None:
        """Many submissions as a burst: results and decisions race on their topics."""
        pieces = [e for entry in entries for e in (entry.received, entry.queued, entry.completed, entry.concluded)]
        await asyncio.gather(*(self.write(piece) for piece in pieces))

    async def judge(self, *entries: Entry) -> None:
        """The whole way of these submissions, in the order in which it happens."""
        for entry in entries:
            for event in (entry.received, entry.queued, entry.assigned, entry.started):
                await self.write(event)
            if entry.concluded.accepted_event_id is not None:
                await self.write(entry.completed)
            await self.write(entry.concluded)


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _key_of(event: Event) -> str:
    work = getattr(event, "work", None)
    return str(work.submission_id if work is not None else getattr(event, "judgement_id", "rig"))


def queue_report(*, held: int) -> QueueReported:
    """What a cell says of its queue."""
    now = SystemClock().now_us()
    return QueueReported(
        event_id=event_id("QueueReported", now),
        at_us=now,
        applied={},
        cell=0,
        queued=held,
        running=1,
        bound=1000,
        oldest_wait_ns=5_000_000_000,
        depths=(QueueDepth(language="c", queued=held, running=1, held=held, held_reason="no executor serves c"),),
    )


def manifest() -> JudgingManifest:
    return JudgingManifest(
        problem_version=digest(b"problem"),
        cpu_time_limit_ns=1_000_000_000,
        wall_time_limit_ns=3_000_000_000,
        memory_limit_bytes=256 * 1024 * 1024,
        output_limit_bytes=8 * 1024 * 1024,
        process_limit=8,
        compile_cpu_time_limit_ns=10_000_000_000,
        compile_memory_limit_bytes=1024 * 1024 * 1024,
        test_data_digest=digest(b"tests"),
        test_count=2,
        validator_digest=digest(b"validator"),
        validator_args=(),
    )


def _run(test: str, group: str, verdict: Verdict) -> RunReport:
    slow = verdict is Verdict.TLE
    return RunReport(
        test=test,
        group=group,
        verdict=verdict,
        ending=RunEnding.STOPPED_BY_LIMIT if slow else RunEnding.EXITED,
        exit_code=None if slow else 42 if group == "secret" else 0,
        signal=None,
        limit_expired=LimitKind.CPU_TIME if slow else LimitKind.NONE,
        cpu_time_ns=1_004_000_000 if slow else 120_000_000,
        wall_time_ns=1_100_000_000 if slow else 130_000_000,
        memory_peak_bytes=12_345_678,
        output_bytes=17,
        error_bytes=0,
        stopped_processes=0,
        runnable_wait_ns=1000,
        samples_cpu_time_ns=(120_000_000,),
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(holds: Callable[[], bool], expected: str, *, seconds: float = START_SECONDS) -> None:
    """Asks again until it holds; a deadline makes it a failure that says what was expected."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"expected {expected} within {seconds} s"
        time.sleep(0.02)


def make_rig(bootstrap: str, postgres_dsn: str, state: Path) -> Rig:
    """Keys on the topic, tokens in the file, an empty database; made once, then found again."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    SigningKey.load_or_create(state / "keys" / "root.key")
    key = SigningKey.load_or_create(state / "keys" / f"executor-{EXECUTOR}.key")
    dsn = postgres_dsn.rpartition("/")[0] + "/" + DATABASE

    async def prepare() -> None:
        await publish_keys(bootstrap, state / "keys", [key], SystemClock())
        connection = await asyncpg.connect(postgres_dsn)
        if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        await connection.close()

    asyncio.run(prepare())
    rig = Rig(bootstrap=bootstrap, dsn=dsn, state=state, executor_key=key)
    for name, tenant, scopes in (
        ("reader", "rig", [Scope.READ]),
        ("jury", "rig", [Scope.READ, Scope.JURY]),
        ("submitter", "rig", [Scope.SUBMIT]),
        ("stranger", "other", [Scope.READ, Scope.JURY]),
    ):
        rig.tokens[name] = create_token(state / "tokens.json", name=name, tenant=tenant, scopes=scopes)
    return rig


def foreign_key() -> SigningKey:
    """A key that nobody published."""
    return SigningKey(f"executor-{EXECUTOR}", Ed25519PrivateKey.generate())


def state_folder(postgres_dsn: str) -> Path:
    """One folder for one set of engines, so that the keys on their topic stay those in the folder."""
    return Path("/tmp") / f"assize-verdicts-rig-{os.getpid()}-{digest(postgres_dsn.encode())[7:15]}"
