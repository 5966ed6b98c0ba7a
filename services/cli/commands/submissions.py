"""`assize submit`, `watch` and `show`: a program goes in, verdicts come out."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from deploy.images.recipe import load_recipes
from services.chassis.clock import random_id
from services.cli.access import StackUnreachable
from services.cli.client import EXIT_REFUSED, Client, Refusal, TooLate, open_client, segment
from services.cli.terminal import (
    cell,
    console,
    mebibytes,
    milliseconds,
    plain,
    print_json,
    table,
    verdict_text,
)

_SOURCE_BYTES: Final = 16 * 1024 * 1024
_SHOWN_TIMELINE: Final = 40
VERDICTS: Final = ("AC", "WA", "CE", "RTE", "TLE", "MLE", "OLE", "JE")


@click.command("submit")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE…", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--problem", required=True, metavar="ID", help="Problem to be judged against.")
@click.option("--language", metavar="ID", help="Language; by default it is told from the files' suffixes.")
@click.option("--entry-point", metavar="NAME", help="Main file or class, when there are several files.")
@click.option("--contest", metavar="ID", help="Contest of the submission; gives it its urgency.")
@click.option("--team", metavar="ID", help="Team of the submission.")
@click.option("--key", metavar="KEY", help="Idempotency key: the same key is the same submission.")
@click.option("--wait", is_flag=True, help="Wait for the verdict.")
@click.option(
    "--expect", type=click.Choice(VERDICTS), help="Wait, and exit 1 when the verdict is another one; for scripts."
)
@click.option(
    "--timeout",
    "timeout_seconds",
    default=120.0,
    show_default=True,
    type=click.FloatRange(min=0.1),
    help="Most seconds to wait.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def submit(
    *,
    files: tuple[Path, ...],
    problem: str,
    language: str | None,
    entry_point: str | None,
    contest: str | None,
    team: str | None,
    key: str | None,
    wait: bool,
    expect: str | None,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """Submit a program and, if asked, wait for its verdict.

    \b
    Exit codes:
      0  taken; with --wait judged, whatever the verdict (with --expect: the expected one)
      1  refused; with --expect: another verdict
      2  wrong usage
      3  no stack to talk to
      4  no verdict within --timeout
    """  # noqa: D301  \b is click's mark for text that keeps its lines
    body = {
        "problem": problem,
        "language": language or language_of([path.name for path in files]),
        "files": [{"name": path.name, "content_base64": _base64_of(path)} for path in files],
        "entry_point": entry_point,
        "contest": contest,
        "team": team,
    }
    deadline = time.monotonic() + timeout_seconds
    with open_client() as client:
        try:
            receipt = client.ingest(
                "POST",
                "/v1/submissions",
                json={name: value for name, value in body.items() if value is not None},
                headers={"idempotency-key": key or f"cli-{random_id()}"},
            )
        except Refusal as refusal:
            if as_json:
                print_json({"submission_id": None, "verdict": None, "runs": [], "refused": refusal.document})
            raise
        judged = None
        if wait or expect is not None:
            try:
                judged = await_verdict(client, receipt["submission_id"], deadline)
            except TooLate:
                if as_json:
                    print_json(_told(receipt, None))
                raise
    if as_json:
        print_json(_told(receipt, judged))
    else:
        _print_receipt(console(), receipt, judged)
    if expect is not None and judged is not None and judged["verdict"] != expect:
        click.echo(f"expected {expect}, came {judged['verdict']}", err=True)
        sys.exit(EXIT_REFUSED)


@click.command("show")
@click.argument("submission")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--source", "with_source", is_flag=True, help="Show the source, too.")
def show(*, submission: str, as_json: bool, with_source: bool) -> None:
    """One submission with its judgements, runs and history.

    Exit codes: 0 shown, 1 no such submission, 3 no stack to talk to.
    """
    with open_client() as client:
        found = client.verdicts(f"/v1/submissions/{segment(submission)}")
    if as_json:
        print_json({**found, "runs": _current(found).get("runs", [])})
        return
    out = console()
    _print_submission(out, found)
    if with_source:
        for file in found.get("files", []):
            out.rule(cell(file["name"]))
            out.print(Text(plain(file["text"] if file["text"] is not None else f"({file.get('note')})")))


@click.command("watch")
@click.option("--problem", metavar="ID", help="Of this problem alone.")
@click.option("--team", metavar="ID", help="Of this team alone.")
@click.option("--contest", metavar="ID", help="Of this contest alone.")
@click.option("--after", type=click.IntRange(min=0), metavar="CURSOR", help="From this cursor on; by default from now.")
@click.option("--count", type=click.IntRange(min=1), help="Leave after so many verdicts.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def watch(
    *,
    problem: str | None,
    team: str | None,
    contest: str | None,
    after: int | None,
    count: int | None,
    as_json: bool,
) -> None:
    """Show verdicts as they come, until interrupted.

    Exit codes: 0 interrupted or --count reached, 1 refused, 3 no stack to talk to.
    """
    query = {name: value for name, value in (("problem", problem), ("team", team), ("contest", contest)) if value}
    out, seen = console(), 0
    with open_client() as client:
        try:
            cursor = _head(client) if after is None else after
            for verdict in client.pushed("verdicts", deadline=None, after=cursor, **query):
                if "verdict" not in verdict:
                    continue
                if as_json:
                    print_json_line(verdict)
                else:
                    out.print(_line(verdict))
                seen += 1
                if seen == count:
                    return
        except KeyboardInterrupt:
            return


def language_of(names: Sequence[str]) -> str:
    """The one language whose suffixes fit.

    Raises:
        click.UsageError: none does, or several do.
    """
    recipes = load_recipes()
    fitting = [recipe.language for recipe in recipes.values() if any(name.endswith(recipe.suffixes) for name in names)]
    if len(fitting) == 1:
        return fitting[0]
    came = "none of them" if not fitting else " and ".join(fitting)
    raise click.UsageError(
        f"expected files of one language among {', '.join(recipes)}, came {came}; say which with --language"
    )


def await_verdict(client: Client, submission_id: str, deadline: float) -> Any:
    """The judged submission, as soon as its verdict is pushed.

    Raises:
        TooLate: the deadline has passed.
    """
    try:
        for message in client.pushed("verdicts", deadline=deadline, after=0, submission=submission_id):
            if message.get("submission_id") == submission_id:
                found = client.submission(submission_id)
                if found is not None and found.get("verdict") is not None:
                    return found
    except TooLate as error:
        raise TooLate(f"expected a verdict of {submission_id} in time, came none; see `assize show`") from error
    raise StackUnreachable("expected verdicts to be pushed, came the end of the stream")


def print_json_line(value: Any) -> None:
    """One JSON object on one line, at once."""
    sys.stdout.write(json.dumps(value, sort_keys=True) + "\n")
    sys.stdout.flush()


def _head(client: Client) -> int:
    """The cursor of the newest verdict: the first message of the activity stream tells it."""
    for message in client.pushed("activity", deadline=time.monotonic() + 30, after=0):
        return int(message["cursor"])
    raise StackUnreachable("expected a first message of the activity stream, came none")


def _base64_of(path: Path) -> str:
    size_bytes = path.stat().st_size
    if size_bytes > _SOURCE_BYTES:
        raise click.UsageError(f"expected a source of at most {_SOURCE_BYTES} bytes, came {path} of {size_bytes}")
    return base64.b64encode(path.read_bytes()).decode()


def _current(found: Any) -> Any:
    """The current judgement, else the newest, else an empty one."""
    judgements = found.get("judgements", [])
    return next((entry for entry in judgements if entry["current"]), judgements[-1] if judgements else {})


def _told(receipt: Any, judged: Any) -> dict[str, Any]:
    """What `submit --json` prints."""
    current = {} if judged is None else _current(judged)
    return {
        "submission_id": receipt["submission_id"],
        "judgement_id": receipt["judgement_id"],
        "duplicate": receipt["duplicate"],
        "status": "received" if judged is None else judged["status"],
        "verdict": None if judged is None else judged["verdict"],
        "problem": None if judged is None else judged["problem"],
        "language": None if judged is None else judged["language"],
        "compile": current.get("compile"),
        "runs": current.get("runs", []),
        "cpu_time_ns": current.get("cpu_time_ns"),
        "wall_time_ns": current.get("wall_time_ns"),
        "memory_peak_bytes": current.get("memory_peak_bytes"),
        "executor": current.get("executor"),
        "image_digest": current.get("image_digest"),
    }


def _print_receipt(out: Console, receipt: Any, judged: Any) -> None:
    if judged is None:
        out.print(f"submission {receipt['submission_id']}{' (again)' if receipt['duplicate'] else ''}")
        return
    _print_submission(out, judged)


def _print_submission(out: Console, found: Any) -> None:
    current = _current(found)
    head = Text.assemble(verdict_text(found["verdict"]), "  ", cell(found["status"]), "  ", found["submission_id"])
    out.print(head)
    told = [f"{name} {found[name]}" for name in ("problem", "language", "team", "contest") if found.get(name)]
    out.print(Text(plain("  ".join(told))))
    if found.get("submitted_at"):
        out.print(Text(f"submitted {found['submitted_at']}"), style="dim")
    if current:
        _print_judgement(out, current)
    timeline = found.get("timeline", [])
    if timeline:
        lines = table("at", "event", "")
        for entry in timeline[-_SHOWN_TIMELINE:]:
            lines.add_row(cell(entry["at"]), cell(entry["event"]), cell(entry.get("detail")))
        out.print()
        out.print(lines)


def _print_judgement(out: Console, judgement: Any) -> None:
    place = [str(judgement[name]) for name in ("executor", "isolation") if judgement.get(name)]
    if place:
        out.print(Text(plain(f"judged on {', '.join(place)}, lease {judgement['lease_epoch']}")), style="dim")
    compiled = judgement.get("compile")
    if compiled is not None and compiled.get("output"):
        out.print(Text("\ncompiler:"))
        out.print(Text(plain(compiled["output"].rstrip("\n"))))
    runs = judgement.get("runs", [])
    if runs:
        lines = table("test", "verdict", "cpu", "wall", "memory", "limit", right=("cpu", "wall", "memory"))
        for run in runs:
            expired = run.get("limit_expired")
            lines.add_row(
                cell(run["test"]),
                verdict_text(run["verdict"]),
                milliseconds(run["cpu_time_ns"]),
                milliseconds(run["wall_time_ns"]),
                mebibytes(run["memory_peak_bytes"]),
                cell("" if expired in (None, "NONE") else expired),
            )
        out.print()
        out.print(lines)


def _line(verdict: Any) -> Text:
    told = [str(verdict[name]) for name in ("problem", "language", "team") if verdict.get(name)]
    previous = f" (was {verdict['previous']})" if verdict.get("previous") else ""
    return Text.assemble(
        f"{verdict['cursor']:>8}  ",
        verdict_text(verdict["verdict"]),
        " " * (4 - len(verdict["verdict"])),
        f"{milliseconds(verdict.get('cpu_time_ns')):>9} {mebibytes(verdict.get('memory_peak_bytes')):>11}  ",
        f"{verdict['submission_id']}  ",
        plain(" ".join(told) + previous),
    )
