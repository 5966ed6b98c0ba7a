"""Where the stack keeps things, and what the environment says about it.

Lives here: the paths of the state and cache folders and the reading of the environment for everything that happens
before a service exists (the services' own settings are read by `services.chassis.settings`).
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT_ROOT: Final = Path(__file__).resolve().parents[2]
SERVICES: Final = ("ingest", "scheduler", "executor", "verdicts")
_PASSED_ON: Final = ("ASSIZE_OTLP_ENDPOINT", "ASSIZE_LOG_LEVEL", "ASSIZE_HTTP_HOST")


class StackRefused(Exception):
    """The stack cannot do what was asked. `advice` says what a person can do about it."""

    def __init__(self, reason: str, *, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """What the environment says about the one-machine stack."""

    state: Path
    cache: Path
    cell_count: int
    kafka_bootstrap: str | None
    """An existing broker; None starts the embedded one. The same goes for the next two."""
    postgres_dsn: str | None
    docker_host: str | None
    passed_on: Mapping[str, str]
    """Settings of the services themselves, handed to them unread."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> StackSettings:
        """Reads the process's environment, or the one given.

        Raises:
            StackRefused: ASSIZE_CELL_COUNT is not a number of cells, or a folder is not an absolute path.
        """
        given = os.environ if environment is None else environment
        cells = given.get("ASSIZE_CELL_COUNT") or "1"
        if not cells.isascii() or not cells.isdigit() or not 1 <= int(cells) <= 1024:
            raise StackRefused(
                f"ASSIZE_CELL_COUNT must be a number from 1 to 1024, got {cells!r}", advice="set it, or leave it unset"
            )
        services = tuple(f"ASSIZE_{name.upper()}_" for name in SERVICES)
        return cls(
            state=_folder(given, "ASSIZE_STATE_DIR", "/var/lib/assize/local"),
            cache=_folder(given, "ASSIZE_CACHE_DIR", "/var/cache/assize"),
            cell_count=int(cells),
            kafka_bootstrap=given.get("ASSIZE_KAFKA_BOOTSTRAP") or None,
            postgres_dsn=given.get("ASSIZE_POSTGRES_DSN") or None,
            docker_host=given.get("DOCKER_HOST") or None,
            passed_on={
                key: value
                for key, value in sorted(given.items())
                if value and (key in _PASSED_ON or key.startswith(services))
            },
        )

    @property
    def folders(self) -> Folders:
        return Folders(state=self.state)


def _folder(given: Mapping[str, str], name: str, default: str) -> Path:
    path = Path(given.get(name) or default)
    if not path.is_absolute() or ".." in path.parts:
        raise StackRefused(
            f"{name} must be an absolute path without '..', got {str(path)!r}", advice=f"set {name} anew"
        )
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """The state folder of one stack. Everything of a stack lies beneath it, or carries its `tag`."""

    state: Path

    @property
    def tag(self) -> str:
        """Short name of this state folder, for what the kernel must name: cgroups."""
        return "assize-" + hashlib.sha256(str(self.state).encode()).hexdigest()[:8]

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def keys(self) -> Path:
        return self.state / "keys"

    @property
    def kafka(self) -> Path:
        return self.state / "kafka"

    @property
    def postgres(self) -> Path:
        return self.state / "postgres"

    @property
    def docker(self) -> Path:
        return self.state / "docker"

    @property
    def docker_exec(self) -> Path:
        return self.run / "docker"

    @property
    def docker_socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def docker_pid(self) -> Path:
        return self.run / "docker.pid"

    @property
    def images_file(self) -> Path:
        """{language: {image, digest}} of the images loaded into the engine."""
        return self.state / "images.json"

    @property
    def stack_file(self) -> Path:
        """What the running stack was started with; what `assize status --json` starts from."""
        return self.state / "stack.json"

    @property
    def ports_file(self) -> Path:
        return self.run / "ports.json"

    @property
    def tokens_file(self) -> Path:
        return self.state / "tokens.json"

    @property
    def page_token(self) -> Path:
        """Token of the page: it may read, and not what only a jury may see."""
        return self.state / "page.token"

    @property
    def cli_token(self) -> Path:
        """The local operator's own access token, mode 0600."""
        return self.state / "cli.token"

    @property
    def postgres_password(self) -> Path:
        return self.state / "postgres.password"

    @property
    def supervisor_config(self) -> Path:
        return self.run / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def supervisor_pid(self) -> Path:
        return self.run / "supervisord.pid"

    def make(self) -> None:
        """Makes the folders with the modes their users need. Idempotent."""
        # The state folder is passable: postgres and the remapped root of containers own folders inside it.
        for path in (self.state, self.run, self.logs, self.kafka, self.docker, self.state / "contests.d"):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o711)
        for path in (self.keys, self.state / "blobs"):
            path.mkdir(exist_ok=True)
            path.chmod(0o700)


def python_argv(module: str, *arguments: str) -> tuple[str, ...]:
    """The argv that runs one of our modules with the interpreter this process runs in."""
    return (sys.executable, "-m", module, *arguments)


def clean_environment() -> dict[str, str]:
    """The environment that engines and services start from; nothing of the caller's shell leaks into them."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }


def inherited_environment() -> dict[str, str]:
    """The caller's own environment, for package tools that are configured by it (proxies, certificates, mirrors)."""
    return dict(os.environ)
