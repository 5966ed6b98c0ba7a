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
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import docker

from deploy.local.files import write_atomically
from deploy.local.folders import Folders, StackRefused
from deploy.local.leftovers import end_members, end_process, is_running, unmount_beneath

DAEMON: Final = "/usr/sbin/dockerd"
_CONTAINERD_GRACE_SECONDS: Final = 3.0


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
    containerd = _pid(_containerd_pid(folders))
    if containerd is not None and is_running(containerd, "containerd"):
        end_process(containerd, grace_seconds=_CONTAINERD_GRACE_SECONDS)
    # A daemon takes a pid file whose process is a zombie for a living peer, and waits fifteen seconds for it to answer.
    for path in (folders.docker_pid, _containerd_pid(folders)):
        path.unlink(missing_ok=True)
    # Sandboxes without a daemon are of no use to anybody; a starting daemon would wait ten seconds for each to leave.
    end_members(folders)
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


def _containerd_pid(folders: Folders) -> Path:
    return folders.docker_exec / "containerd/containerd.pid"


def _pid(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None
