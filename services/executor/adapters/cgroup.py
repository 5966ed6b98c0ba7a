"""The cgroup of a sandbox, version 1: the only place that knows its files.

The host opens the counters and limits and passes them to the runner, which reads and writes them between runs; that
keeps pipelined runs exact and costs no system call on the host. Version 2 needs another class with the same methods
and another way to the same evidence (its peak can be reset per open file only since Linux 6.12).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from services.executor.core.faults import JudgeFault

_NEEDED: Final = ("memory", "cpuacct", "pids", "cpuset", "cpu")
_REALTIME_PERIOD_US: Final = 100_000
_REALTIME_RUNTIME_US: Final = 10_000
"""Of each period, what the watchdog of a working sandbox may use ahead of the programs: it needs microseconds to look,
and a few milliseconds to stop some hundred processes."""
_REALTIME_SHARE_US: Final = 100_000
"""The same share in the parent group, whose period is the kernel's default of a second."""
_REALTIME_PRIORITY: Final = 1
_LESS_NICE: Final = -20


def controllers() -> Mapping[str, Path]:
    """Where this machine has mounted the controllers that a sandbox needs.

    Raises:
        JudgeFault: one is missing; names it and says what was found.
    """
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="ascii", errors="replace").splitlines():
        mounted, _, described = line.partition(" - ")
        kind, _, options = described.partition(" ")
        if kind != "cgroup":
            continue
        for option in options.rpartition(" ")[2].split(","):
            found.setdefault(option, Path(mounted.split(" ")[4]))
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise JudgeFault(
            f"expected the cgroup v1 controllers {', '.join(_NEEDED)}; missing here: {', '.join(missing)}",
            stage="cgroup",
            retriable=False,
        )
    return {name: found[name] for name in _NEEDED}


class ControlGroup:
    """The group that one container's processes live in. Not theirs to change: they see it read-only."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self._oom_state = -1

    @classmethod
    def of_process(cls, pid: int, *, container_id: str) -> ControlGroup:
        """The group of a container's first process.

        Raises:
            JudgeFault: the process is not in a group of its own, named after the container.
        """
        mounts = controllers()
        paths: dict[str, str] = {}
        for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines():
            _, names, path = line.split(":", 2)
            paths.update(dict.fromkeys(names.split(","), path))
        folders = {name: mounts[name] / paths.get(name, "/").lstrip("/") for name in _NEEDED}
        strays = [str(folder) for folder in folders.values() if folder.name != container_id]
        if strays:
            raise JudgeFault(
                f"expected the sandbox in groups named {container_id}, got {strays}", stage="cgroup", retriable=False
            )
        return cls(folders)

    def open_controls(self) -> tuple[int, ...]:
        """Opens what CONFIGURE passes, in the order of `protocol.CONTROLS`. The caller closes them.

        From here on memory that runs out is told to the runner instead of to the kernel's killer: the runner stops the
        program, and cannot be chosen in its place.
        """
        memory, opened = self._folders["memory"], list[int]()

        def take(folder: Path, name: str, flags: int) -> int:
            opened.append(os.open(folder / name, flags | os.O_CLOEXEC))
            return opened[-1]

        try:
            take(self._folders["cpuacct"], "cpuacct.usage", os.O_RDONLY)
            take(memory, "memory.max_usage_in_bytes", os.O_RDWR)
            take(memory, "memory.usage_in_bytes", os.O_RDONLY)
            take(memory, "memory.limit_in_bytes", os.O_RDWR)
            take(memory, "memory.memsw.limit_in_bytes", os.O_RDWR)
            state = take(memory, "memory.oom_control", os.O_RDONLY)
            event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            opened.append(event)
            (memory / "cgroup.event_control").write_text(f"{event} {state}", encoding="ascii")
            (memory / "memory.oom_control").write_text("1", encoding="ascii")
            take(self._folders["pids"], "pids.max", os.O_RDWR)
            self._oom_state = os.dup(state)
        except OSError:
            for descriptor in opened:
                os.close(descriptor)
            raise
        return tuple(opened)

    def pin(self, cpu: int) -> None:
        """Binds all processes of the group to one CPU."""
        (self._folders["cpuset"] / "cpuset.cpus").write_text(str(cpu), encoding="ascii")

    def prefer(self, pid: int) -> bool:
        """Lets the runner's watchdog run ahead of the programs, so that a limit means its moment. False if impossible.

        With 64 busy processes on the same core the runner otherwise waits for its turn: 150 ms in the median and up to
        a second from the limit to the last process gone, against 5 and 10 ms (2026-11-24) with a real-time class, which
        programs do not inherit. The kernel lends real time to a host's groups up to 95 % in all; past that the weight
        must do.
        """
        # Less nice costs nothing and is nobody else's business: the weight counts within the group alone.
        with suppress(OSError):
            os.sched_setscheduler(pid, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, pid, _LESS_NICE)
        watchdogs = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)]
        try:
            self._lend_realtime()
            for watchdog in watchdogs:
                policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
                os.sched_setscheduler(watchdog, policy, os.sched_param(_REALTIME_PRIORITY))
        except OSError:
            return False
        return bool(watchdogs)

    def _lend_realtime(self) -> None:
        group = self._folders["cpu"]
        (group / "cpu.rt_period_us").write_text(str(_REALTIME_PERIOD_US), encoding="ascii")
        try:
            (group / "cpu.rt_runtime_us").write_text(str(_REALTIME_RUNTIME_US), encoding="ascii")
        except OSError:
            # The parent lends what it has: it needs one share more for one sandbox more at work.
            share = group.parent / "cpu.rt_runtime_us"
            more = int(share.read_text(encoding="ascii")) + _REALTIME_SHARE_US
            share.write_text(str(more), encoding="ascii")
            (group / "cpu.rt_runtime_us").write_text(str(_REALTIME_RUNTIME_US), encoding="ascii")

    def stopped_for_memory(self) -> int | None:
        """How many processes the kernel stopped for memory; None once the group is gone."""
        try:
            text = os.pread(self._oom_state, 4096, 0).decode("ascii")
        except OSError:
            return None
        fields = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
        return int(fields.get("oom_kill", "0"))

    def processes(self) -> tuple[int, ...]:
        """The processes in the group, as the host numbers them."""
        with suppress(FileNotFoundError):
            return tuple(int(line) for line in (self._folders["pids"] / "cgroup.procs").read_text().split())
        return ()

    def close(self) -> None:
        if self._oom_state >= 0:
            os.close(self._oom_state)
            self._oom_state = -1


def remove_parent_groups(name: str) -> None:
    """Removes the empty groups that the engine made to hold our containers' groups."""
    for folder in {mount / name.lstrip("/") for mount in controllers().values()}:
        with suppress(OSError):
            folder.rmdir()
