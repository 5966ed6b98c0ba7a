"""`assize token create` and `assize token list`: access to the stack of this machine's state folder."""

from __future__ import annotations

import json
import re
from typing import Final

import click

from deploy.local.folders import StackRefused, StackSettings
from deploy.local.furnish import LOCAL_TENANT
from services.chassis.faults import StartRefused
from services.chassis.tokens import Scope, TokenStore, create_token
from services.cli.terminal import cell, console, print_json, table

EXIT_NO_STACK: Final = 3
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TENANT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class NoStateFolder(click.ClickException):
    """There is no stack here whose tokens could be changed."""

    exit_code = EXIT_NO_STACK


@click.group("token")
def token() -> None:
    """Create and list access tokens. Only their hashes are kept."""


@token.command("create")
@click.argument("name")
@click.option("--tenant", default=LOCAL_TENANT, show_default=True, help="Whose submissions and problems it reaches.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it allows; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def create(*, name: str, tenant: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Create the token NAME, or replace it, and print it: it is shown this once. It works at once.

    Exit codes: 0 created, 2 wrong usage, 3 no stack was ever started here.
    """
    for what, value, pattern in (("name", name, _NAME), ("tenant", tenant, _TENANT)):
        if not pattern.fullmatch(value):
            raise click.UsageError(f"expected a {what} that matches {pattern.pattern}, came {value!r}")
    settings = _settings()
    made = create_token(
        settings.folders.tokens_file, name=name, tenant=tenant, scopes=[Scope(scope) for scope in scopes]
    )
    if as_json:
        print_json({"name": name, "tenant": tenant, "scopes": sorted(scopes), "token": made})
    else:
        click.echo(made)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def list_tokens(*, as_json: bool) -> None:
    """Names, tenants and scopes; never a token."""
    entries = json.loads(_settings().folders.tokens_file.read_text())["tokens"]
    shown = [{key: entry[key] for key in ("name", "tenant", "scopes")} for entry in entries]
    if as_json:
        print_json({"tokens": shown})
        return
    lines = table("name", "tenant", "scopes")
    for entry in shown:
        lines.add_row(cell(entry["name"]), cell(entry["tenant"]), cell(" ".join(entry["scopes"])))
    console().print(lines)


def _settings() -> StackSettings:
    try:
        settings = StackSettings.from_environment()
        TokenStore(settings.folders.tokens_file)
    except StackRefused as failure:
        raise click.UsageError(failure.reason) from failure
    except StartRefused as failure:
        raise NoStateFolder(f"{failure}; start a stack with `assize up`, or set ASSIZE_STATE_DIR") from failure
    return settings
