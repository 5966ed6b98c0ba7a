"""What a stack is doing right now: state, pid, port, health and lag of every part, asked of the parts themselves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.local.folders import SERVICES, StackSettings
from deploy.local.readiness import Probe, docker_probe, kafka_probe, postgres_probe, service_probe
from deploy.local.stack import ENGINES, Stack, describe
from deploy.local.supervision import ProgramState, ProgramStatus, Supervisor, Unreachable

_LAG_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartReport:
    """One engine or service."""

    name: str
    kind: str
    """`engine` or `service`."""
    state: str
    """A supervisor's state, or GIVEN for an engine that is not ours."""
    pid: int | None
    port: int | None
    up_seconds: int
    ready: bool
    detail: str
    """Why it is not ready; empty when it is."""
    lag_records: int | None
    """Records that lie unread in front of its consumer groups; None when it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackReport:
    """The whole stack. `running` is whether its supervisor answers."""

    stack: Stack
    running: bool
    parts: Sequence[PartReport]

    @property
    def is_ready(self) -> bool:
        return self.running and all(part.ready for part in self.parts)


def report(settings: StackSettings) -> StackReport:
    """Asks every part at once.

    Raises:
        StackRefused: no stack was ever started in this state folder.
    """
    stack = describe(settings)
    try:
        statuses = Supervisor(stack.folders).status()
        running = True
    except Unreachable:
        statuses, running = {}, False
    return asyncio.run(_report(stack, statuses, running=running))


async def _report(stack: Stack, statuses: Mapping[str, ProgramStatus], *, running: bool) -> StackReport:
    probes: dict[str, Probe] = {
        "kafka": kafka_probe(stack.kafka_bootstrap),
        "postgres": postgres_probe(stack.postgres_dsn),
        "docker": docker_probe(stack.docker_host),
        **{service: service_probe(stack.ports[service]) for service in SERVICES},
    }
    asked = [name for name in probes if _is_worth_asking(name, stack, statuses)]
    said = dict(zip(asked, await asyncio.gather(*(probes[name]() for name in asked)), strict=True))
    lags = await _lags(stack.kafka_bootstrap) if said.get("kafka", "unasked") is None else {}
    parts = [_part(name, stack, statuses.get(name), said, lags) for name in probes]
    return StackReport(stack=stack, running=running, parts=parts)


def _is_worth_asking(name: str, stack: Stack, statuses: Mapping[str, ProgramStatus]) -> bool:
    if name in ENGINES and name not in stack.embedded:
        return True
    return name in statuses and statuses[name].pid is not None


def _part(
    name: str,
    stack: Stack,
    status: ProgramStatus | None,
    said: Mapping[str, str | None],
    lags: Mapping[str, int],
) -> PartReport:
    given = name in ENGINES and name not in stack.embedded
    detail = said[name] or "" if name in said else (status.reason if status else "not running")
    own_lags = [lag for group, lag in lags.items() if name in group]
    return PartReport(
        name=name,
        kind="engine" if name in ENGINES else "service",
        state="GIVEN" if given else (status.state if status else ProgramState.STOPPED).value,
        pid=status.pid if status else None,
        port=None if given else stack.ports.get(name),
        up_seconds=status.up_seconds if status else 0,
        ready=name in said and said[name] is None,
        detail=detail,
        lag_records=sum(own_lags) if own_lags else None,
    )


async def _lags(bootstrap: str) -> Mapping[str, int]:
    """{consumer group: records in front of it}; what cannot be asked in time is left out."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=3000)
    try:
        await asyncio.wait_for(client.start(), _LAG_SECONDS)
        return await asyncio.wait_for(_group_lags(client, bootstrap), _LAG_SECONDS)
    except (KafkaError, OSError, TimeoutError):
        return {}
    finally:
        await client.close()


async def _group_lags(client: AIOKafkaAdminClient, bootstrap: str) -> Mapping[str, int]:
    from aiokafka import AIOKafkaConsumer

    groups = [entry[0] for entry in await client.list_consumer_groups()]
    offsets = {group: await client.list_consumer_group_offsets(group) for group in groups}
    partitions = sorted({partition for committed in offsets.values() for partition in committed})
    if not partitions:
        return {}
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await reader.start()
    try:
        ends = await reader.end_offsets(partitions)
    finally:
        await reader.stop()
    return {
        group: sum(max(0, ends[partition] - committed.offset) for partition, committed in per_partition.items())
        for group, per_partition in offsets.items()
    }
