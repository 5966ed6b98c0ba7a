"""`assize languages` and `assize pools`: what judges here."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from services.cli.client import open_client
from services.cli.terminal import cell, console, print_json, table


@click.command("languages")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def languages(*, as_json: bool) -> None:
    """The languages that can be judged, and the suffixes that tell them."""
    with open_client() as client:
        views = client.ingest("GET", "/v1/languages")
    if as_json:
        print_json({"languages": views})
        return
    lines = table("language", "name", "suffixes")
    for view in views:
        lines.add_row(cell(view["id"]), cell(view["name"]), cell(" ".join(f".{part}" for part in view["extensions"])))
    console().print(lines)


@click.command("pools")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def pools(*, as_json: bool) -> None:
    """Executors with their slots and pools, warm sandboxes, and the queue of each cell."""
    with open_client() as client:
        found = client.verdicts("/v1/pools")
    if as_json:
        print_json(found)
        return
    out = console()
    lines = table("executor", "slots", "language", "isolation", "serving", "warm", "", right=("slots", "warm"))
    for executor in found["executors"]:
        slots = f"{len(executor['running'])}/{executor['slots']}"
        for pool in executor["pools"]:
            lines.add_row(
                cell(executor["executor"]),
                slots,
                cell(pool["language"]),
                cell(pool["isolation"]),
                Text("yes", style="green") if pool["serving"] else Text("no", style="red"),
                f"{pool['warm']} ({pool['min_warm']}–{pool['max_warm']})",
                cell(pool["reason"] or _state_of(executor)),
            )
    out.print(lines)
    for queue in found["queue"]:
        out.print(
            cell(f"cell {queue['cell']}: {queue['queued']} waiting of {queue['bound']}, {queue['running']} running")
        )
        for entry in queue["languages"]:
            if entry["held"]:
                out.print(cell(f"  {entry['language']}: {entry['held']} held: {entry['held_reason']}"))


def _state_of(executor: Any) -> str:
    if executor["silent"]:
        return "silent"
    if executor["draining"]:
        return "draining"
    return str(executor["health"])
