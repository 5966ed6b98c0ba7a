"""Whether an engine or a service answers, asked the way its users ask; and waiting for it under a deadline."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import asyncpg
import docker
import httpx
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.local.folders import StackRefused

_PAUSE_SECONDS: Final = 0.1
_PROBE_SECONDS: Final = 3.0

Probe = Callable[[], Coroutine[Any, Any, str | None]]
"""None when it answers, else what it says or what went wrong."""


def kafka_probe(bootstrap: str) -> Probe:
    """The broker gives its metadata."""

    async def probe() -> str | None:
        # aiokafka logs an error for each refused connection; while waiting for a start that is no news.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        try:
            client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=3000)
            await asyncio.wait_for(client.start(), _PROBE_SECONDS)
        except (KafkaError, OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"
        await client.close()
        return None

    return probe


def postgres_probe(dsn: str) -> Probe:
    """The server answers a query."""

    async def probe() -> str | None:
        try:
            connection = await asyncpg.connect(dsn, timeout=_PROBE_SECONDS)
        except (asyncpg.PostgresError, OSError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"
        await connection.close()
        return None

    return probe


def docker_probe(host: str) -> Probe:
    """The engine answers a ping."""

    async def probe() -> str | None:
        if not host.startswith("unix://"):
            return await asyncio.to_thread(_ping_docker, host)
        # Asked without the SDK, which leaves a socket open at each refused connection.
        transport = httpx.AsyncHTTPTransport(uds=host.removeprefix("unix://"))
        try:
            async with httpx.AsyncClient(transport=transport, timeout=_PROBE_SECONDS) as client:
                answer = await client.get("http://docker/_ping")
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        return None if answer.status_code == httpx.codes.OK else f"{answer.status_code} {answer.text[:300]}"

    return probe


def service_probe(port: int) -> Probe:
    """`/readyz` says 200."""

    async def probe() -> str | None:
        try:
            async with httpx.AsyncClient(timeout=_PROBE_SECONDS, trust_env=False) as client:
                answer = await client.get(f"http://127.0.0.1:{port}/readyz")
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        return None if answer.status_code == httpx.codes.OK else f"{answer.status_code} {answer.text[:300]}"

    return probe


async def await_ready(
    name: str, probe: Probe, *, deadline_seconds: float, gave_up: Callable[[], str | None], advice: str
) -> None:
    """Probes until it answers.

    Args:
        name: for the message.
        probe: asked again and again.
        deadline_seconds: for the whole wait.
        gave_up: a reason to stop waiting early (the process will not come), or None.
        advice: what a person can do if it does not answer.

    Raises:
        StackRefused: it did not answer in time, or gave up.
    """
    deadline = time.monotonic() + deadline_seconds
    while True:
        said = await probe()
        if said is None:
            return
        reason = gave_up()
        if reason is not None or time.monotonic() > deadline:
            raise StackRefused(
                f"{name} is not ready after {deadline_seconds:.0f} s at most: {reason or said}", advice=advice
            )
        await asyncio.sleep(_PAUSE_SECONDS)


def _ping_docker(host: str) -> str | None:
    try:
        client = docker.DockerClient(base_url=host, timeout=int(_PROBE_SECONDS))
        try:
            client.ping()
        finally:
            client.close()
    except (docker.errors.DockerException, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return None
