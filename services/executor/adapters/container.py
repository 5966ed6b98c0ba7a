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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import docker
import docker.errors
import requests.exceptions
from docker.types import LogConfig, Mount

from services.executor.adapters import inputs, seccomp
from services.executor.adapters.cgroup import ControlGroup, controllers, remove_parent_groups
from services.executor.adapters.channel import Answer, RunnerChannel
from services.executor.core.faults import JudgeFault
from services.executor.core.ports import (
    DEFAULT_FOLDER_LIMITS,
    Ending,
    FolderLimits,
    Kept,
    Limit,
    RunOutcome,
    RunRequest,
    SourceFile,
)
from services.executor.core.protocol import ANNOUNCEMENT, OUTSTANDING_RUNS_MAX

LABEL_EXECUTOR: Final = "assize.executor"
LABEL_INCARNATION: Final = "assize.incarnation"
RUNNER_IN_SANDBOX: Final = "/assize-runner"
CAPABILITIES: Final = ("SETUID", "SETGID", "KILL")
"""Of the runner alone: to become the program's user, and to stop what the program started."""
BUILT_RUNNER: Final = Path(__file__).resolve().parent.parent / "runner" / "build" / "assize-runner"

_ENGINE_TIMEOUT_SECONDS: Final = 60
_ANSWER_GRACE_SECONDS: Final = 10.0
"""How much longer than its limits a run may take to be reported before the sandbox counts as lost."""
_STEP_SECONDS: Final = 30.0
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

    container_id: str
    group: ControlGroup
    taken: socket.socket
    controls: tuple[int, ...]


