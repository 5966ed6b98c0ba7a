"""`assize demo`: real programs judged by the real pipeline, each expected verdict beside the one given.

It adds the example problems, submits every program of `examples/expected.toml` by HTTP or by the intake topic, and
follows the verdicts as they are pushed. JE is made as it happens in life: a test of one problem is lost from the
blob store after the problem was published. The exit code is 0 only when every verdict is the expected one.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import tomllib
import zipfile
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx
import websockets
from rich.console import Console
from rich.live import Live
from rich.table import Table

from deploy.local.folders import StackRefused, StackSettings
from deploy.local.progress import Progress
from deploy.local.stack import up
from examples.pack import pack_problem
from schemas.codec import decode_as
from schemas.events import IntakeFile, ProblemPublished, SubmissionRequested
from schemas.identity import submission_id
from schemas.problems import SECRET, decode_test_list
from schemas.topics import PROBLEMS, intake_topic
from services.chassis.blobs import FolderBlobStore
from services.chassis.clock import SystemClock, random_id
from services.chassis.kafka import EventWriter, Outgoing, read_to_end, start_producer
from services.cli.access import Access, open_access

EXAMPLES = Path(__file__).parents[3] / "examples"
DAMAGED_PROBLEM = "addition-damaged"
PLAIN_WIDTH_COLUMNS = 160
"""Of a log, which knows no terminal's width."""
EXIT_DISAGREED = 1
EXIT_TIMEOUT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoProgram:
    """One program, where it goes in, and which verdicts are right for it."""

    path: Path
    problem: str
    language: str
    expected: tuple[str, ...]
    row: str
    """Row of the attack list, empty for a program that means no harm."""
    door: str
    """"http" or "intake"."""

    @property
    def label(self) -> str:
        return str(self.path.relative_to(EXAMPLES / "submissions"))


@dataclass(slots=True)
class Given:
    """What became of one program."""

    program: DemoProgram
    verdict: str | None = None
    cpu_time_ns: int = 0
    memory_peak_bytes: int = 0
    cursor: int = 0

    @property
    def agrees(self) -> bool:
        return self.verdict in self.program.expected


@click.command("demo")
@click.option("--timeout", "timeout_seconds", default=600, show_default=True, help="Most seconds to wait for verdicts.")
def demo(timeout_seconds: int) -> None:
    """Starts the stack if needed, judges the example programs on it and compares the verdicts."""
    try:
        stack = up(StackSettings.from_environment(), Progress(sys.stderr))
    except StackRefused as refusal:
        raise click.ClickException(f"{refusal.reason}; what to do: {refusal.advice}") from refusal
    code = asyncio.run(_demo(open_access(), timeout_seconds))
    click.echo(f"page: {stack.page_url()}")
    sys.exit(code)


def load_programs(manifest: Path) -> tuple[DemoProgram, ...]:
    """The programs of `expected.toml`, with the one that meets a fault of ours."""
    entries = tomllib.loads(manifest.read_text())["program"]
    programs = [
        DemoProgram(
            path=manifest.parent / "submissions" / entry["file"],
            problem=entry["problem"],
            language=entry["language"],
            expected=tuple(entry["expected"]),
            row=entry.get("row", ""),
            door=entry["door"],
        )
        for entry in entries
    ]
    healthy = next(program for program in programs if program.problem == "addition" and program.expected == ("AC",))
    programs.append(
        DemoProgram(
            path=healthy.path,
            problem=DAMAGED_PROBLEM,
            language=healthy.language,
            expected=("JE",),
            row="test data lost",
            door="http",
        )
    )
    return tuple(programs)


async def _demo(access: Access, timeout_seconds: int) -> int:
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH_COLUMNS)
    programs = load_programs(EXAMPLES / "expected.toml")
    async with httpx.AsyncClient(base_url=access.ingest_url, headers=access.authorization, timeout=60) as client:
        for folder in sorted(path for path in (EXAMPLES / "problems").iterdir() if path.is_dir()):
            package = await asyncio.to_thread(pack_problem, folder)
            await _publish(client, folder.name, package)
            console.print(f"problem {folder.name} published, {len(package) / 1e6:.1f} MB packed")
        await _publish_damaged(
            client, access, await asyncio.to_thread(pack_problem, EXAMPLES / "problems" / "addition")
        )
        console.print(f"problem {DAMAGED_PROBLEM} published, and one of its secret tests lost on purpose")
        team = f"demo-{random_id()[:8]}"
        results = await _submit_all(client, access, programs, team)
    console.print(f"{len(results)} programs submitted; verdicts as they come:")
    complete = await _follow(access, results, team, timeout_seconds, console)
    return _conclude(console, list(results.values()), complete=complete)


async def _publish(client: httpx.AsyncClient, problem: str, package: bytes) -> None:
    response = await client.put(f"/v1/problems/{problem}", content=package, headers={"content-type": "application/zip"})
    if response.status_code >= 400:
        raise click.ClickException(f"expected problem {problem} to be taken, came: {response.text}")


async def _publish_damaged(client: httpx.AsyncClient, access: Access, package: bytes) -> None:
    """Publishes `addition` with one secret test more, unlike any other, and removes that test's input."""
    lost = b"271828 314159\n"
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info))
        target.writestr("data/secret/00-lost.in", lost)
        target.writestr("data/secret/00-lost.ans", b"585987\n")
    await _publish(client, DAMAGED_PROBLEM, out.getvalue())
    published = [
        event
        for incoming in await read_to_end(access.kafka_bootstrap, PROBLEMS.name, [0])
        if isinstance(event := decode_as(incoming.value, ProblemPublished), ProblemPublished)
        and event.problem == DAMAGED_PROBLEM
    ]
    blobs = FolderBlobStore(access.state_dir / "blobs")
    tests = decode_test_list(blobs.get_now(published[-1].manifest.test_data_digest))
    first_secret = next(test for test in tests if test.group == SECRET)
    blobs.path_of(first_secret.input_digest).unlink(missing_ok=True)


