"""Starting and stopping the one-machine stack: engines, what they must hold, then the four services.

Theory of operation. `up` brings the machine to one goal from wherever it is: nothing there, half a stack, a stack whose
supervisor was stopped hard, a stack started with other settings. A lock in the state folder makes callers take turns.
A supervisor that answers and whose configuration is the wanted one is kept; any other is stopped with all it left, and
a new one begins. Programs start in the order of what they need: engines together, then topics, keys, database and
images, then the services. `down` goes the other way and does not return before nothing of the stack is left.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.images.build import ensure_images
from deploy.images.load import load_images
from deploy.local import docker_engine, furnish, leftovers, postgres_engine, provision
from deploy.local.files import locked, write_atomically
from deploy.local.folders import SERVICES, Folders, StackRefused, StackSettings, python_argv
from deploy.local.ports import keep_ports, read_ports
from deploy.local.progress import Progress
from deploy.local.readiness import Probe, await_ready, docker_probe, kafka_probe, postgres_probe, service_probe
from deploy.local.supervision import Program, ProgramState, Supervisor, Unreachable, configuration, start

ENGINES: Final = ("kafka", "postgres", "docker")
_PORTS: Final = ("kafka", "kafka_controller", "postgres", *SERVICES)
_ENGINE_DEADLINE_SECONDS: Final = 60.0
_SERVICE_DEADLINE_SECONDS: Final = 60.0
_STOP_DEADLINE_SECONDS: Final = 45.0
_ATTEMPTS: Final = 6
"""Starts of one program, each of which ended, after which `up` says so instead of waiting on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stack's addresses. `postgres_dsn` carries a password: for processes, never for a log."""

    folders: Folders
    kafka_bootstrap: str
    postgres_dsn: str
    docker_host: str
    ports: Mapping[str, int]
    embedded: frozenset[str]
    """Which of the engines are ours."""

    def url(self, service: str) -> str:
        """HTTP address of a service."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def page_url(self) -> str:
        """The page, signed in: the token stands in the fragment, which a browser sends to nobody."""
        token = self.folders.page_token.read_text().strip() if self.folders.page_token.exists() else ""
        return f"{self.url('verdicts')}/" + (f"#token={token}" if token else "")


def describe(settings: StackSettings) -> Stack:
    """The addresses of the settings' stack, as `up` would start it or has started it."""
    folders = settings.folders
    ports = read_ports(folders.ports_file)
    missing = set(_PORTS) - ports.keys()
    if missing:
        raise StackRefused(f"no stack was started yet in {settings.state}", advice="call `assize up`")
    embedded = {
        "kafka": settings.kafka_bootstrap is None,
        "postgres": settings.postgres_dsn is None,
        "docker": settings.docker_host is None,
    }
    return Stack(
        folders=folders,
        kafka_bootstrap=settings.kafka_bootstrap or f"127.0.0.1:{ports['kafka']}",
        postgres_dsn=settings.postgres_dsn or postgres_engine.dsn(folders, port=ports["postgres"]),
        docker_host=settings.docker_host or docker_engine.host(folders),
        ports=ports,
        embedded=frozenset(name for name, ours in embedded.items() if ours),
    )


def up(settings: StackSettings, progress: Progress, *, services: Sequence[str] = SERVICES) -> Stack:
    """Starts what does not run yet and returns when all of it is ready.

    Args:
        settings: where, and which engines are given.
        progress: told of every step.
        services: which services to start; none for the engines alone.

    Raises:
        StackRefused, BuildFailed: a step failed; the message says what to do. What was started stays for inspection.
    """
    folders = settings.folders
    folders.make()
    with locked(folders.run / "stack.lock", waiting=lambda: progress.say("another assize command is at work; waiting")):
        provision.provision(settings.cache, progress)
        supervisor, is_fresh = _keep_or_start(settings, progress)
        stack = describe(settings)
        asyncio.run(_start_engines(supervisor, stack, progress))
        if is_fresh and "docker" in stack.embedded:
            docker_engine.remove_containers(stack.docker_host)
        asyncio.run(_furnish(settings, stack, progress))
        _write_stack_file(stack)
        if services:
            asyncio.run(_start_services(supervisor, stack, services, progress))
        return stack


