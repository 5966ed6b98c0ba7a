"""The embedded Docker Engine: a daemon of our own beside whatever the machine runs, without any network.

Own data-root, exec-root, socket and cgroup parent, so that stopping it touches nothing else. No bridge and no rules:
sandboxes have no network at all. Containers' root is remapped to an unprivileged range of ids (`userns-remap`), which
also gives each range its own process accounting; a machine that cannot remap is refused, not served without.

After a hard stop, containerd and shims live on and mounts stay. `heal` removes what would keep a new daemon from
starting; the daemon itself takes care of the containers it finds.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import docker

from deploy.local.files import write_atomically
from deploy.local.folders import Folders, StackRefused

DAEMON: Final = "/usr/sbin/dockerd"


def prepare(folders: Folders) -> Sequence[str]:
    """Heals what a hard stop left, writes the configuration, and gives the argv to run in the foreground.

    Raises:
        StackRefused: this machine has no user namespaces.
    """
    if not can_remap():
        raise StackRefused(
            "this kernel gives no user namespaces, expected them for containers' root",
            advice="set /proc/sys/user/max_user_namespaces above 0 (sysctl user.max_user_namespaces)",
        )
    heal(folders)
    config = folders.run / "docker.json"
    write_atomically(config, json.dumps(_configuration(folders), indent=1, sort_keys=True) + "\n", mode=0o644)
    return [DAEMON, "--config-file", str(config)]


def can_remap() -> bool:
    """Whether the kernel makes user namespaces."""
    return subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False).returncode == 0


def host(folders: Folders) -> str:
    """Value of DOCKER_HOST for the embedded engine."""
    return f"unix://{folders.docker_socket}"


def heal(folders: Folders) -> None:
    """Ends a containerd that outlived its daemon and removes pid files and mounts that nobody uses any more.

    Only to be called while no daemon of this stack runs.
    """
    daemon = _pid(folders.docker_pid)
    if daemon is not None and is_running(daemon, "dockerd"):
        raise StackRefused(
            f"dockerd (pid {daemon}) already runs on {folders.docker}", advice="call `assize down` first"
        )
    folders.docker_pid.unlink(missing_ok=True)
    containerd = _pid(folders.docker_exec / "containerd/containerd.pid")
    if containerd is not None and is_running(containerd, "containerd"):
        # Asked, not killed: it is idle without its daemon, and a new daemon starts a new one.
        os.kill(containerd, signal.SIGTERM)
    unmount_beneath(folders.docker_exec)


def remove_containers(docker_host: str) -> int:
    """Removes every container of an embedded engine, all of which are ours; returns how many. A silent engine has none."""
    try:
        client = docker.DockerClient(base_url=docker_host, timeout=20)
        try:
            containers = client.api.containers(all=True, quiet=True)
            for container in containers:
                # One that is going away by itself just now is as good as removed.
                with contextlib.suppress(docker.errors.NotFound, docker.errors.APIError):
                    client.api.remove_container(container["Id"], force=True, v=True)
        finally:
            client.close()
    except (docker.errors.DockerException, OSError):
        return 0
    return len(containers)


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


def _configuration(folders: Folders) -> dict[str, object]:
    return {
        "data-root": str(folders.docker),
        "exec-root": str(folders.docker_exec),
        "pidfile": str(folders.docker_pid),
        "hosts": [host(folders)],
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "ip-masq": False,
        "storage-driver": "overlay2",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": f"/{folders.tag}",
        "userns-remap": "default",
        "shutdown-timeout": 3,
        "log-driver": "none",
        "log-level": "warn",
        "raw-logs": True,
        "experimental": False,
        "features": {"buildkit": False},
    }


def _pid(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None