async def _submit_all(
    client: httpx.AsyncClient, access: Access, programs: Sequence[DemoProgram], team: str
) -> dict[str, Given]:
    """Submits every program by its door and returns what is awaited, by submission id."""
    producer = await start_producer(access.kafka_bootstrap)
    writer = EventWriter(producer, source="/assize/demo")
    clock = SystemClock()
    results = {}
    try:
        for program in programs:
            request_id = f"demo-{random_id()}"
            if program.door == "intake":
                await _submit_by_intake(writer, access.tenant, program, request_id, team, clock.now_us())
            else:
                await _submit_by_http(client, program, request_id, team)
            results[submission_id(access.tenant, request_id)] = Given(program=program)
    finally:
        await producer.stop()
    return results


async def _submit_by_http(client: httpx.AsyncClient, program: DemoProgram, request_id: str, team: str) -> None:
    response = await client.post(
        "/v1/submissions",
        data={"problem": program.problem, "language": program.language, "team": team},
        files={"files": (program.path.name, program.path.read_bytes())},
        headers={"idempotency-key": request_id},
    )
    if response.status_code != 202:
        raise click.ClickException(f"expected {program.label} to be accepted, came: {response.text}")


async def _submit_by_intake(
    writer: EventWriter, tenant: str, program: DemoProgram, request_id: str, team: str, now_us: int
) -> None:
    event = SubmissionRequested(
        request_id=request_id,
        team=team,
        problem=program.problem,
        language=program.language,
        files=(IntakeFile(name=program.path.name, content=program.path.read_bytes()),),
        requested_at_us=now_us,
    )
    await writer.write(Outgoing(topic=intake_topic(tenant), partition=0, key=request_id, event=event))


async def _follow(
    access: Access, results: Mapping[str, Given], team: str, timeout_seconds: int, console: Console
) -> bool:
    """Shows verdicts as they are pushed until all came; False when the time was up first."""
    with Live(
        _table(results.values()), console=console, refresh_per_second=4, transient=not console.is_terminal
    ) as live:
        try:
            async with asyncio.timeout(timeout_seconds):
                async for verdict in _pushed(access, team):
                    given = results.get(verdict["submission_id"])
                    if given is None:
                        continue
                    given.verdict = verdict["verdict"]
                    given.cpu_time_ns = verdict["cpu_time_ns"]
                    given.memory_peak_bytes = verdict["memory_peak_bytes"]
                    if console.is_terminal:
                        live.update(_table(results.values()))
                    else:
                        console.print(_line(given))
                    if all(entry.verdict is not None for entry in results.values()):
                        return True
        except TimeoutError:
            return False
    return False


async def _pushed(access: Access, team: str) -> AsyncIterator[dict[str, Any]]:
    """Verdicts of the team from the WebSocket, resumed at the cursor whenever the connection ends."""
    cursor = 0
    url = access.verdicts_url.replace("http", "ws", 1)
    while True:
        try:
            async with websockets.connect(
                f"{url}/v1/verdicts/stream?after={cursor}&team={team}", additional_headers=access.authorization
            ) as socket:
                async for message in socket:
                    verdict = json.loads(message)
                    if "cursor" not in verdict or "submission_id" not in verdict:
                        continue
                    cursor = verdict["cursor"]
                    yield verdict
        except (websockets.ConnectionClosed, OSError):
            await asyncio.sleep(0.5)


def _line(given: Given) -> str:
    mark = "as expected" if given.agrees else "NOT AS EXPECTED"
    return (
        f"{given.program.label:<48} {given.program.door:<6} expected {'|'.join(given.program.expected):<8} "
        f"given {given.verdict:<4} {given.cpu_time_ns / 1e6:7.0f} ms {given.memory_peak_bytes / 2**20:6.1f} MiB  {mark}"
    )


def _table(results: Collection[Given]) -> Table:
    table = Table(title="Assize demo", expand=False)
    for heading in ("program", "attack", "door", "language", "expected", "given"):
        table.add_column(heading)
    table.add_column("cpu ms", justify="right")
    table.add_column("MiB", justify="right")
    for given in results:
        colour = "dim" if given.verdict is None else "green" if given.agrees else "bold red"
        table.add_row(
            given.program.label,
            given.program.row,
            given.program.door,
            given.program.language,
            "|".join(given.program.expected),
            f"[{colour}]{given.verdict or '…'}[/{colour}]",
            "" if given.verdict is None else f"{given.cpu_time_ns / 1e6:.0f}",
            "" if given.verdict is None else f"{given.memory_peak_bytes / 2**20:.1f}",
        )
    return table


def _conclude(console: Console, results: Sequence[Given], *, complete: bool) -> int:
    if not console.is_terminal:
        console.print(_table(results))
    wrong = [given for given in results if not given.agrees]
    for given in wrong:
        console.print(f"[red]{given.program.label}: expected {given.program.expected}, given {given.verdict}[/red]")
    agreed = len(results) - len(wrong)
    seen = sorted({str(given.verdict) for given in results})
    console.print(f"{agreed} of {len(results)} verdicts as expected; verdicts seen: {' '.join(seen)}")
    if not complete:
        return EXIT_TIMEOUT
    return 0 if not wrong else EXIT_DISAGREED
