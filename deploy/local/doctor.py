"""Why does it not work here? Each check looks at one thing that a stack needs and says what to do if it is not so.

Checks only look; none changes anything, so they may be asked on a machine where nothing works.
"""

from __future__ import annotations

import enum
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.images.build import are_cached
from deploy.local import docker_engine, kafka_engine, leftovers
from deploy.local.folders import PROJECT_ROOT, StackSettings
from deploy.local.ports import read_ports
from deploy.local.supervision import Supervisor, Unreachable

_GIBIBYTE: Final = 1024**3
_LEAST_DISK_BYTES: Final = 5 * _GIBIBYTE
_LEAST_MEMORY_BYTES: Final = 2 * _GIBIBYTE
_CONTROLLERS: Final = ("cpu", "cpuset", "memory", "pids")
_PROGRAMS: Final = {
    "java": (kafka_engine.JAVA, "openjdk-17-jre-headless"),
    "maven": ("/usr/bin/mvn", "maven"),
    "postgres": ("/usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
    "dockerd": (docker_engine.DAEMON, "docker.io"),
    "runc": ("/usr/sbin/runc", "runc"),
    "mmdebstrap": ("/usr/bin/mmdebstrap", "mmdebstrap"),
    "musl-gcc": ("/usr/bin/musl-gcc", "musl-tools"),
}


class Level(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    """Something works less well, or not yet; nothing is broken."""
    BAD = "bad"
    """The stack cannot work until a person acts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check saw. `advice` is empty when there is nothing to do."""

    check: str
    level: Level
    saw: str
    advice: str = ""


def examine(settings: StackSettings) -> Sequence[Finding]:
    """All checks, in the order in which their subjects are needed."""
    checks: tuple[Callable[[StackSettings], Finding], ...] = (
        _user,
        _packages,
        _controllers,
        _namespaces,
        _kvm,
        _memory,
        _disk,
        _cache,
        _runner,
        _state_folder,
        _remains,
        _ports,
    )
    return [check(settings) for check in checks]


def _user(_settings: StackSettings) -> Finding:
    if os.geteuid() == 0:
        return Finding(check="user", level=Level.OK, saw="root")
    return Finding(
        check="user",
        level=Level.BAD,
        saw=f"uid {os.geteuid()}, expected root: sandboxes need control groups and mounts",
        advice="call assize with sudo, or in a virtual machine of its own",
    )


def _packages(settings: StackSettings) -> Finding:
    given = {
        "java": settings.kafka_bootstrap,
        "maven": settings.kafka_bootstrap,
        "postgres": settings.postgres_dsn,
        "dockerd": settings.docker_host,
        "runc": settings.docker_host,
    }
    missing = [
        package for name, (path, package) in _PROGRAMS.items() if not given.get(name) and not Path(path).exists()
    ]
    if not missing:
        return Finding(check="packages", level=Level.OK, saw="every engine's package is installed")
    return Finding(check="packages", level=Level.BAD, saw=f"missing: {', '.join(missing)}", advice="make setup")


def _controllers(_settings: StackSettings) -> Finding:
    root = Path("/sys/fs/cgroup")
    unified = root / "cgroup.controllers"
    if unified.exists():
        found, kind = set(unified.read_text().split()), "v2"
    else:
        found, kind = {path.name for path in root.iterdir() if path.is_dir()} if root.exists() else set(), "v1"
    missing = [name for name in _CONTROLLERS if name not in found]
    if not missing:
        return Finding(check="control groups", level=Level.OK, saw=f"{kind} with {', '.join(_CONTROLLERS)}")
    return Finding(
        check="control groups",
        level=Level.BAD,
        saw=f"{kind} without {', '.join(missing)}",
        advice="mount the control groups of this kernel under /sys/fs/cgroup, or boot with these controllers enabled",
    )


def _namespaces(_settings: StackSettings) -> Finding:
    if docker_engine.can_remap():
        return Finding(check="user namespaces", level=Level.OK, saw="containers' root can be remapped")
    return Finding(
        check="user namespaces",
        level=Level.BAD,
        saw="the kernel gives none",
        advice="sysctl user.max_user_namespaces=15000",
    )


def _kvm(_settings: StackSettings) -> Finding:
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Finding(check="kvm", level=Level.OK, saw="/dev/kvm opens")
    return Finding(check="kvm", level=Level.NOTE, saw="no /dev/kvm: container isolation only, no microVMs")


def _memory(_settings: StackSettings) -> Finding:
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    saw = f"{available / _GIBIBYTE:.1f} GiB available"
    if available >= _LEAST_MEMORY_BYTES:
        return Finding(check="memory", level=Level.OK, saw=saw)
    return Finding(
        check="memory",
        level=Level.BAD,
        saw=f"{saw}, expected {_LEAST_MEMORY_BYTES // _GIBIBYTE}",
        advice="stop something else, or set ASSIZE_EXECUTOR_MIN_WARM=0",
    )


def _disk(settings: StackSettings) -> Finding:
    for folder in (settings.state, settings.cache):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        if free < _LEAST_DISK_BYTES:
            return Finding(
                check="disk",
                level=Level.BAD,
                saw=f"{free / _GIBIBYTE:.1f} GiB free at {there}, expected {_LEAST_DISK_BYTES // _GIBIBYTE}",
                advice="make room, or point ASSIZE_STATE_DIR and ASSIZE_CACHE_DIR to a larger disk",
            )
    return Finding(check="disk", level=Level.OK, saw="room enough")


def _cache(settings: StackSettings) -> Finding:
    missing = []
    if not (kafka_engine.home(settings.cache) / "classes.jsa").exists():
        missing.append("Kafka")
    if not are_cached(settings.cache):
        missing.append("language images")
    if not missing:
        return Finding(check="cache", level=Level.OK, saw=f"Kafka and language images are in {settings.cache}")
    return Finding(
        check="cache", level=Level.NOTE, saw=f"not made yet: {' and '.join(missing)}", advice="make setup makes them"
    )


def _runner(_settings: StackSettings) -> Finding:
    path = PROJECT_ROOT / "services/executor/runner/build/assize-runner"
    if os.access(path, os.X_OK):
        return Finding(check="runner", level=Level.OK, saw="built")
    return Finding(check="runner", level=Level.BAD, saw=f"not at {path}", advice="make setup builds it")


def _state_folder(settings: StackSettings) -> Finding:
    folders = settings.folders
    if not folders.state.exists():
        return Finding(
            check="state folder", level=Level.NOTE, saw=f"{folders.state} is not there yet", advice="assize up"
        )
    closed = [str(path) for path in folders.state.parents if not path.stat().st_mode & 0o001]
    if closed:
        return Finding(
            check="state folder",
            level=Level.BAD,
            saw=f"{', '.join(closed)} cannot be entered by postgres and by containers' root",
            advice="set ASSIZE_STATE_DIR to a folder below /var/lib",
        )
    exposed = [path.name for path in folders.keys.glob("*.key") if path.stat().st_mode & 0o077]
    if exposed:
        return Finding(
            check="state folder",
            level=Level.BAD,
            saw=f"private keys readable by others: {', '.join(exposed)}",
            advice=f"chmod 600 {folders.keys}/*.key, and replace the keys if others may have read them",
        )
    return Finding(check="state folder", level=Level.OK, saw=str(folders.state))


def _remains(settings: StackSettings) -> Finding:
    found = leftovers.find(settings.folders)
    try:
        Supervisor(settings.folders).pid()
    except Unreachable:
        if found.is_clean:
            return Finding(check="leftovers", level=Level.OK, saw="the stack does not run, and nothing of it is left")
        return Finding(
            check="leftovers",
            level=Level.NOTE,
            saw=f"the stack does not run, but left {found}",
            advice="assize up heals it, assize down clears it",
        )
    return Finding(check="leftovers", level=Level.OK, saw=f"the stack runs with {len(found.processes)} processes")


def _ports(settings: StackSettings) -> Finding:
    ports = read_ports(settings.folders.ports_file)
    try:
        Supervisor(settings.folders).pid()
        return Finding(check="ports", level=Level.OK, saw="in use by the stack")
    except Unreachable:
        listening = _listening_ports()
        taken = sorted(f"{name} {port}" for name, port in ports.items() if port in listening)
    if taken:
        saw = f"in use by others: {', '.join(taken)}"
        return Finding(check="ports", level=Level.NOTE, saw=saw, advice="assize up picks others")
    return Finding(check="ports", level=Level.OK, saw="free")


def _listening_ports() -> set[int]:
    lines = [line for name in ("tcp", "tcp6") for line in _read(f"/proc/net/{name}").splitlines()[1:]]
    fields = [line.split() for line in lines]
    return {int(field[1].rpartition(":")[2], 16) for field in fields if field[3] == "0A"}


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
