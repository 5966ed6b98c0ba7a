"""Access tokens: who may do what for which tenant. Only hashes lie at rest.

`<state>/tokens.json` holds {name, tenant, scopes, sha256}; a token is 32 random bytes in URL-safe base64 behind
"assize_", so a fast hash is enough (there is nothing to guess). There is no default token.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from services.chassis.faults import StartRefused


class Scope(enum.StrEnum):
    """What a token allows."""

    SUBMIT = "submit"
    READ = "read"
    JURY = "jury"
    REJUDGE = "rejudge"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A known token: its name (for the audit), tenant and scopes."""

    name: str
    tenant: str
    scopes: frozenset[Scope]
    sha256: str


class TokenStore:
    """The tokens of a file; read again when the file changes, so that a new token works at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] = (0, 0)
        self._entries: tuple[Access, ...] = ()
        self._reload()

    def access(self, token: str) -> Access | None:
        """Who the token is, or None. Compares in constant time."""
        self._reload()
        came = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for entry in self._entries:
            if hmac.compare_digest(entry.sha256, came):
                found = entry
        return found

    def tenants(self) -> frozenset[str]:
        self._reload()
        return frozenset(entry.tenant for entry in self._entries)

    def _reload(self) -> None:
        status = _checked(self._path)
        seen = (status.st_mtime_ns, status.st_ino)
        if seen != self._seen:
            self._entries = tuple(_entry(value) for value in json.loads(self._path.read_text())["tokens"])
            self._seen = seen


def _checked(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except OSError as error:
        raise StartRefused(f"expected a token file at {path}, came: {error.strerror}") from error
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise StartRefused(
            f"expected {path} to be readable by its owner alone, came {stat.S_IMODE(status.st_mode):04o}"
        )
    return status


def _entry(value: dict[str, object]) -> Access:
    scopes = value["scopes"]
    if not isinstance(scopes, list):
        raise StartRefused(f"expected a list of scopes, came {scopes!r}")
    return Access(
        name=str(value["name"]),
        tenant=str(value["tenant"]),
        scopes=frozenset(Scope(scope) for scope in scopes),
        sha256=str(value["sha256"]),
    )


def create_token(path: Path, *, name: str, tenant: str, scopes: Iterable[Scope]) -> str:
    """Adds a token to the file (which is made if needed) and returns it; it is shown this once."""
    token = "assize_" + secrets.token_urlsafe(32)
    tokens = json.loads(path.read_text())["tokens"] if path.exists() else []
    kept = [entry for entry in tokens if entry["name"] != name]
    entry = {
        "name": name,
        "tenant": tenant,
        "scopes": sorted(scopes),
        "sha256": hashlib.sha256(token.encode()).hexdigest(),
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"tokens": [*kept, entry]}, file, indent=1)
    partial.rename(path)
    return token
