"""The `assize` command: one group whose commands are loaded when they are named.

`--help` and completion read the table below; a command's module is imported only when that command runs, so that
`assize status` does not pay for what `assize demo` needs. Exit codes: 0 done, 1 it failed or disagreed, 2 wrong usage,
3 no stack to talk to, 4 waited too long.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final, NamedTuple

import click

EXIT_FAILED: Final = 1


class _Place(NamedTuple):
    """Where a command lives: the module under services.cli.commands, and its attribute there."""

    module: str
    attribute: str
    summary: str


_COMMANDS: Final[dict[str, _Place]] = {
    "up": _Place("stack", "up_command", "Start the one-machine stack, or what of it does not run."),
    "down": _Place("stack", "down_command", "Stop the stack and leave nothing of it running."),
    "status": _Place("stack", "status_command", "State, pid, port, lag and health of every part."),
    "logs": _Place("stack", "logs_command", "Show, and follow, the log of one part."),
    "doctor": _Place("doctor", "doctor_command", "Why does it not work here? Each finding says what to do."),
    "submit": _Place("submissions", "submit", "Submit a program and, if asked, wait for its verdict."),
    "watch": _Place("submissions", "watch", "Show verdicts as they come."),
    "show": _Place("submissions", "show", "One submission with its judgements and runs."),
    "problem": _Place("problems", "problem", "Add and list problem packages."),
    "contest": _Place("contests", "contest", "Register and list contests."),
    "token": _Place("tokens", "token", "Create and list access tokens."),
    "languages": _Place("machine", "languages", "What can be judged."),
    "pools": _Place("machine", "pools", "Executors, pools, warm sandboxes and queues."),
    "preflight": _Place("preflight", "preflight", "Prove each limit in a real sandbox of each pool."),
    "rebuild": _Place("rebuild", "rebuild", "Project the topics from zero and compare with what is served."),
    "demo": _Place("demo", "demo", "Judge the example programs and compare the verdicts."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by the table and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Names in the order of the table, which is the order of use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """Imports the command's module."""
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        command = getattr(importlib.import_module(f"services.cli.commands.{place.module}"), place.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"expected a click command at {place.module}.{place.attribute}, got {command!r}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  click's signature
        """The list of commands, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.summary) for name, place in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="assize")
def main() -> None:
    """Assize judges hostile programs and gives verdicts that anyone can audit.

    Shell completion: eval "$(_ASSIZE_COMPLETE=bash_source assize)" (or zsh_source, fish_source).
    """


if __name__ == "__main__":
    sys.exit(main(prog_name="assize"))
