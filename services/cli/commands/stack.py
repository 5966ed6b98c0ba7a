"""`assize up`, `down`, `status` and `logs`: the one-machine stack from the command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import click

from deploy.images.build import BuildFailed
from deploy.local.folders import SERVICES, Folders, StackRefused, StackSettings
from deploy.local.progress import Progress
from deploy.local.stack import ENGINES, down, up

if TYPE_CHECKING:
    from deploy.local.report import StackReport

EXIT_FAILED: Final = 1
EXIT_NO_STACK: Final = 3
_PARTS: Final = (*ENGINES, *SERVICES, "supervisord")
_FOLLOW_SECONDS: Final = 0.2
P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (StackRefused, BuildFailed) as failure:
        click.echo(f"assize: {failure.reason}\n  what to do: {failure.advice}", err=True)
        sys.exit(EXIT_FAILED)


def explained(command: Callable[P, R]) -> Callable[P, R]:
    """Turns a failure that says what to do into those words on standard error and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with _explained():
            return command(*args, **kwargs)
        raise AssertionError("unreachable: _explained leaves the process")

    return run


@click.command("up")
@click.option("--engines-only", is_flag=True, help="Start Kafka, PostgreSQL and Docker, but no service.")
@explained
def up_command(*, engines_only: bool) -> None:
    """Start the stack, or what of it does not run, and return when all of it is ready.

    Kafka, PostgreSQL and Docker Engine are started on free loopback ports, unless ASSIZE_KAFKA_BOOTSTRAP,
    ASSIZE_POSTGRES_DSN or DOCKER_HOST name existing ones. Everything lies in ASSIZE_STATE_DIR.
    """
    stack = up(StackSettings.from_environment(), Progress(sys.stdout), services=() if engines_only else SERVICES)
    if not engines_only:
        click.echo(f"page: {stack.page_url()}")


@click.command("down")
@explained
def down_command() -> None:
    """Stop the stack. No process, mount, container or cgroup of it stays; data does."""
    left = down(StackSettings.from_environment(), Progress(sys.stdout))
    if not left.is_clean:
        raise StackRefused(f"could not remove {left}", advice="see what holds it, then call `assize down` again")
    click.echo("stopped")


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@explained
def status_command(*, as_json: bool) -> None:
    """State, pid, port, lag and health of every part. Exit 0 when all are ready, else 3."""
    from deploy.local.report import report

    found = report(StackSettings.from_environment())
    if as_json:
        click.echo(json.dumps(_status_object(found), indent=1))
    else:
        _print_status(found)
    sys.exit(0 if found.is_ready else EXIT_NO_STACK)


def _status_object(found: StackReport) -> dict[str, object]:
    stack = found.stack
    parts = {
        part.name: {
            "state": part.state,
            "pid": part.pid,
            "port": part.port,
            "up_seconds": part.up_seconds,
            "ready": part.ready,
            "detail": part.detail,
            "lag_records": part.lag_records,
        }
        for part in found.parts
    }
    return {
        "ready": found.is_ready,
        "kafka_bootstrap": stack.kafka_bootstrap,
        "schema_registry_url": stack.url("verdicts"),
        "page_url": stack.page_url(),
        "ingest_url": stack.url("ingest"),
        "verdicts_url": stack.url("verdicts"),
        "docker_host": stack.docker_host,
        "state_dir": str(stack.folders.state),
        "engines": {name: part for name, part in parts.items() if name in ENGINES},
        "services": {name: part for name, part in parts.items() if name in SERVICES},
    }


def _print_status(found: StackReport) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=None, pad_edge=False)
    for column in ("part", "state", "ready", "pid", "port", "up", "lag", ""):
        table.add_column(column, justify="right" if column in ("pid", "port", "up", "lag") else "left")
    for part in found.parts:
        table.add_row(
            part.name,
            part.state.lower(),
            Text("yes", style="green") if part.ready else Text("no", style="red"),
            str(part.pid or ""),
            str(part.port or ""),
            f"{part.up_seconds} s" if part.pid else "",
            "" if part.lag_records is None else str(part.lag_records),
            Text(part.detail[:100]),
        )
    console.print(table)
    if found.running:
        console.print(f"page: {found.stack.page_url()}", highlight=False, soft_wrap=True)
    else:
        console.print("the stack does not run; `assize up` starts it", highlight=False)


@click.command("logs")
@click.argument("part", type=click.Choice(_PARTS))
@click.option("-f", "--follow", is_flag=True, help="Go on showing what is added, until interrupted.")
@click.option(
    "-n", "--lines", default=100, show_default=True, type=click.IntRange(0, 1_000_000), help="Last lines shown."
)
@explained
def logs_command(part: str, *, follow: bool, lines: int) -> None:
    """Show the log of a service or engine."""
    path = Folders(state=StackSettings.from_environment().state).logs / f"{part}.log"
    if not path.exists():
        raise StackRefused(
            f"expected a log at {path}, found none", advice=f"{part} was never started here: `assize up`"
        )
    for line in _last_lines(path, lines):
        click.echo(line, nl=False)
    if follow:
        _follow(path)


def _last_lines(path: Path, count: int) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as stream:
        # A log is at most 16 MiB before it is rotated.
        return stream.readlines()[-count:] if count else []


def _follow(path: Path) -> None:
    import time

    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        current = os.fstat(stream.fileno()).st_ino
        while path.exists() and path.stat().st_ino == current:
            added = stream.read()
            if added:
                click.echo(added.decode("utf-8", "replace"), nl=False)
            else:
                time.sleep(_FOLLOW_SECONDS)
    # Rotated: what follows is in the new file, from its beginning.
    if path.exists():
        click.echo(path.read_text("utf-8", "replace"), nl=False)
        _follow(path)
