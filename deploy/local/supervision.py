"""The supervisor of one stack: what it runs, its configuration, and talking to it over its unix socket.

supervisord restarts what dies and rotates logs. It starts nothing by itself: `deploy.local.stack` starts programs in
order, each when what it needs is ready. Every child carries SUPERVISOR_SERVER_URL, which names this stack's socket and
so marks the process as ours even after its supervisor was stopped hard.
"""

from __future__ import annotations

import enum
import http.client
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.files import write_atomically
from deploy.local.folders import PROJECT_ROOT, Folders, StackRefused, clean_environment

_LOG_BYTES: Final = 16 * 1024 * 1024
_LOG_COPIES: Final = 3
_SHUTTING_DOWN: Final = 6
"""supervisord's fault code for every call after `shutdown`."""


class ProgramState(enum.StrEnum):
    """States of a program as supervisord names them."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    FATAL = "FATAL"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process that the supervisor keeps alive."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    stop_deadline_seconds: int
    """After the stop signal; then SIGKILL to the program and its group."""
    stop_signal: str = "TERM"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramStatus:
    """What the supervisor knows of a program."""

    name: str
    state: ProgramState
    pid: int | None
    """None when it does not run."""
    up_seconds: int
    reason: str
    """Why it is not running, in the supervisor's words; empty when it is."""


class Unreachable(Exception):
    """No supervisor answers on the socket."""


def configuration(folders: Folders, programs: Sequence[Program]) -> str:
    """The text of supervisord.conf."""
    sections = [
        "[unix_http_server]",
        f"file={_literal(str(folders.supervisor_socket))}",
        "chmod=0600",
        "[supervisord]",
        f"logfile={_literal(str(folders.logs / 'supervisord.log'))}",
        "logfile_maxbytes=4MB",
        "logfile_backups=1",
        f"pidfile={_literal(str(folders.supervisor_pid))}",
        f"childlogdir={_literal(str(folders.logs))}",
        "directory=/",
        "user=root",
        "umask=022",
        "minfds=16384",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for program in programs:
        sections += _program(folders, program)
    return "\n".join(sections) + "\n"


def start(folders: Folders, programs: Sequence[Program]) -> None:
    """Starts supervisord for these programs (none of which it starts yet) and returns when it answers.

    Raises:
        StackRefused: it ended at once.
    """
    # The configuration holds the database's address with its password.
    write_atomically(folders.supervisor_config, configuration(folders, programs), mode=0o600)
    folders.supervisor_socket.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "supervisor.supervisord", "-c", str(folders.supervisor_config)]
    done = subprocess.run(
        argv, capture_output=True, text=True, env=clean_environment(), cwd="/", stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode != 0:
        raise StackRefused(
            f"supervisord did not start (exit {done.returncode}): {(done.stdout + done.stderr).strip()[-600:]}",
            advice=f"read {folders.logs / 'supervisord.log'}; `assize down` clears what is left of an earlier run",
        )


class Supervisor:
    """A running supervisord. Every call raises `Unreachable` when none answers."""

    def __init__(self, folders: Folders) -> None:
        self._path = folders.supervisor_socket
        self._transport = _UnixTransport(self._path)
        self._server = xmlrpc.client.ServerProxy("http://localhost", transport=self._transport)

    def pid(self) -> int:
        """Pid of supervisord itself."""
        return int(str(self._call("supervisor.getPID")))

    def status(self) -> Mapping[str, ProgramStatus]:
        """Every program by name."""
        answer = self._call("supervisor.getAllProcessInfo")
        assert isinstance(answer, list)
        statuses = [_status(entry) for entry in answer]
        return {status.name: status for status in statuses}

    def start_program(self, name: str) -> None:
        """Asks for a program to be started; returns at once, and quietly when it runs already."""
        self._call_unless("supervisor.startProcess", name, 60)  # ALREADY_STARTED

    def stop_program(self, name: str) -> None:
        """Asks for a program to be stopped; returns at once, and quietly when it does not run."""
        self._call_unless("supervisor.stopProcess", name, 70)  # NOT_RUNNING

    def shutdown(self) -> None:
        """Asks supervisord to stop what still runs and to leave."""
        self._call("supervisor.shutdown")

    def _call_unless(self, method: str, name: str, quiet_code: int) -> None:
        wait = False
        try:
            self._call(method, name, wait)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != quiet_code:
                raise StackRefused(f"{name}: {fault.faultString}", advice=f"read `assize logs {name}`") from fault

    def _call(self, method: str, *arguments: str | bool) -> object:
        try:
            called: object = getattr(self._server, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _SHUTTING_DOWN:
                raise Unreachable(f"the supervisor on {self._path} is leaving") from fault
            raise
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"no supervisor answers on {self._path}: {error}") from error
        finally:
            self._transport.close()
        return called


def _status(entry: object) -> ProgramStatus:
    assert isinstance(entry, dict)
    running = entry["statename"] in ("RUNNING", "STARTING", "STOPPING")
    return ProgramStatus(
        name=str(entry["name"]),
        state=ProgramState(str(entry["statename"])),
        pid=int(entry["pid"]) or None,
        up_seconds=max(0, int(entry["now"]) - int(entry["start"])) if running else 0,
        reason="" if running else str(entry["spawnerr"] or entry["description"]),
    )


def _program(folders: Folders, program: Program) -> list[str]:
    environment = clean_environment() | dict(program.environment)
    return [
        f"[program:{program.name}]",
        f"command={_literal(' '.join(_quoted(part) for part in program.argv))}",
        f"directory={_literal(str(PROJECT_ROOT))}",
        "environment=" + ",".join(f"{key}={_literal(_quoted(value))}" for key, value in environment.items()),
        "autostart=false",
        "autorestart=true",
        "startsecs=1",
        # The pause between tries grows by a second each time: this is half an hour of trying.
        "startretries=60",
        f"stopsignal={program.stop_signal}",
        f"stopwaitsecs={program.stop_deadline_seconds}",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_literal(str(folders.logs / (program.name + '.log')))}",
        f"stdout_logfile_maxbytes={_LOG_BYTES}",
        f"stdout_logfile_backups={_LOG_COPIES}",
    ]


def _quoted(value: str) -> str:
    if '"' in value or "\n" in value or "\\" in value:
        raise StackRefused(
            f"expected a value without quotes, backslashes or line ends, got {value!r}", advice="change it"
        )
    return f'"{value}"'


def _literal(value: str) -> str:
    # supervisord expands %(name)s in its configuration, and takes " ;" as the start of a comment.
    if " ;" in value:
        raise StackRefused(f"expected a value without ' ;', got {value!r}", advice="change it")
    return value.replace("%", "%%")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket's path instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a unix socket. The connection lives for one call: a supervisor may be another by the next."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._open: _UnixConnection | None = None

    def make_connection(self, host: object) -> http.client.HTTPConnection:  # noqa: ARG002  the path is the address
        """Opens a connection of its own for every call."""
        self.close()
        self._open = _UnixConnection(self._path)
        return self._open

    def close(self) -> None:
        """Closes the last call's connection."""
        if self._open is not None:
            self._open.close()
            self._open = None
