"""What the pipeline adds to judging: latency in an idle cell, and submissions a second.

    python -m bench.pipeline

Kafka, Postgres, ingest, scheduler and verdicts are real; the executor is real but for its sandboxes, which judge
instantly. Latency is from the submission's append to the verdict's append (record times on the log), less the time
between the executor's own start and completion. Throughput is a burst through the intake topic, from the first
submission's append to the last verdict's append.
"""

from __future__ import annotations

import asyncio
import io
import os
import statistics
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping

import httpx
import psutil
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from bench.results import percentile, write_results
from deploy.local.folders import StackSettings
from deploy.local.furnish import LOCAL_TENANT
from deploy.local.progress import Progress
from deploy.local.stack import Stack, down, service_environment, up
from deploy.local.supervision import Supervisor
from schemas.codec import decode
from schemas.events import IntakeFile, JudgementCompleted, SubmissionReceived, SubmissionRequested, VerdictRecorded
from schemas.identity import submission_id
from schemas.topics import JUDGEMENTS, SUBMISSIONS, VERDICTS, intake_topic
from services.chassis.clock import SystemClock, random_id
from services.chassis.kafka import EventWriter, Outgoing, read_to_end, start_consumer, start_producer

LATENCY_SUBMISSIONS = 300
BURST_SUBMISSIONS = 3000
SLOTS = 32
STATE = "/var/lib/assize/bench"


def main() -> int:
    settings = StackSettings.from_environment({"ASSIZE_STATE_DIR": STATE})
    progress = Progress(sys.stderr)
    down(settings, progress)
    stack = up(settings, progress, services=("ingest", "scheduler", "verdicts"))
    environment = dict(service_environment(settings, stack, "executor")) | {
        "ASSIZE_EXECUTOR_SLOTS": str(SLOTS),
        "ASSIZE_EXECUTOR_PIN_CPUS": "false",
        "ASSIZE_EXECUTOR_MIN_WARM": str(SLOTS),
        "ASSIZE_EXECUTOR_MAX_WARM": str(SLOTS),
        "ASSIZE_EXECUTOR_WARM_MEMORY_MB": "65536",
        "PATH": os.environ["PATH"],
    }
    executor = subprocess.Popen([sys.executable, "-m", "bench.instant_executor"], env=environment)
    try:
        _publish(stack, settings)
        asyncio.run(_measure(stack, lambda: _cpu_seconds(settings, executor.pid)))
    finally:
        executor.terminate()
        executor.wait(30)
        down(settings, progress)
    return 0


def _publish(stack: Stack, settings: StackSettings) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("problem.yaml", "name: Echo\nlimits: {time_limit: 1}\n")
        for number in range(3):
            archive.writestr(f"data/secret/{number}.in", f"{number}\n")
            archive.writestr(f"data/secret/{number}.ans", f"{number}\n")
    token = settings.folders.cli_token.read_text().strip()
    response = httpx.put(
        f"{stack.url('ingest')}/v1/problems/echo",
        content=out.getvalue(),
        headers={"authorization": f"Bearer {token}", "content-type": "application/zip"},
        timeout=30,
    )
    assert response.status_code in {200, 201}, response.text


def _cpu_seconds(settings: StackSettings, executor_pid: int) -> dict[str, float]:
    """CPU time of each part so far."""
    pids = {name: status.pid for name, status in Supervisor(settings.folders).status().items() if status.pid}
    spent = {}
    for name, pid in (pids | {"executor": executor_pid}).items():
        times = psutil.Process(pid).cpu_times()
        spent[name] = times.user + times.system
    return spent


