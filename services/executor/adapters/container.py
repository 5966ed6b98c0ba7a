"""Sandboxes as containers of a Docker Engine: the isolation backend `container`.

Theory of operation. A container is made with everything off that a program could reach: no network, a read-only root,
three sized folders, no capabilities but the three that the runner needs, a seccomp profile that refuses by default, a
cgroup with memory and no swap. The runner is not part of the image: it is mounted read-only as process 1. It makes a
socketpair and tells on its standard output which descriptor is ours; we take that with pidfd_getfd, so that there is
no path, no mount and no engine between us and it. What the runner needs of the cgroup it gets as descriptors.

Everything that talks to the engine blocks and runs in a thread; a run touches the channel alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import docker
import docker.errors
import requests.exceptions
from docker.types import LogConfig, Mount

from services.chassis.clock import random_id
from services.executor.adapters import seccomp
from services.executor.adapters.cgroup import ControlGroup, controllers, remove_parent_groups
from services.executor.adapters.sandbox import RunnerSandbox
from services.executor.core.faults import JudgeFault
from services.executor.core.ports import DEFAULT_FOLDER_LIMITS, FolderLimits
from services.executor.core.protocol import ANNOUNCEMENT

LABEL_EXECUTOR: Final = "assize.executor"
LABEL_INCARNATION: Final = "assize.incarnation"
RUNNER_IN_SANDBOX: Final = "/assize-runner"
CAPABILITIES: Final = ("SETUID", "SETGID", "KILL")
"""Of the runner alone: to become the program's user, and to stop what the program started."""
RUNNER_THREADS: Final = 2
BUILT_RUNNER: Final = Path(__file__).resolve().parent.parent / "runner" / "build" / "assize-runner"

_ENGINE_TIMEOUT_SECONDS: Final = 60
_ENGINE_CONNECTIONS: Final = 16
_ANNOUNCEMENT_SECONDS: Final = 30.0
_POST_MORTEM_SECONDS: Final = 10
_PIDFD_GETFD: Final = 438
_UIDS: Final = range(10_000, 60_000, 2)
"""Users of programs, two for each sandbox and none in two sandboxes: the kernel's limits for each user (pipes,
locks, processes) are shared by all sandboxes of the host."""
_STREAM_HEADER_BYTES: Final = 8

_ENGINE_ERRORS: Final = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Started:
    """A container whose runner has announced its channel."""

    housing: _Container
    taken: socket.socket
    controls: tuple[int, ...]

    def abandon(self) -> None:
        """Gives everything up."""
        self.taken.close()
        for descriptor in self.controls:
            os.close(descriptor)
        with suppress(JudgeFault):
            self.housing.remove()


class _Container:
    """One container: implements `sandbox.Housing`."""

    def __init__(self, api: docker.APIClient, *, container_id: str, group: ControlGroup, pid: int) -> None:
        self._api = api
        self._group = group
        self._pid = pid
        self.container_id = container_id

    def pin(self, cpu: int) -> None:
        self._group.pin(cpu)

    def prefer(self) -> bool:
        return self._group.prefer(self._pid)

    def processes(self) -> tuple[int, ...]:
        return self._group.processes()

    def stopped_for_memory(self) -> int | None:
        return self._group.stopped_for_memory()

    def ended_for_memory(self) -> bool:
        # Asked at once, the engine still says "no": it must have seen the end first.
        with _engine_faults("post_mortem"):
            with suppress(requests.exceptions.RequestException):
                self._api.wait(self.container_id, timeout=_POST_MORTEM_SECONDS)
            return bool(self._api.inspect_container(self.container_id)["State"]["OOMKilled"])

    def remove(self) -> None:
        self._group.close()
        with _engine_faults("remove"):
            _remove(self._api, self.container_id)


