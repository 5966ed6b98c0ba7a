"""What commands print: tables on a terminal, plain text elsewhere, and nothing that a contestant wrote as a command.

Compiler output, file names and team names may hold escape sequences that move a terminal's cursor or set its title;
`plain` makes them visible instead. Colour comes from rich, which leaves it out when the output is no terminal.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_PIPED_COLUMNS: Final = 200
_COLOURS: Final = {"AC": "green", "CE": "yellow", "JE": "bold magenta"}


def plain(text: str) -> str:
    """The text with control characters (but tab and newline) and direction marks spelled out."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found.group()):02x}", text)


def console() -> Console:
    """Standard output; markup in what is printed means nothing."""
    width = None if sys.stdout.isatty() else _PIPED_COLUMNS
    return Console(markup=False, highlight=False, emoji=False, width=width)


def cell(value: object) -> Text:
    """A table cell that is never interpreted."""
    return Text("" if value is None else plain(str(value)))


def verdict_text(verdict: str | None) -> Text:
    """A verdict in its colour."""
    if verdict is None:
        return Text("…", style="dim")
    return Text(plain(verdict), style=_COLOURS.get(verdict, "red"))


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table without lines; columns in `right` are numbers."""
    made = Table(box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left")
    return made


def milliseconds(duration_ns: int | None) -> str:
    return "" if duration_ns is None else f"{duration_ns / 1e6:.0f} ms"


def mebibytes(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 2**20:.1f} MiB"


def print_json(value: Any) -> None:
    """One JSON object on standard output, ASCII, so that any terminal and any script can take it."""
    sys.stdout.write(json.dumps(value, indent=1, sort_keys=True) + "\n")
