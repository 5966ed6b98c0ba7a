"""What a stack leaves behind when it is stopped hard, found by marks that only this stack's things carry.

Processes: SUPERVISOR_SERVER_URL of this state folder in their environment, or membership in the stack's cgroup
(containers' processes carry no environment of ours). Mounts: beneath the state folder. Cgroups: the stack's tag in each
hierarchy. Nothing is ever matched by a broad name.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.folders import Folders

_CGROUPS: Final = Path("/sys/fs/cgroup")
_GRACE_SECONDS: Final = 10.0
_END_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What was found; all empty on a clean machine."""

    processes: Sequence[int]
    mounts: Sequence[str]
    cgroups: Sequence[Path]

    @property
    def is_clean(self) -> bool:
        return not (self.processes or self.mounts or self.cgroups)

    def __str__(self) -> str:
        parts = []
        if self.processes:
            parts.append("processes " + ", ".join(f"{pid} ({command(pid)})" for pid in self.processes))
        if self.mounts:
            parts.append("mounts " + ", ".join(self.mounts))
        if self.cgroups:
            parts.append(f"{len(self.cgroups)} cgroups")
        return "; ".join(parts) or "nothing"


def find(folders: Folders) -> Leftovers:
    """Everything of this stack that is there now, running or not."""
    cgroups = _stack_cgroups(folders)
    return Leftovers(
        processes=sorted({*_marked_processes(folders), *_members(cgroups)} - {os.getpid()}),
        mounts=_mounts(folders),
        cgroups=cgroups,
    )


def remove(folders: Folders) -> Leftovers:
    """Stops and removes everything of this stack. Returns what could not be removed.

    What runs in containers is stopped hard. Other processes are first asked (SIGTERM), so that a database can close;
    what stays after the grace is stopped hard too.
    """
    end_members(folders)
    _end(folders, signal.SIGTERM, _GRACE_SECONDS)
    _end(folders, signal.SIGKILL, _END_SECONDS)
    unmount_beneath(folders.state)
    for cgroup in _stack_cgroups(folders):
        _remove_cgroup(cgroup)
    return find(folders)


def await_end(pid: int, *, patience_seconds: float) -> bool:
    """Waits for a process to end; whether it has."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], patience_seconds)[0])
    finally:
        os.close(descriptor)


def end_process(pid: int, *, grace_seconds: float) -> None:
    """Asks one process to leave, stops it hard after the grace, and returns when it has ended."""
    _signal([pid], signal.SIGTERM)
    if not await_end(pid, patience_seconds=grace_seconds):
        _signal([pid], signal.SIGKILL)
        await_end(pid, patience_seconds=grace_seconds)


def end_members(folders: Folders) -> None:
    """Stops hard what runs in the stack's cgroups, that is in its containers."""
    deadline = time.monotonic() + _END_SECONDS
    while (members := _members(_stack_cgroups(folders))) and time.monotonic() < deadline:
        _signal(members, signal.SIGKILL)
        time.sleep(0.02)


def unmount_beneath(folder: Path) -> int:
    """Unmounts everything mounted at or beneath `folder`, the innermost first; returns how many."""
    within = str(folder)
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    targets = [unescaped for mount in mounts if _beneath(unescaped := _unescape(mount), within)]
    for target in reversed(targets):
        subprocess.run(["umount", "--lazy", target], capture_output=True, check=False)
    return len(targets)


def is_running(pid: int, name: str) -> bool:
    """Whether `pid` is a living process called `name`; a zombie is not living."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    command, _, rest = status.partition("(")[2].rpartition(")")
    return command == name and rest.split()[0] not in ("Z", "X")


def _beneath(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _unescape(mount: str) -> str:
    return mount.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def command(pid: int) -> str:
    """Short name of a process, for people."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"


def _end(folders: Folders, number: signal.Signals, patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    told: set[int] = set()
    while (processes := find(folders).processes) and time.monotonic() < deadline:
        # Again for newcomers: a supervisor of its own kind may start a child while we look.
        _signal((pid for pid in processes if pid not in told or number is signal.SIGKILL), number)
        told.update(processes)
        time.sleep(0.1)


def _signal(processes: Iterable[int], number: signal.Signals) -> None:
    for pid in processes:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _marked_processes(folders: Folders) -> list[int]:
    mark = f"SUPERVISOR_SERVER_URL=unix://{folders.supervisor_socket}".encode()
    config = str(folders.supervisor_config).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if _is_zombie(entry):
                continue
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
            elif config in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))  # supervisord itself
        except OSError:
            continue
    return found


def _is_zombie(entry: Path) -> bool:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")


def _stack_cgroups(folders: Folders) -> list[Path]:
    hierarchies = [_CGROUPS, *(path for path in _CGROUPS.iterdir() if path.is_dir() and not path.is_symlink())]
    return sorted(path for hierarchy in hierarchies if (path := hierarchy / folders.tag).is_dir())


def _members(cgroups: Iterable[Path]) -> set[int]:
    members: set[int] = set()
    for cgroup in cgroups:
        for folder, _, _ in os.walk(cgroup):
            try:
                members.update(int(line) for line in (Path(folder) / "cgroup.procs").read_text().split())
            except OSError:
                continue
    # The kernel shows 0 for a process of another pid namespace, and signalling 0 would end this process's own group.
    return members - {0}


def _mounts(folders: Folders) -> list[str]:
    within = f"{folders.state}/"
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [mount for mount in mounts if mount.startswith(within)]


def _remove_cgroup(cgroup: Path) -> None:
    for folder, _, _ in os.walk(cgroup, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            continue
