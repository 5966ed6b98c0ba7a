"""An executor process around any isolation backend: keys, Kafka, blobs, HTTP and the service, started and stopped."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI

from deploy.images.recipe import load_recipes
from schemas.signing import KeyRefused, SigningKey
from services.chassis.blobs import BlobStore, FolderBlobStore
from services.chassis.clock import SystemClock, random_id
from services.chassis.faults import StartRefused
from services.chassis.http import serve, serve_health, serve_problems
from services.chassis.kafka import EventWriter, start_producer
from services.chassis.keys import load_trusted_keys
from services.executor.adapters.data import JudgementData
from services.executor.adapters.judgement import Tools
from services.executor.adapters.kafka import DecisionReader
from services.executor.adapters.service import ExecutorService, images_of
from services.executor.adapters.warm import Prove, WarmPools
from services.executor.config import ExecutorSettings
from services.executor.core.assignments import Identity
from services.executor.core.plan import MEBIBYTE
from services.executor.core.ports import InputStore, Isolation
from services.executor.core.slots import Slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What judges: sandboxes, the inputs they read, and the proof that their limits hold."""

    isolation: Isolation
    inputs: InputStore
    prove: Prove


MakeBackend = Callable[[ExecutorSettings, BlobStore, str], Backend]
"""From settings, blob store and this process's incarnation."""


async def live(settings: ExecutorSettings, stopping: asyncio.Event, make_backend: MakeBackend) -> None:
    """Runs an executor until `stopping` is set, and drains it.

    Raises:
        StartRefused: a key, the root's public key or the HTTP address is not as it must be.
    """
    try:
        key = SigningKey.load(settings.key_path)
    except KeyRefused as error:
        raise StartRefused(str(error)) from error
    blobs = FolderBlobStore(settings.blobs_dir)
    incarnation = random_id()
    backend = make_backend(settings, blobs, incarnation)
    trusted = await load_trusted_keys(settings.kafka_bootstrap, settings.keys_dir)
    producer = await start_producer(settings.kafka_bootstrap)
    reader = await DecisionReader.open(settings.kafka_bootstrap, settings.cell)
    clock = SystemClock()

    service: ExecutorService

    def capacity_changed() -> None:
        service.capacity_changed()

    pools = WarmPools(
        isolation=backend.isolation,
        recipes=load_recipes(),
        bounds=settings.bounds(),
        shape_of=settings.warm_shape,
        prove=backend.prove,
        clock=clock,
        changed=capacity_changed,
    )
    service = ExecutorService(
        identity=Identity(
            executor=settings.name,
            incarnation=incarnation,
            isolation=backend.isolation.name,
            max_memory_bytes=settings.sandbox_max_memory_mb * MEBIBYTE,
        ),
        cell=settings.cell,
        slots=Slots.of(settings.slot_cpus()),
        pools=pools,
        tools=Tools(
            pools=pools,
            inputs=backend.inputs,
            data=JudgementData(blobs, answer_budget_bytes=settings.answer_cache_mb * MEBIBYTE),
            clock=clock,
        ),
        isolation=backend.isolation,
        blobs=blobs,
        writer=EventWriter(producer, source=f"/assize/executor/{settings.name}", key=key),
        reader=reader,
        trusted=trusted,
        images=images_of(settings.images_path),
        clock=clock,
        drain_seconds=settings.drain_seconds,
    )
    _leave_to_slots(settings.slot_cpus())
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(service.run(stopping))
            tasks.create_task(_serve(settings, service, stopping))
    except* StartRefused as refusals:
        raise StartRefused("; ".join(str(refusal) for refusal in refusals.exceptions)) from refusals
    finally:
        await reader.close()
        await producer.stop()
        await backend.isolation.close()


def _leave_to_slots(cpus: tuple[int | None, ...]) -> None:
    """Keeps this process off the CPUs of its slots, where there are others: it would be in its own programs' way."""
    others = os.sched_getaffinity(0) - set(cpus)
    if others:
        os.sched_setaffinity(0, others)


async def _serve(settings: ExecutorSettings, service: ExecutorService, stopping: asyncio.Event) -> None:
    app = FastAPI(title="Assize executor", openapi_url=None, docs_url=None, redoc_url=None)
    serve_problems(app)

    async def ready() -> dict[str, object]:
        return service.readiness()

    serve_health(app, ready)
    await serve(app, host=settings.http_host, port=settings.http_port, stopping=stopping)
