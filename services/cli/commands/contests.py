"""`assize contest add` and `assize contest list`."""

from __future__ import annotations

import click

from services.cli.client import open_client, segment
from services.cli.terminal import cell, console, print_json, table


@click.group("contest")
def contest() -> None:
    """Register and list contests: they give submissions their urgency."""


@contest.command("add")
@click.argument("contest_id", metavar="ID")
@click.option("--name", help="Display name; the id by default.")
@click.option(
    "--class",
    "kind",
    type=click.Choice(("final", "contest", "practice")),
    default="contest",
    show_default=True,
    help="Urgency of its submissions while it runs.",
)
@click.option("--starts", "starts_at", required=True, metavar="TIME", help="RFC 3339, such as 2026-11-24T09:00:00Z.")
@click.option("--ends", "ends_at", required=True, metavar="TIME", help="RFC 3339.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def add(*, contest_id: str, name: str | None, kind: str, starts_at: str, ends_at: str, as_json: bool) -> None:
    """Register a contest, or change it: the last registration of an id counts.

    Exit codes: 0 registered, 1 refused, 2 wrong usage, 3 no stack to talk to.
    """
    body = {"name": name or contest_id, "class": kind, "starts_at": starts_at, "ends_at": ends_at}
    with open_client() as client:
        view = client.ingest("PUT", f"/v1/contests/{segment(contest_id)}", json=body)
    if as_json:
        print_json(view)
    else:
        console().print(
            cell(f"{view['id']}: {view['name']}, {view['priority_class']}, {view['starts_at']} to {view['ends_at']}")
        )


@contest.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def list_contests(*, as_json: bool) -> None:
    """The contests of your tenant."""
    with open_client() as client:
        views = client.ingest("GET", "/v1/contests")
    if as_json:
        print_json({"contests": views})
        return
    lines = table("contest", "name", "class", "starts", "ends", "by")
    for view in views:
        lines.add_row(
            *(cell(view[key]) for key in ("id", "name", "priority_class", "starts_at", "ends_at", "registered_by"))
        )
    console().print(lines)