def down(settings: StackSettings, progress: Progress) -> leftovers.Leftovers:
    """Stops the stack and removes what it left. Returns what is still there, which should be nothing."""
    folders = settings.folders
    if not folders.run.exists():
        return leftovers.find(folders)
    with locked(folders.run / "stack.lock", waiting=lambda: progress.say("another assize command is at work; waiting")):
        return _stop_all(folders, progress)


def programs(settings: StackSettings, stack: Stack) -> Sequence[Program]:
    """Everything the supervisor may run for this stack."""
    launch = (str(settings.state), str(settings.cache))
    # PostgreSQL waits for its clients on SIGTERM and for nobody on SIGINT.
    signals = {"kafka": "TERM", "postgres": "INT", "docker": "TERM"}
    engines = [
        Program(
            name=name,
            argv=python_argv("deploy.local.launch", name, *launch),
            environment={},
            stop_deadline_seconds=20,
            stop_signal=signals[name],
        )
        for name in ENGINES
        if name in stack.embedded
    ]
    services = [
        Program(
            name=name,
            argv=python_argv(f"services.{name}"),
            environment=service_environment(settings, stack, name),
            stop_deadline_seconds=20,
        )
        for name in SERVICES
    ]
    return [*engines, *services]


def service_environment(settings: StackSettings, stack: Stack, service: str) -> Mapping[str, str]:
    """The settings of one service, all of them: it inherits nothing else."""
    environment = {
        "ASSIZE_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "ASSIZE_STATE_DIR": str(settings.state),
        "ASSIZE_CELL_COUNT": str(settings.cell_count),
        f"ASSIZE_{service.upper()}_HTTP_PORT": str(stack.ports[service]),
    }
    if service == "verdicts":
        environment["ASSIZE_POSTGRES_DSN"] = stack.postgres_dsn
    if service == "executor":
        environment["DOCKER_HOST"] = stack.docker_host
        environment["ASSIZE_EXECUTOR_NAME"] = furnish.LOCAL_EXECUTOR
    others = tuple(f"ASSIZE_{other.upper()}_" for other in SERVICES if other != service)
    return environment | {key: value for key, value in settings.passed_on.items() if not key.startswith(others)}


def _keep_or_start(settings: StackSettings, progress: Progress) -> tuple[Supervisor, bool]:
    folders = settings.folders
    supervisor = Supervisor(folders)
    if _runs_as_wanted(settings, supervisor):
        return supervisor, False
    found = leftovers.find(folders)
    if not found.is_clean:
        progress.say(f"clearing what an earlier run left: {found}")
    remaining = _stop_all(folders, progress)
    if remaining.processes:
        raise StackRefused(
            f"could not stop {remaining}", advice="see `ps` for what holds them, then call `assize up` again"
        )
    keep_ports(folders.ports_file, _PORTS)
    start(folders, programs(settings, describe(settings)))
    return supervisor, True


def _runs_as_wanted(settings: StackSettings, supervisor: Supervisor) -> bool:
    folders = settings.folders
    try:
        supervisor.pid()
        written = folders.supervisor_config.read_text("utf-8")
        return written == configuration(folders, programs(settings, describe(settings)))
    except (Unreachable, FileNotFoundError, StackRefused):
        return False


async def _start_engines(supervisor: Supervisor, stack: Stack, progress: Progress) -> None:
    probes: dict[str, Probe] = {
        "kafka": kafka_probe(stack.kafka_bootstrap),
        "postgres": postgres_probe(_maintenance_dsn(stack)),
        "docker": docker_probe(stack.docker_host),
    }
    for name in ENGINES:
        if name in stack.embedded:
            supervisor.start_program(name)
    for name, probe in probes.items():
        with progress.step(name if name in stack.embedded else f"{name} (given)"):
            await _await_program(
                supervisor, stack.folders, name, probe, _ENGINE_DEADLINE_SECONDS, embedded=name in stack.embedded
            )


async def _start_services(supervisor: Supervisor, stack: Stack, services: Sequence[str], progress: Progress) -> None:
    for name in services:
        supervisor.start_program(name)
    for name in services:
        with progress.step(name):
            probe = service_probe(stack.ports[name])
            await _await_program(supervisor, stack.folders, name, probe, _SERVICE_DEADLINE_SECONDS, embedded=True)


