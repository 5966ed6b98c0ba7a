"""The scheduler's place in tests of an executor: signs and publishes assignments by hand, reads what comes back."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import uuid
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiokafka.structs import TopicPartition

from schemas.codec import decode
from schemas.events import (
    AssignmentRefused,
    CapacityReported,
    JudgementAssigned,
    JudgementCompleted,
    JudgementFaulted,
    LeaseRevoked,
    RevocationReason,
)
from schemas.headers import traceparent_of
from schemas.identity import digest, event_id, source_digest
from schemas.problems import SAMPLE, SECRET, TestEntry, encode_test_list, validator_digest
from schemas.signing import SPEC_TYPE, KeyRing, SigningKey
from schemas.spec import ExecutionSpec, encode_spec
from schemas.topics import CAPACITY, DECISIONS, JUDGEMENTS
from services.chassis.blobs import FolderBlobStore
from services.chassis.clock import SystemClock
from services.chassis.kafka import EventWriter, Incoming, Outgoing, start_consumer, start_producer, verify_incoming
from services.executor.adapters.process import MakeBackend, live
from services.executor.config import ExecutorSettings

MIB = 1024 * 1024
LAST_WORDS = (JudgementCompleted, JudgementFaulted, AssignmentRefused)


@dataclasses.dataclass(frozen=True)
class Seen:
    """One event as it was read, with its record."""

    event: Any
    incoming: Incoming


class Desk:
    """One executor's counterpart. Records are read from the moment the desk opened."""

    def __init__(self, *, executor: str, blobs: FolderBlobStore, scheduler: SigningKey, ring: KeyRing) -> None:
        self.executor = executor
        self.blobs = blobs
        self.scheduler = scheduler
        self.ring = ring
        self.seen: list[Seen] = []
        self.capacities: list[CapacityReported] = []
        self.running: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._writer: EventWriter | None = None

    @asynccontextmanager
    async def open(self, bootstrap: str):
        consumer = await start_consumer(bootstrap)
        partitions = [TopicPartition(JUDGEMENTS.name, 0), TopicPartition(CAPACITY.name, 0)]
        consumer.assign(partitions)
        for partition, end in (await consumer.end_offsets(partitions)).items():
            consumer.seek(partition, end)
        producer = await start_producer(bootstrap)
        self._writer = EventWriter(producer, source="/assize/test", key=self.scheduler)
        reading = asyncio.create_task(self._read(consumer))
        try:
            yield self
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await consumer.stop()
            await producer.stop()

    async def _read(self, consumer) -> None:
        async for message in consumer:
            incoming = Incoming.of(message)
            event = decode(incoming.value)
            if event.executor != self.executor:
                continue
            verify_incoming(incoming, self.ring)
            async with self._changed:
                if isinstance(event, CapacityReported):
                    self.capacities.append(event)
                else:
                    self.seen.append(Seen(event=event, incoming=incoming))
                self._changed.notify_all()

    async def until(self, found: Callable[[], Any], seconds: float = 30) -> Any:
        """Waits for a signal, never for time: looks again whenever a record came."""
        async with asyncio.timeout(seconds), self._changed:
            while not (result := found()):
                if self.running is not None and self.running.done():
                    # A crash is raised here; what an executor wrote before an orderly end may still be on its way.
                    self.running.result()
                await self._changed.wait()
            return result

    async def ended(self) -> None:
        """Wakes who waits: the executor has ended."""
        async with self._changed:
            self._changed.notify_all()

    async def capacity(self, holds: Callable[[CapacityReported], bool], seconds: float = 30) -> CapacityReported:
        return await self.until(
            lambda: self.capacities[-1] if self.capacities and holds(self.capacities[-1]) else None, seconds
        )

    def events_of(self, judgement_id: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.event.judgement_id == judgement_id]

    async def last_word(self, judgement_id: str, seconds: float = 60) -> Any:
        def found():
            return next((s.event for s in self.events_of(judgement_id) if isinstance(s.event, LAST_WORDS)), None)

        return await self.until(found, seconds)

    def problem(self, tests: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
        """Stores test data; what a spec says about it."""
        entries = tuple(
            TestEntry(
                name=f"{SAMPLE if number == 0 else SECRET}/{number}",
                group=SAMPLE if number == 0 else SECRET,
                input_digest=self.blobs.put_now(given),
                input_bytes=len(given),
                answer_digest=self.blobs.put_now(answer),
                answer_bytes=len(answer),
            )
            for number, (given, answer) in enumerate(tests)
        )
        listed = self.blobs.put_now(encode_test_list(entries))
        return {"test_data_digest": listed, "test_count": len(entries)}

    def spec(self, files: Sequence[tuple[str, bytes]], **changes: Any) -> ExecutionSpec:
        named = tuple((name, self.blobs.put_now(content)) for name, content in files)
        capacity = self.capacities[-1]
        language = changes.get("language", "c")
        pool = next((pool for pool in capacity.pools if pool.language == language), capacity.pools[0])
        now_us = SystemClock().now_us()
        args = changes.get("validator_args", ())
        return ExecutionSpec(
            **{
                "submission_id": str(uuid.uuid4()),
                "judgement_id": str(uuid.uuid4()),
                "lease_epoch": 1,
                "executor": self.executor,
                "incarnation": capacity.incarnation,
                "language": "c",
                "image": pool.image,
                "image_digest": pool.image_digest,
                "isolation": pool.isolation,
                "cpu_millis": 1000,
                "wall_clock_millis": 3000,
                "memory_mb": 128,
                "max_output_bytes": 1 * MIB,
                "processes": 4,
                "network": "disabled",
                "workdir_bytes": 64 * MIB,
                "workdir_inodes": 1024,
                "compile_cpu_millis": 10_000,
                "compile_wall_clock_millis": 20_000,
                "compile_memory_mb": 1024,
                "problem_version": digest(b"problem"),
                "validator_digest": validator_digest("default-1", args),
                "validator_args": args,
                "source_digest": source_digest(named),
                "entry_point": None,
                "files": named,
                "issued_at_us": now_us,
                "expires_at_us": now_us + 600_000_000,
                "key_id": self.scheduler.key_id,
            }
            | changes
        )

    async def assign(self, spec: ExecutionSpec, *, traceparent: str | None = None, **changes: Any) -> str:
        """Publishes the assignment of a spec; returns the judgement's id."""
        data = changes.pop("data", None) or encode_spec(spec)
        signature = self.scheduler.sign(SPEC_TYPE, encode_spec(spec))
        event = JudgementAssigned(
            event_id=event_id("JudgementAssigned", spec.judgement_id, spec.lease_epoch),
            at_us=spec.issued_at_us,
            applied={},
            judgement_id=spec.judgement_id,
            submission_id=spec.submission_id,
            lease_epoch=spec.lease_epoch,
            executor=spec.executor,
            incarnation=spec.incarnation,
            attempt=1,
            lease_expires_at_us=spec.expires_at_us,
            spec=data,
            spec_signature=signature.value,
            spec_key_id=signature.key_id,
        )
        await self._write(dataclasses.replace(event, **changes), traceparent)
        return spec.judgement_id

    async def revoke(self, spec: ExecutionSpec) -> None:
        await self._write(
            LeaseRevoked(
                event_id=event_id("LeaseRevoked", spec.judgement_id, spec.lease_epoch),
                at_us=SystemClock().now_us(),
                applied={},
                judgement_id=spec.judgement_id,
                submission_id=spec.submission_id,
                lease_epoch=spec.lease_epoch,
                executor=spec.executor,
                incarnation=spec.incarnation,
                reason=RevocationReason.WITHDRAWN,
                counts_attempt=False,
                detail="a test",
            ),
            None,
        )

    async def _write(self, event: Any, traceparent: str | None) -> None:
        assert self._writer is not None
        await self._writer.write(
            Outgoing(topic=DECISIONS, partition=0, key=event.judgement_id, event=event, traceparent=traceparent)
        )


@dataclasses.dataclass(frozen=True)
class Place:
    """A state folder and a name of an executor's own, with the stack's keys and images."""

    name: str
    state: Path
    key_path: Path
    stack: Any

    def environment(self, **changes: str) -> dict[str, str]:
        """Of an executor process."""
        return {
            "PATH": "/usr/bin:/bin",
            "ASSIZE_KAFKA_BOOTSTRAP": self.stack.kafka_bootstrap,
            "ASSIZE_STATE_DIR": str(self.state),
            "ASSIZE_EXECUTOR_NAME": self.name,
            "ASSIZE_EXECUTOR_IMAGES_FILE": str(self.stack.folders.images_file),
            "ASSIZE_EXECUTOR_HTTP_PORT": str(free_port()),
            "ASSIZE_EXECUTOR_DRAIN_SECONDS": "1",
            "ASSIZE_EXECUTOR_MIN_WARM": "1",
            "ASSIZE_EXECUTOR_MAX_WARM": "1",
            "DOCKER_HOST": self.stack.docker_host,
        } | changes


@contextmanager
def executor_place(stack, tmp_path: Path):
    """Makes the folder and the key of an executor; takes the key away again."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    state = tmp_path / name
    state.mkdir()
    (state / "keys").symlink_to(stack.folders.keys)
    key_path = stack.folders.keys / f"executor-{name}.key"
    SigningKey.load_or_create(key_path)
    try:
        yield Place(name=name, state=state, key_path=key_path, stack=stack)
    finally:
        key_path.unlink()


@asynccontextmanager
async def desk_of(place: Place):
    """The desk that an executor of this place reports to."""
    own = SigningKey.load(place.key_path)
    desk = Desk(
        executor=place.name,
        blobs=FolderBlobStore(place.state / "blobs"),
        scheduler=SigningKey.load(place.stack.folders.keys / "scheduler.key"),
        ring=KeyRing({own.key_id: own.public_key}),
    )
    async with desk.open(place.stack.kafka_bootstrap):
        yield desk


@asynccontextmanager
async def executor_at_desk(stack, tmp_path: Path, make_backend: MakeBackend, **changes: Any):
    """A live executor in this process, of its own name and state folder on the stack's Kafka, and its desk."""
    with executor_place(stack, tmp_path) as place:
        settings = ExecutorSettings(
            **{
                "kafka_bootstrap": stack.kafka_bootstrap,
                "state_dir": place.state,
                "name": place.name,
                "docker_host": stack.docker_host,
                "images_file": stack.folders.images_file,
                "http_port": free_port(),
                "slots": 1,
                "drain_seconds": 1,
            }
            | changes
        )
        stopping = asyncio.Event()
        async with desk_of(place) as desk:
            running = asyncio.create_task(live(settings, stopping, make_backend))
            waking: list[asyncio.Task[None]] = []
            running.add_done_callback(lambda _: waking.append(asyncio.ensure_future(desk.ended())))
            desk.settings = settings
            desk.stopping = stopping
            desk.running = running
            try:
                yield desk
                # A process that ended by itself tells why.
                if running.done():
                    running.result()
            finally:
                stopping.set()
                async with asyncio.timeout(30):
                    await asyncio.gather(running, *waking, return_exceptions=True)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def traceparent_seen(seen: Seen) -> str | None:
    return traceparent_of(seen.incoming.headers)