async def _measure(stack: Stack, cpu_seconds: Callable[[], Mapping[str, float]]) -> None:
    producer = await start_producer(stack.kafka_bootstrap)
    writer = EventWriter(producer, source="/assize/bench")
    verdicts = await start_consumer(stack.kafka_bootstrap)
    try:
        await _one_by_one(writer, verdicts, "warm-up", 20)
        quiet = await _one_by_one(writer, verdicts, "latency", LATENCY_SUBMISSIONS)
        before = cpu_seconds()
        burst = [f"burst-{random_id()}" for _ in range(BURST_SUBMISSIONS)]
        for acknowledged in [await _request(writer, request) for request in burst]:
            await acknowledged
        await _await_verdicts(verdicts, {submission_id(LOCAL_TENANT, request) for request in burst})
        after = cpu_seconds()
    finally:
        await verdicts.stop()
        await producer.stop()
    spent = {name: round((after[name] - before[name]) / len(burst) * 1000, 2) for name in sorted(before)}
    await _report(stack, quiet, burst, spent)


async def _one_by_one(writer: EventWriter, verdicts: AIOKafkaConsumer, name: str, count: int) -> list[str]:
    requests = [f"{name}-{random_id()}" for _ in range(count)]
    for request in requests:
        await (await _request(writer, request))
        await _await_verdicts(verdicts, {submission_id(LOCAL_TENANT, request)})
    return requests


async def _request(writer: EventWriter, request: str) -> asyncio.Future[object]:
    event = SubmissionRequested(
        request_id=request,
        problem="echo",
        language="python3",
        files=(IntakeFile(name="main.py", content=b"print(input())\n"),),
        requested_at_us=SystemClock().now_us(),
    )
    outgoing = Outgoing(topic=intake_topic(LOCAL_TENANT), partition=0, key=request, event=event)
    return await writer.send(outgoing)


async def _await_verdicts(verdicts: AIOKafkaConsumer, awaited: set[str]) -> None:
    """Reads verdicts until all that are awaited came."""
    if not verdicts.assignment():
        partition = TopicPartition(VERDICTS.name, 0)
        verdicts.assign([partition])
        await verdicts.seek_to_beginning(partition)
    left = set(awaited)
    async with asyncio.timeout(120):
        while left:
            for message in [
                message for batch in (await verdicts.getmany(timeout_ms=500)).values() for message in batch
            ]:
                event = decode(message.value)
                assert isinstance(event, VerdictRecorded)
                left.discard(event.submission_id)


async def _report(stack: Stack, quiet: list[str], burst: list[str], spent_ms: Mapping[str, float]) -> None:
    received, recorded, judging = await _times(stack)
    ids = [submission_id(LOCAL_TENANT, request) for request in quiet]
    added = [recorded[one] - received[one] - judging[one] for one in ids]
    ids = [submission_id(LOCAL_TENANT, request) for request in burst]
    seconds = (max(recorded[one] for one in ids) - min(received[one] for one in ids)) / 1000
    write_results(
        "pipeline",
        command="python -m bench.pipeline",
        figures={
            "added_latency_p50_ms": round(statistics.median(added), 1),
            "added_latency_p99_ms": round(percentile(added, 0.99), 1),
            "latency_submissions": len(added),
            "burst_submissions": len(burst),
            "burst_seconds": round(seconds, 2),
            "submissions_per_second": round(len(burst) / seconds, 1),
            "burst_cpu_ms_per_submission": dict(spent_ms),
        },
        limits={
            "added_latency_p50_ms": "<= 40",
            "added_latency_p99_ms": "<= 150",
            "submissions_per_second": ">= 300",
        },
    )


async def _times(stack: Stack) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """By submission, in ms: its append, its verdict's append, and how long the executor had it."""
    received: dict[str, float] = {}
    recorded: dict[str, float] = {}
    judging: dict[str, float] = {}
    for topic in (SUBMISSIONS, VERDICTS, JUDGEMENTS):
        for incoming in await read_to_end(stack.kafka_bootstrap, topic.name, [0]):
            match decode(incoming.value):
                case SubmissionReceived(work=work):
                    received[work.submission_id] = incoming.timestamp_ms
                case VerdictRecorded(submission_id=submission):
                    recorded[submission] = incoming.timestamp_ms
                case JudgementCompleted() as completed:
                    judging[completed.submission_id] = (completed.at_us - completed.started_at_us) / 1000
                case _:
                    pass
    return received, recorded, judging


if __name__ == "__main__":
    sys.exit(main())
