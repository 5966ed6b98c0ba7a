"""Which stack a command talks to, and as whom.

ASSIZE_URL (ingest), ASSIZE_VERDICTS_URL and ASSIZE_TOKEN name a stack elsewhere; else it is the one of the state
folder, with the token that `assize up` left there for its owner.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from deploy.local.folders import Folders, inherited_environment
from deploy.local.furnish import LOCAL_TENANT

DEFAULT_STATE = "/var/lib/assize/local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Addresses and the token. `kafka_bootstrap` is empty for a stack elsewhere."""

    ingest_url: str
    verdicts_url: str
    kafka_bootstrap: str
    token: str
    tenant: str
    state_dir: Path

    @property
    def authorization(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.token}"}


class StackUnreachable(click.ClickException):
    """No stack to talk to."""

    exit_code = 3


def open_access() -> Access:
    """The stack that the environment or the state folder names.

    Raises:
        StackUnreachable: neither does.
    """
    environment = inherited_environment()
    folders = Folders(state=Path(environment.get("ASSIZE_STATE_DIR") or DEFAULT_STATE))
    known: dict[str, str] = {}
    if folders.stack_file.exists():
        known = json.loads(folders.stack_file.read_text())
    ingest_url = environment.get("ASSIZE_URL") or known.get("ingest_url")
    verdicts_url = environment.get("ASSIZE_VERDICTS_URL") or known.get("verdicts_url")
    token = environment.get("ASSIZE_TOKEN") or (
        folders.cli_token.read_text().strip() if folders.cli_token.exists() else None
    )
    if ingest_url is None or verdicts_url is None or token is None:
        raise StackUnreachable(
            f"expected a stack in {folders.state} or ASSIZE_URL, ASSIZE_VERDICTS_URL and ASSIZE_TOKEN, came neither; "
            "start one with `assize up`"
        )
    return Access(
        ingest_url=ingest_url.rstrip("/"),
        verdicts_url=verdicts_url.rstrip("/"),
        kafka_bootstrap=known.get("kafka_bootstrap", ""),
        token=token,
        tenant=LOCAL_TENANT,
        state_dir=folders.state,
    )
