"""`assize rebuild`: projects the topics from zero beside what is served, and compares the two byte for byte."""

from __future__ import annotations

import sys
from typing import Final

import click

from deploy.local.folders import StackRefused, StackSettings
from deploy.local.stack import describe, service_environment
from services.chassis.faults import StartRefused
from services.chassis.logs import configure_logs
from services.verdicts.config import VerdictsSettings
from services.verdicts.rebuild import run

EXIT_NO_STACK: Final = 3


@click.command("rebuild")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output: counts and hashes by table.")
@click.option("--keep", is_flag=True, help="Leave the fresh schema in the database, to look at.")
def rebuild(*, as_json: bool, keep: bool) -> None:
    """Project the topics from zero into a fresh schema and compare it with what is served.

    Nothing is published and nothing is unavailable meanwhile. Exit code 0: every table is equal. 1: one is not.
    2: the log or the keys are not those of this projection. 3: there is no stack to ask.
    """
    configure_logs(service="rebuild", level="error")
    try:
        settings = StackSettings.from_environment()
        environment = service_environment(settings, describe(settings), "verdicts")
        chosen = VerdictsSettings.from_environment(environment)
    except (StackRefused, StartRefused) as failure:
        click.echo(f"assize: {failure}", err=True)
        sys.exit(EXIT_NO_STACK)
    sys.exit(run(chosen, as_json=as_json, keep=keep, out=sys.stdout, errors=sys.stderr))
