"""The real engines for every suite: how to get Kafka, PostgreSQL, Docker, or the whole stack.

Ask for what a test needs; it is started once per session, and stopped at the end:

    stack            deploy.local.stack.Stack: engines running, topics, keys, tokens, images in place; no services
    kafka_bootstrap  "127.0.0.1:PORT", with every topic of schemas.topics (one cell), data fresh in each session
    postgres_dsn     the database `assize`, empty at the session's start
    fresh_database   DSN of an empty database of this test's own, dropped after it
    docker_host      "unix://…", an engine of our own (userns-remap on, cgroup parent `stack.folders.tag`)
    images           {language: image digest}; the images are loaded
    full_stack       FullStack: a second set of engines with all four services ready, for e2e and fault tests
    hurt_state       a state folder of this session's own, for a stack that the test starts and hurts itself
    assize           runs the command line against `full_stack`: assize("submit", "x.c", …) -> CompletedProcess[str]

Names of topics, databases and containers that tests make themselves should carry a name of their own: the engines are
shared by all tests of a session. Sessions that run at the same time get engines of their own (a lock per folder).
The state folders lie in /var/lib/assize/tests*; Docker's data stays there, so that images are loaded once, not per run.
Nothing is skipped: what cannot be started fails the tests that ask for it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from deploy.local.folders import Folders, StackSettings
    from deploy.local.stack import Stack
    from tests.collector import Collector

_FOLDER = "/var/lib/assize/tests"
_CONCURRENT_SESSIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class FullStack:
    """A running stack with all services."""

    stack: Stack
    settings: StackSettings

    @property
    def folders(self) -> Folders:
        return self.settings.folders

    @property
    def token(self) -> str:
        """Access token with every scope for the tenant `local`."""
        return self.folders.cli_token.read_text().strip()

    @property
    def environment(self) -> Mapping[str, str]:
        """Of a command line that talks to this stack."""
        return _environment(self.settings)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with _running(f"{_FOLDER}/engines", services=()) as (running, _settings):
        yield running


@pytest.fixture(scope="session")
def kafka_bootstrap(stack: Stack) -> str:
    return stack.kafka_bootstrap


@pytest.fixture(scope="session")
def postgres_dsn(stack: Stack) -> str:
    return stack.postgres_dsn


@pytest.fixture(scope="session")
def docker_host(stack: Stack) -> str:
    return stack.docker_host


@pytest.fixture(scope="session")
def images(stack: Stack) -> Mapping[str, str]:
    from deploy.images.load import read_images

    return read_images(stack.folders.images_file)


@pytest.fixture
def fresh_database(postgres_dsn: str) -> Iterator[str]:
    import asyncio

    import asyncpg

    name = f"test_{uuid.uuid4().hex}"

    async def ask(statement: str) -> None:
        connection = await asyncpg.connect(postgres_dsn)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(ask(f"CREATE DATABASE {name}"))
    yield postgres_dsn.rpartition("/")[0] + "/" + name
    asyncio.run(ask(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the full stack sends its traces."""
    from tests.collector import Collector

    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="session")
def full_stack(collector: Collector) -> Iterator[FullStack]:
    from deploy.local.folders import SERVICES

    extra = {"ASSIZE_OTLP_ENDPOINT": collector.url}
    with _running(f"{_FOLDER}/full", services=SERVICES, extra=extra) as (running, settings):
        yield FullStack(stack=running, settings=settings)


@pytest.fixture(scope="session")
def assize(full_stack: FullStack) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, timeout_seconds: float = 110) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            env=full_stack.environment,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def hurt_state() -> Iterator[Path]:
    with _own_folder(f"{_FOLDER}/hurt") as state:
        yield state


@contextmanager
def _running(
    folder: str, *, services: tuple[str, ...], extra: Mapping[str, str] | None = None
) -> Iterator[tuple[Stack, StackSettings]]:
    from deploy.local.progress import Progress
    from deploy.local.stack import down, up

    with _own_folder(folder) as state:
        settings = _settings(state, extra or {})
        progress = Progress(sys.__stderr__ or sys.stderr)
        down(settings, progress)
        _forget(settings.folders)
        try:
            yield up(settings, progress, services=services), settings
        finally:
            left = down(settings, progress)
        assert left.is_clean, f"the stack left behind: {left}"


def _settings(state: Path, extra: Mapping[str, str]) -> StackSettings:
    from deploy.local.folders import StackSettings

    cache = {"ASSIZE_CACHE_DIR": os.environ["ASSIZE_CACHE_DIR"]} if "ASSIZE_CACHE_DIR" in os.environ else {}
    return StackSettings.from_environment({"ASSIZE_STATE_DIR": str(state), **cache, **extra})


def _environment(settings: StackSettings) -> Mapping[str, str]:
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "ASSIZE_STATE_DIR": str(settings.state),
        "ASSIZE_CACHE_DIR": str(settings.cache),
    }


@contextmanager
def _own_folder(folder: str) -> Iterator[Path]:
    """The first folder of this name that no other session uses, held until the end."""
    Path(folder).parent.mkdir(parents=True, exist_ok=True)
    for number in range(1, _CONCURRENT_SESSIONS + 1):
        state = Path(f"{folder}-{number}")
        with state.with_suffix(".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield state
            return
    raise AssertionError(f"expected a free folder among {folder}-1…{_CONCURRENT_SESSIONS}, all are in use")


def _forget(folders: Folders) -> None:
    """Removes everything of the last session but Docker's data."""
    if not folders.state.exists():
        return
    for path in folders.state.iterdir():
        if path == folders.docker:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