class ContainerIsolation:
    """The backend `container`: implements `ports.Isolation` on one Docker Engine of this host.

    `cgroup_parent` holds the sandboxes' groups and is removed at the end; without it the engine's own default does.
    The engine is first spoken to by the first call that needs it, and each call that finds it down faults.
    """

    def __init__(
        self,
        *,
        docker_host: str,
        executor: str,
        incarnation: str | None = None,
        cgroup_parent: str | None = None,
        runner: Path = BUILT_RUNNER,
    ) -> None:
        self._docker_host = docker_host
        self._executor = executor
        self._incarnation = incarnation or random_id()
        self._runner = runner
        self._cgroup_parent = cgroup_parent
        self._uids = itertools.cycle(_UIDS)
        self._profile = seccomp.profile()
        self._connected: docker.APIClient | None = None
        self._abandoned: set[asyncio.Task[None]] = set()
        self._connecting = threading.Lock()

    @property
    def name(self) -> str:
        """See `ports.Isolation.name`."""
        return "container"

    async def create(
        self,
        *,
        image_digest: str,
        cpu: int | None,
        memory_limit_bytes: int,
        process_limit: int,
        folders: FolderLimits = DEFAULT_FOLDER_LIMITS,
    ) -> RunnerSandbox:
        """See `ports.Isolation.create`."""
        starting = asyncio.ensure_future(
            asyncio.to_thread(
                self._start,
                image_digest=image_digest,
                cpu=cpu,
                memory_limit_bytes=memory_limit_bytes,
                process_limit=process_limit,
                folders=folders,
            )
        )
        try:
            started = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread cannot be interrupted; what it makes is removed as soon as it is there.
            abandoned = asyncio.create_task(_abandon(starting))
            self._abandoned.add(abandoned)
            abandoned.add_done_callback(self._abandoned.discard)
            raise
        uid = next(self._uids)
        sandbox = RunnerSandbox(
            sandbox_id=started.housing.container_id,
            image_digest=image_digest,
            housing=started.housing,
            taken=started.taken,
            memory_limit_bytes=memory_limit_bytes,
            process_limit=process_limit,
        )
        try:
            await sandbox.open(controls=started.controls, compile_uid=uid, test_uid=uid + 1)
        except BaseException:
            await asyncio.shield(sandbox.destroy())
            raise
        finally:
            for descriptor in started.controls:
                os.close(descriptor)
        return sandbox

    async def remove_orphans(self) -> int:
        """See `ports.Isolation.remove_orphans`."""

        def remove() -> int:
            api = self._api()
            mine = {"label": f"{LABEL_EXECUTOR}={self._executor}"}
            orphans = [
                each["Id"]
                for each in api.containers(all=True, filters=mine)
                if each["Labels"].get(LABEL_INCARNATION) != self._incarnation
            ]
            for container_id in orphans:
                _remove(api, container_id)
            return len(orphans)

        return await asyncio.to_thread(_with_engine_faults, "remove_orphans", remove)

    async def close(self) -> None:
        """See `ports.Isolation.close`. The sandboxes must have been destroyed."""
        if self._abandoned:
            await asyncio.wait(self._abandoned)
        if self._connected is not None:
            await asyncio.to_thread(self._connected.close)
        if self._cgroup_parent is not None:
            await asyncio.to_thread(remove_parent_groups, self._cgroup_parent)

    def _api(self) -> docker.APIClient:
        """The engine's client. The first call looks whether this host can isolate at all.

        Raises:
            JudgeFault: no cgroup controllers, or a runner that is not as it must be.
        """
        with self._connecting:
            if self._connected is None:
                controllers()
                _check_runner(self._runner)
                _check_engine(self._docker_host)
                self._connected = docker.APIClient(
                    base_url=self._docker_host,
                    version="auto",
                    timeout=_ENGINE_TIMEOUT_SECONDS,
                    num_pools=_ENGINE_CONNECTIONS,
                )
            return self._connected

    def _options(
        self,
        api: docker.APIClient,
        *,
        image_digest: str,
        cpu: int | None,
        memory_limit_bytes: int,
        process_limit: int,
        folders: FolderLimits,
    ) -> dict[str, Any]:
        def sized(size_bytes: int, inodes: int) -> str:
            return f"size={size_bytes},nr_inodes={inodes},mode=1777,uid=0,gid=0,exec,nosuid,nodev,noatime"

        host = api.create_host_config(
            read_only=True,
            tmpfs={
                "/box": sized(folders.artifact_bytes, folders.artifact_inodes),
                "/work": sized(folders.work_bytes, folders.work_inodes),
                "/tmp": sized(folders.work_bytes, folders.work_inodes),  # noqa: S108 - the sandbox's own
            },
            mounts=[Mount(RUNNER_IN_SANDBOX, str(self._runner), type="bind", read_only=True)],
            network_mode=None,
            ipc_mode="none",
            cap_drop=["ALL"],
            cap_add=list(CAPABILITIES),
            security_opt=["no-new-privileges", f"seccomp={self._profile}"],
            mem_limit=memory_limit_bytes,
            memswap_limit=memory_limit_bytes,
            pids_limit=process_limit + RUNNER_THREADS,
            cpuset_cpus=None if cpu is None else str(cpu),
            cgroup_parent=self._cgroup_parent,
            log_config=LogConfig(type="none"),
            init=False,
        )
        return {
            "image": image_digest,
            "entrypoint": [RUNNER_IN_SANDBOX],
            "command": [],
            "user": "0:0",
            "working_dir": "/",
            "hostname": "sandbox",
            "environment": {},
            "labels": {LABEL_EXECUTOR: self._executor, LABEL_INCARNATION: self._incarnation},
            "network_disabled": True,
            "healthcheck": {"test": ["NONE"]},
            "host_config": host,
        }

    def _start(
        self,
        *,
        image_digest: str,
        cpu: int | None,
        memory_limit_bytes: int,
        process_limit: int,
        folders: FolderLimits,
    ) -> _Started:
        with _engine_faults("sandbox_create"):
            api = self._api()
            options = self._options(
                api,
                image_digest=image_digest,
                cpu=cpu,
                memory_limit_bytes=memory_limit_bytes,
                process_limit=process_limit,
                folders=folders,
            )
            container_id = str(api.create_container(**options)["Id"])
            try:
                return _take_over(api, container_id)
            except BaseException:
                _remove(api, container_id)
                raise