async def _await_program(
    supervisor: Supervisor, folders: Folders, name: str, probe: Probe, deadline_seconds: float, *, embedded: bool
) -> None:
    attempts: set[int] = set()

    def gave_up() -> str | None:
        if not embedded:
            return None
        status = supervisor.status()[name]
        if status.pid is not None:
            attempts.add(status.pid)
        if status.state is not ProgramState.FATAL and len(attempts) < _ATTEMPTS:
            return None
        return f"it ended {len(attempts)} times; its last words: {_last_words(folders.logs / f'{name}.log')}"

    advice = f"read `assize logs {name}`" if embedded else f"see that the {name} whose address was given runs"
    await await_ready(name, probe, deadline_seconds=deadline_seconds, gave_up=gave_up, advice=advice)


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        return "none"
    return " | ".join(line.strip()[:300] for line in lines[-3:]) or "none"


async def _furnish(settings: StackSettings, stack: Stack, progress: Progress) -> None:
    folders = stack.folders
    with progress.step("topics, keys, database"):
        await furnish.create_topics(
            stack.kafka_bootstrap, cell_count=settings.cell_count, tenants=(furnish.LOCAL_TENANT,)
        )
        await furnish.create_keys(stack.kafka_bootstrap, folders)
        furnish.create_local_tokens(folders)
        if "postgres" in stack.embedded:
            await furnish.create_database(stack.postgres_dsn)
    with progress.step("language images") as report:
        images = ensure_images(settings.cache, report)
        loaded = await asyncio.to_thread(load_images, stack.docker_host, images, report)
        write_atomically(folders.images_file, json.dumps(loaded, indent=1, sort_keys=True) + "\n", mode=0o644)


def _maintenance_dsn(stack: Stack) -> str:
    if "postgres" not in stack.embedded:
        return stack.postgres_dsn
    return postgres_engine.dsn(stack.folders, port=stack.ports["postgres"], database="postgres")


def _write_stack_file(stack: Stack) -> None:
    content = {
        "kafka_bootstrap": stack.kafka_bootstrap,
        "docker_host": stack.docker_host,
        "ingest_url": stack.url("ingest"),
        "verdicts_url": stack.url("verdicts"),
        "schema_registry_url": stack.url("verdicts"),
        "http_urls": {service: stack.url(service) for service in SERVICES},
        "embedded": sorted(stack.embedded),
        "cgroup_parent": f"/{stack.folders.tag}",
    }
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    write_atomically(stack.folders.stack_file, text, mode=0o644)


def _stop_all(folders: Folders, progress: Progress) -> leftovers.Leftovers:
    supervisor = Supervisor(folders)
    try:
        statuses = supervisor.status()
    except Unreachable:
        statuses = {}
    # Services first, while the engines they must leave in order still answer; then the engines; then the supervisor.
    for group, names in (("services", SERVICES), ("engines", ENGINES)):
        running = [name for name in names if name in statuses and statuses[name].pid is not None]
        if running:
            with progress.step(f"stopping {group}"):
                if "docker" in running:
                    docker_engine.remove_containers(docker_engine.host(folders))
                _stop_programs(supervisor, running)
    if statuses:
        _shut_down(supervisor)
    remaining = leftovers.remove(folders)
    for path in (folders.supervisor_socket, folders.supervisor_pid, folders.docker_pid, folders.docker_socket):
        path.unlink(missing_ok=True)
    return remaining


def _stop_programs(supervisor: Supervisor, names: Sequence[str]) -> None:
    for name in names:
        supervisor.stop_program(name)
    deadline = time.monotonic() + _STOP_DEADLINE_SECONDS
    while time.monotonic() < deadline:
        statuses = supervisor.status()
        if all(statuses[name].pid is None for name in names):
            return
        time.sleep(0.05)


def _shut_down(supervisor: Supervisor) -> None:
    try:
        pid = supervisor.pid()
        supervisor.shutdown()
    except Unreachable:
        return
    leftovers.await_end(pid, patience_seconds=_STOP_DEADLINE_SECONDS)
