"""Postgres: connections in our schema, named queries, migrations under a lock.

SQL lies in `sql/*.sql`, each statement behind `-- name: …`; migrations in `sql/migrations/NNNN_*.sql` are applied in
order, once, each in a transaction with its line in `migrations`.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import re
from importlib import resources
from typing import Any

import asyncpg

from services.chassis.faults import StartRefused
from services.chassis.logs import logger

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_MIGRATION_LOCK = 4_726_001_177
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)


@functools.cache
def queries(file: str) -> dict[str, str]:
    """The statements of `sql/<file>.sql` by name."""
    text = (resources.files("services.verdicts") / "adapters" / "sql" / f"{file}.sql").read_text()
    _, *parts = _NAME.split(text)
    return {
        name: _COMMENT.sub("", body).strip().rstrip(";") for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


async def connect_pool(dsn: str, schema: str, *, most: int) -> asyncpg.Pool[asyncpg.Record]:
    """A pool whose connections see `schema` alone. Waits until the server takes connections.

    Raises:
        StartRefused: the address or the credentials are wrong, which waiting does not mend.
    """
    while True:
        try:
            return await asyncpg.create_pool(dsn, min_size=1, max_size=most, **_options(schema))
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError, ValueError) as error:
            raise StartRefused(f"expected to enter the database of ASSIZE_POSTGRES_DSN, came: {error}") from error
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            logger().warning("postgres_awaited", error=repr(error))
            await asyncio.sleep(0.5)


async def connect(dsn: str, schema: str) -> asyncpg.Connection[asyncpg.Record]:
    """One connection of its own, which sees `schema` alone."""
    return await asyncpg.connect(dsn, **_options(schema))


def _options(schema: str) -> dict[str, Any]:
    # Compiling a statement costs more than running one of ours.
    settings = {"search_path": schema, "jit": "off", "application_name": "assize-verdicts", "timezone": "UTC"}
    return {"server_settings": settings, "command_timeout": 60}


async def migrate(connection: asyncpg.Connection[asyncpg.Record] | Any, schema: str) -> int:
    """Applies what is missing to `schema`; returns how many migrations that were.

    Raises:
        StartRefused: an applied migration differs from its file, or the database is newer than this program.
    """
    files = {entry.name: entry.read_text() for entry in _migration_files()}
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await connection.execute("CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, sha256 text NOT NULL)")
        applied = {row["name"]: row["sha256"] for row in await connection.fetch("SELECT name, sha256 FROM migrations")}
        for name, digest in applied.items():
            if name not in files or _sha256(files[name]) != digest:
                raise StartRefused(f"expected migration {name} of schema {schema} as applied, came another or none")
        missing = [name for name in sorted(files) if name not in applied]
        for name in missing:
            await connection.execute(files[name])
            await connection.execute("INSERT INTO migrations VALUES ($1, $2)", name, _sha256(files[name]))
    return len(missing)


def _migration_files() -> list[Any]:
    folder = resources.files("services.verdicts") / "adapters" / "sql" / "migrations"
    return [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