class ContainerIsolation:
    """The backend `container`: implements `ports.Isolation` on one Docker Engine of this host."""

    def __init__(self, *, docker_host: str, executor: str, incarnation: str, runner: Path = BUILT_RUNNER) -> None:
        self._executor = executor
        self._incarnation = incarnation
        self._runner = runner
        self._parent_group = f"/assize-{executor}"
        self._uids = itertools.cycle(_UIDS)
        self._profile = seccomp.profile()
        self._client = docker.DockerClient(
            base_url=docker_host, version="auto", timeout=_ENGINE_TIMEOUT_SECONDS, max_pool_size=16
        )

    @classmethod
    async def connect(
        cls, *, docker_host: str, executor: str, incarnation: str, runner: Path = BUILT_RUNNER
    ) -> ContainerIsolation:
        """Connects to the engine and looks whether this host can isolate at all.

        Raises:
            JudgeFault: no engine, no cgroup controllers, no runner, or a seccomp profile that allows too much.
        """
        controllers()
        _check_runner(runner)
        with _engine_faults("engine"):
            return await asyncio.to_thread(
                cls, docker_host=docker_host, executor=executor, incarnation=incarnation, runner=runner
            )

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
    ) -> ContainerSandbox:
        """See `ports.Isolation.create`."""
        options = self._options(
            image_digest=image_digest,
            cpu=cpu,
            memory_limit_bytes=memory_limit_bytes,
            process_limit=process_limit,
            folders=folders,
        )
        starting = asyncio.ensure_future(asyncio.to_thread(self._start, options))
        try:
            started = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread cannot be interrupted; what it makes is removed as soon as it is there.
            starting.add_done_callback(self._discard)
            raise
        uid = next(self._uids)
        sandbox = ContainerSandbox(
            started=started,
            image_digest=image_digest,
            memory_limit_bytes=memory_limit_bytes,
            process_limit=process_limit,
            post_mortem=lambda: self._post_mortem(started.container_id),
            remove=lambda: self._remove(started.container_id),
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
            mine = {"label": f"{LABEL_EXECUTOR}={self._executor}"}
            orphans = [
                each["Id"]
                for each in self._client.api.containers(all=True, filters=mine)
                if each["Labels"].get(LABEL_INCARNATION) != self._incarnation
            ]
            for container_id in orphans:
                self._remove(container_id)
            return len(orphans)

        with _engine_faults("remove_orphans"):
            return await asyncio.to_thread(remove)

    async def close(self) -> None:
        """See `ports.Isolation.close`. Sandboxes must have been destroyed; their parent group goes with them."""
        await asyncio.to_thread(self._client.close)
        await asyncio.to_thread(remove_parent_groups, self._parent_group)

    def _options(
        self,
        *,
        image_digest: str,
        cpu: int | None,
        memory_limit_bytes: int,
        process_limit: int,
        folders: FolderLimits,
    ) -> dict[str, Any]:
        def sized(size_bytes: int, inodes: int) -> str:
            return f"size={size_bytes},nr_inodes={inodes},mode=1777,uid=0,gid=0,exec,nosuid,nodev,noatime"

        api = self._client.api
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
            pids_limit=process_limit + 1,
            cpuset_cpus=None if cpu is None else str(cpu),
            cgroup_parent=self._parent_group,
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

    def _start(self, options: dict[str, Any]) -> _Started:
        with _engine_faults("sandbox_create"):
            container_id = str(self._client.api.create_container(**options)["Id"])
            try:
                return self._take_over(container_id)
            except BaseException:
                self._remove(container_id)
                raise

    def _take_over(self, container_id: str) -> _Started:
        api = self._client.api
        attached = api.attach_socket(container_id, params={"stdout": 1, "stderr": 1, "stream": 1})
        try:
            api.start(container_id)
            number = _announced_descriptor(attached)
        finally:
            attached.close()
        pid = int(api.inspect_container(container_id)["State"]["Pid"])
        if pid == 0:
            raise JudgeFault("expected a running runner, it has ended", stage="sandbox_create", retriable=True)
        pidfd = os.pidfd_open(pid)
        try:
            group = ControlGroup.of_process(pid, container_id=container_id)
            group.prefer(pid)
            taken = _take_descriptor(pidfd, number)
        finally:
            os.close(pidfd)
        try:
            return _Started(container_id=container_id, group=group, taken=taken, controls=group.open_controls())
        except BaseException:
            taken.close()
            raise

    def _post_mortem(self, container_id: str) -> bool:
        """Whether an ended container ran out of memory. Waits for its end first: at once it still says "no"."""
        with _engine_faults("post_mortem"):
            with suppress(requests.exceptions.RequestException):
                self._client.api.wait(container_id, timeout=_POST_MORTEM_SECONDS)
            return bool(self._client.api.inspect_container(container_id)["State"]["OOMKilled"])

    def _remove(self, container_id: str) -> None:
        with suppress(docker.errors.NotFound):
            self._client.api.remove_container(container_id, force=True, v=True)

    def _discard(self, starting: asyncio.Future[_Started]) -> None:
        if starting.cancelled() or starting.exception() is not None:
            return
        started = starting.result()
        started.taken.close()
        for descriptor in started.controls:
            os.close(descriptor)
        started.group.close()
        # Fire and forget: a failure leaves an orphan, which the next start removes.
        asyncio.get_running_loop().run_in_executor(None, self._remove, started.container_id)


class ContainerSandbox:
    """One container and its runner: implements `ports.Sandbox`."""

    def __init__(
        self,
        *,
        started: _Started,
        image_digest: str,
        memory_limit_bytes: int,
        process_limit: int,
        post_mortem: Callable[[], bool],
        remove: Callable[[], None],
    ) -> None:
        self._id = started.container_id
        self._image_digest = image_digest
        self._memory_limit_bytes = memory_limit_bytes
        self._process_limit = process_limit
        self._post_mortem = post_mortem
        self._remove = remove
        self._group = started.group
        self._loop = asyncio.get_running_loop()
        self._lost: str | None = None
        self._burial: asyncio.Task[None] | None = None
        self._destruction: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._owed_seconds = 0.0
        self._channel = RunnerChannel(started.taken, on_lost=self._on_lost)

    @property
    def sandbox_id(self) -> str:
        """See `ports.Sandbox.sandbox_id`: the container's id."""
        return self._id

    @property
    def image_digest(self) -> str:
        """See `ports.Sandbox.image_digest`."""
        return self._image_digest

    @property
    def control_group(self) -> ControlGroup:
        """For those who must see that nothing is left: tests and preflight."""
        return self._group

    async def open(self, *, controls: Sequence[int], compile_uid: int, test_uid: int) -> None:
        """Waits for the runner's first words and gives it its controls and users.

        Raises:
            JudgeFault: it said nothing, or nothing that can be believed.
        """
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                await self._channel.hello()
        except (TimeoutError, asyncio.CancelledError) as error:
            if self._lost is None and isinstance(error, asyncio.CancelledError):
                raise
            reason = self._lost or "the runner said nothing"
            raise JudgeFault(reason, stage="sandbox_create", retriable=True) from error
        frame = self._channel.conversation.configure(controls=controls, compile_uid=compile_uid, test_uid=test_uid)
        await self._answered(self._channel.ask(frame), stage="sandbox_create")

    async def pin(self, cpu: int) -> None:
        """See `ports.Sandbox.pin`."""
        try:
            self._group.pin(cpu)
        except OSError as error:
            raise JudgeFault(f"CPU {cpu}: {error}", stage="pin", retriable=True) from error

    async def place(self, files: Sequence[SourceFile]) -> None:
        """See `ports.Sandbox.place`."""
        for file in files:
            self._require_alive("place")
            content = inputs.seal(file.content)
            try:
                frame = self._channel.conversation.place(
                    name=file.name,
                    size_bytes=content.size_bytes,
                    executable=file.executable,
                    descriptor=content.descriptor,
                )
                await self._answered(self._channel.ask(frame), stage="place")
            finally:
                os.close(content.descriptor)

    def run(self, request: RunRequest) -> asyncio.Future[RunOutcome]:
        """See `ports.Sandbox.run`. The request is on its way when this returns."""
        outcome: asyncio.Future[RunOutcome] = self._loop.create_future()
        # A run that nobody awaits (it was on its way when the deciding one ended) must not warn about its fault.
        outcome.add_done_callback(_look_at)
        if objection := self._objection(request):
            outcome.set_exception(JudgeFault(objection, stage="run", retriable=False))
            return outcome
        if self._lost is not None:
            outcome.set_exception(JudgeFault(self._lost, stage="run", retriable=True))
            return outcome
        stdin = None if request.stdin is None else inputs.reader(request.stdin)
        answer = self._channel.ask(self._channel.conversation.run(request, stdin=stdin))
        seconds = request.limits.wall_time_limit_ns / 1e9 + _ANSWER_GRACE_SECONDS
        self._owe(seconds)

        def report(answered: asyncio.Future[Answer]) -> None:
            if stdin is not None:
                os.close(stdin)
            self._owe(-seconds)
            _pass_on(answered, outcome)

        answer.add_done_callback(report)
        return outcome

    async def seal(self) -> None:
        """See `ports.Sandbox.seal`."""
        self._require_alive("seal")
        await self._answered(self._channel.ask(self._channel.conversation.seal()), stage="seal")

    async def destroy(self) -> None:
        """See `ports.Sandbox.destroy`."""
        if self._destruction is None:
            self._destruction = self._loop.create_task(self._destroy())
        await asyncio.shield(self._destruction)

    async def _destroy(self) -> None:
        self._lost = self._lost or "the sandbox was destroyed"
        waiting = self._channel.take_waiting()
        self._channel.close()
        for answer in waiting:
            answer.set_exception(JudgeFault(self._lost, stage="run", retriable=True))
        if self._deadline is not None:
            self._deadline.cancel()
        if self._burial is not None:
            await asyncio.wait([self._burial])
        # A container that cannot be removed now is an orphan, and found by its label later.
        with suppress(*_ENGINE_ERRORS):
            await asyncio.to_thread(self._remove)
        self._group.close()

    def _require_alive(self, stage: str) -> None:
        if self._lost is not None:
            raise JudgeFault(self._lost, stage=stage, retriable=True)

    def _objection(self, request: RunRequest) -> str | None:
        limits = request.limits
        if limits.memory_limit_bytes > self._memory_limit_bytes:
            return f"expected at most the sandbox's {self._memory_limit_bytes} bytes, got {limits.memory_limit_bytes}"
        if limits.process_limit > self._process_limit:
            return f"expected at most the sandbox's {self._process_limit} processes, got {limits.process_limit}"
        if self._channel.conversation.runs_outstanding >= OUTSTANDING_RUNS_MAX:
            return f"expected at most {OUTSTANDING_RUNS_MAX} runs outstanding"
        return None

    async def _answered(self, answer: asyncio.Future[Answer], *, stage: str) -> None:
        try:
            async with asyncio.timeout(_STEP_SECONDS + self._owed_seconds):
                await answer
        except TimeoutError as error:
            self._channel.lose(f"no answer within {_STEP_SECONDS:.0f} s")
            raise JudgeFault("the runner did not answer", stage=stage, retriable=True) from error

    def _owe(self, seconds: float) -> None:
        """Moves the moment by which everything that was asked for must have been reported."""
        self._owed_seconds += seconds
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._owed_seconds > _ANSWER_GRACE_SECONDS / 2 and self._lost is None:
            late = f"no report within {self._owed_seconds:.0f} s"
            self._deadline = self._loop.call_later(self._owed_seconds, self._channel.lose, late)

    def _on_lost(self, reason: str) -> None:
        self._lost = reason
        self._burial = self._loop.create_task(self._bury(reason, self._channel.take_waiting()))

    async def _bury(self, reason: str, waiting: list[asyncio.Future[Answer]]) -> None:
        """Finds out whether memory ended the sandbox, which is the program's doing, and answers what was asked."""
        stopped = self._group.stopped_for_memory()
        hungry = bool(stopped)
        if stopped is None:
            try:
                hungry = await asyncio.to_thread(self._post_mortem)
            except JudgeFault as fault:
                reason = f"{reason}; {fault}"
        for position, answer in enumerate(waiting):
            if answer.done():
                continue
            if hungry and position == 0:
                answer.set_result(_lost_for_memory(self._memory_limit_bytes))
            else:
                answer.set_exception(JudgeFault(reason, stage="sandbox", retriable=True))


def _lost_for_memory(memory_bytes: int) -> RunOutcome:
    return RunOutcome(
        ending=Ending.SANDBOX_LOST,
        exit_code=None,
        signal=None,
        limit_expired=Limit.MEMORY,
        cpu_time_ns=0,
        wall_time_ns=0,
        memory_peak_bytes=memory_bytes,
        stdout=b"",
        stdout_length_bytes=0,
        stderr=Kept(head=b"", tail=b"", length_bytes=0),
        stopped_processes=0,
        runnable_wait_ns=0,
        refused_calls=0,
    )


def _look_at(outcome: asyncio.Future[RunOutcome]) -> None:
    if not outcome.cancelled():
        outcome.exception()


def _pass_on(answered: asyncio.Future[Answer], outcome: asyncio.Future[RunOutcome]) -> None:
    if outcome.done():
        if not answered.cancelled():
            answered.exception()
        return
    if answered.cancelled():
        outcome.set_exception(JudgeFault("the sandbox was destroyed", stage="run", retriable=True))
        return
    error = answered.exception()
    if error is not None:
        outcome.set_exception(error)
        return
    answer = answered.result()
    assert answer is not None, "a run is answered with an outcome"
    outcome.set_result(answer)


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


def _announced_descriptor(attached: Any) -> int:
    """Reads the runner's one line from the attach stream: frames of an 8-byte header and what was written."""
    stream: socket.socket = getattr(attached, "_sock", attached)
    stream.settimeout(_STEP_SECONDS)
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