async def _abandon(starting: asyncio.Future[_Started]) -> None:
    with suppress(JudgeFault):
        await asyncio.to_thread((await starting).abandon)


def _remove(api: docker.APIClient, container_id: str) -> None:
    with suppress(docker.errors.NotFound):
        api.remove_container(container_id, force=True, v=True)


def _take_over(api: docker.APIClient, container_id: str) -> _Started:
    attached = api.attach_socket(container_id, params={"stdout": 1, "stderr": 1, "stream": 1})
    stream: socket.socket = getattr(attached, "_sock", attached)
    try:
        api.start(container_id)
        number = _announced_descriptor(stream)
    finally:
        # The driver's own object closes its file only; the connection beneath would wait for the collector.
        attached.close()
        stream.close()
    pid = int(api.inspect_container(container_id)["State"]["Pid"])
    if pid == 0:
        raise JudgeFault("expected a running runner, it has ended", stage="sandbox_create", retriable=True)
    pidfd = os.pidfd_open(pid)
    try:
        # In this order: a process in the container's own group is the one that we hold, not one that took its number.
        group = ControlGroup.of_process(pid, container_id=container_id)
        taken = _take_descriptor(pidfd, number)
    finally:
        os.close(pidfd)
    try:
        controls = group.open_controls()
    except BaseException:
        taken.close()
        raise
    housing = _Container(api, container_id=container_id, group=group, pid=pid)
    return _Started(housing=housing, taken=taken, controls=controls)


def _check_engine(docker_host: str) -> None:
    """Whether somebody listens there. The driver leaks a socket for every connection that it cannot make."""
    path = docker_host.removeprefix("unix://")
    if path == docker_host:
        raise JudgeFault(
            f"expected the engine of this host at a unix:// address, got {docker_host!r}",
            stage="engine",
            retriable=False,
        )
    with socket.socket(socket.AF_UNIX) as trial:
        try:
            trial.connect(path)
        except OSError as error:
            raise JudgeFault(
                f"no container engine at {docker_host}: {error}", stage="engine", retriable=True
            ) from error


def _check_runner(runner: Path) -> None:
    try:
        found = runner.stat()
    except OSError as error:
        raise JudgeFault(
            f"expected the runner: {error}; `make runner` builds it", stage="runner", retriable=False
        ) from error
    if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not found.st_mode & stat.S_IXOTH:
        raise JudgeFault(
            f"expected {runner} to belong to root, executable by all and writable by none else, "
            f"got owner {found.st_uid} and mode {stat.filemode(found.st_mode)}",
            stage="runner",
            retriable=False,
        )


def _announced_descriptor(stream: socket.socket) -> int:
    """Reads the runner's one line from the attach stream: frames of an 8-byte header and what was written."""
    stream.settimeout(_ANNOUNCEMENT_SECONDS)
    line = b""
    while b"\n" not in line:
        header = _exactly(stream, _STREAM_HEADER_BYTES, line)
        line += _exactly(stream, min(int.from_bytes(header[4:], "big"), 4096), line)
    words = line.decode("ascii", errors="replace")
    number = words.removeprefix(ANNOUNCEMENT).strip()
    if not words.startswith(ANNOUNCEMENT) or not number.isdigit():
        raise JudgeFault(
            f"expected {ANNOUNCEMENT!r} and a number, got {words!r}", stage="sandbox_create", retriable=True
        )
    return int(number)


def _exactly(stream: socket.socket, size: int, line: bytes) -> bytes:
    content = b""
    while len(content) < size:
        part = stream.recv(size - len(content))
        if not part:
            raise JudgeFault(
                f"expected the runner to announce its channel, it ended after {line!r}",
                stage="sandbox_create",
                retriable=True,
            )
        content += part
    return content


def _take_descriptor(pidfd: int, number: int) -> socket.socket:
    """Takes a descriptor out of a process that we may trace: the runner's other end of its pair."""
    library = ctypes.CDLL(None, use_errno=True)
    descriptor = library.syscall(_PIDFD_GETFD, pidfd, number, 0)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
    return socket.socket(fileno=descriptor)


@contextmanager
def _engine_faults(stage: str) -> Iterator[None]:
    """Turns what the engine and its driver raise into our fault."""
    try:
        yield
    except _ENGINE_ERRORS as error:
        raise JudgeFault(f"the container engine: {error}", stage=stage, retriable=True) from error


def _with_engine_faults(stage: str, call: Callable[[], int]) -> int:
    with _engine_faults(stage):
        return call()
