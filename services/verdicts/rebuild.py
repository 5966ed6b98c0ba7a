"""Rebuilds the projection from the log, beside the live one, and compares the two byte for byte.

    python -m services.verdicts.rebuild [--json] [--keep]

The live schema is read in one snapshot: its offsets are how far the rebuild goes, and the order of its ledger is the
order in which the rebuild takes the records. Everything else comes from the topics, from offset zero. What lies
between (reports, repetitions) is taken just before the next record of its partition; it has no place in the order.
Nothing is published. Exit code 0 only when every table is equal, 1 when one is not.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiokafka.structs import TopicPartition

from services.chassis.clock import random_id
from services.chassis.faults import StartRefused
from services.chassis.kafka import Incoming, start_consumer
from services.chassis.keys import TrustedKeys, root_ring
from services.chassis.logs import configure_logs
from services.verdicts.adapters.database import connect, migrate, queries
from services.verdicts.adapters.store import Place, Store
from services.verdicts.config import VerdictsSettings

COMPARED = (
    "ledger",
    "parked",
    "alarms",
    "offsets",
    "problems",
    "contests",
    "submissions",
    "judgements",
    "runs",
    "pending",
    "origins",
    "verdict_changes",
    "verdicts",
    "late_results",
)
"""Every table and view of the projection; the fence and the mark of publication belong to a process, not to the log."""
EXIT_DIFFERENT = 1
EXIT_REFUSED = 2
EXIT_UNREACHABLE = 3
_BATCH_RECORDS = 500
_PREFETCH_ROWS = 1000
_SILENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One table on both sides. `first_difference` is (live, rebuilt), texts of the rows."""

    table: str
    live_rows: int
    rebuilt_rows: int
    live_sha256: str
    rebuilt_sha256: str
    first_difference: tuple[str | None, str | None] | None

    @property
    def equal(self) -> bool:
        return (self.live_rows, self.live_sha256) == (self.rebuilt_rows, self.rebuilt_sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What came of a rebuild."""

    schema: str
    kept: bool
    records: int
    tables: tuple[Compared, ...]

    @property
    def equal(self) -> bool:
        return all(table.equal for table in self.tables)

    def as_json(self) -> dict[str, Any]:
        return {
            "equal": self.equal,
            "schema": self.schema if self.kept else None,
            "records": self.records,
            "tables": [
                {
                    "table": table.table,
                    "equal": table.equal,
                    "live_rows": table.live_rows,
                    "rebuilt_rows": table.rebuilt_rows,
                    "live_sha256": table.live_sha256,
                    "rebuilt_sha256": table.rebuilt_sha256,
                    "first_difference": table.first_difference,
                }
                for table in self.tables
            ],
        }


@dataclass(slots=True, kw_only=True)
class _Partition:
    """One partition, read from zero as far as it is asked for."""

    consumer: Any
    place: Place
    ahead: list[Incoming] = field(default_factory=list)

    async def up_to(self, offset: int) -> list[Incoming]:
        """Records up to and including `offset`, in order.

        Raises:
            StartRefused: the log has no record there any more.
        """
        partition = TopicPartition(*self.place)
        taken: list[Incoming] = []
        while True:
            while self.ahead and self.ahead[0].offset <= offset:
                taken.append(self.ahead.pop(0))
            if self.ahead or await self.consumer.position(partition) > offset:
                return taken
            async with asyncio.timeout(_SILENCE_SECONDS):
                came = await self.consumer.getmany(partition, timeout_ms=1000, max_records=_BATCH_RECORDS)
            self.ahead.extend(Incoming.of(message) for message in came.get(partition, []))


async def rebuild(settings: VerdictsSettings, *, keep: bool, progress: Callable[[int, int], None]) -> Rebuilt:
    """Projects the topics anew and compares.

    Args:
        settings: of the live service.
        keep: leaves the fresh schema for whoever wants to look.
        progress: called with (records projected, records of the live ledger).

    Raises:
        StartRefused: there is no live projection, or the log does not hold what it was made from.
    """
    fresh = f"{settings.schema_name}_rebuild_{random_id()[:8]}"
    live = await connect(settings.postgres_dsn, settings.schema_name)
    writing = await connect(settings.postgres_dsn, fresh)
    try:
        async with live.transaction(isolation="repeatable_read", readonly=True):
            if await live.fetchval("SELECT to_regclass('ledger')") is None:
                raise StartRefused(f"expected a projection in schema {settings.schema_name}, came none")
            ends = {(row["topic"], row["partition"]): row["next"] for row in await live.fetch(_sql("offsets"))}
            await migrate(writing, fresh)
            store = Store(writing, TrustedKeys(root_ring(settings.keys_dir)))
            await store.open(sorted(ends))
            total = await live.fetchval("SELECT count(*) FROM ledger")
            records = 0
            async with _reading(settings.kafka_bootstrap, sorted(ends)) as partitions:
                async for batch in _in_order(live, partitions, ends):
                    records += (await store.apply(batch)).records
                    progress(records, total)
            tables = tuple([await _compare(live, writing, table) for table in COMPARED])
        return Rebuilt(schema=fresh, kept=keep, records=records, tables=tables)
    finally:
        if not keep:
            await writing.execute(f'DROP SCHEMA IF EXISTS "{fresh}" CASCADE')
        await writing.close()
        await live.close()


def _sql(name: str) -> str:
    return queries("projection")[name]


@asynccontextmanager
async def _reading(bootstrap: str, places: Sequence[Place]) -> AsyncIterator[dict[Place, _Partition]]:
    partitions: dict[Place, _Partition] = {}
    try:
        for place in places:
            consumer = await start_consumer(bootstrap)
            partitions[place] = _Partition(consumer=consumer, place=place)
            consumer.assign([TopicPartition(*place)])
            await consumer.seek_to_beginning(TopicPartition(*place))
        yield partitions
    finally:
        for partition in partitions.values():
            await partition.consumer.stop()


async def _in_order(
    live: Any, partitions: dict[Place, _Partition], ends: dict[Place, int]
) -> AsyncIterator[list[Incoming]]:
    """Batches of records in the live order, then what is left of each partition up to its end."""
    batch: list[Incoming] = []
    async for row in live.cursor(_sql("accepted_order"), prefetch=_PREFETCH_ROWS):
        partition = partitions.get((row["topic"], row["partition"]))
        if partition is None or row["offset"] >= ends[partition.place]:
            continue  # A row that no offset accounts for: the comparison shows it.
        batch.extend(await partition.up_to(row["offset"]))
        if len(batch) >= _BATCH_RECORDS:
            yield batch
            batch = []
    for place, partition in partitions.items():
        if ends[place] > 0:
            batch.extend(await partition.up_to(ends[place] - 1))
    if batch:
        yield batch


async def _compare(live: Any, fresh: Any, table: str) -> Compared:
    """Counts and hashes both sides in the order of the primary key (all columns, for a view)."""
    hashes = (hashlib.sha256(), hashlib.sha256())
    counts = [0, 0]
    first: tuple[str | None, str | None] | None = None
    async with fresh.transaction(isolation="repeatable_read", readonly=True):
        order = await live.fetchval(_ORDER, table) or "1"
        statement = f"SELECT t::text FROM {table} t ORDER BY {order}"  # noqa: S608  names from COMPARED and the catalogue
        sides = (
            aiter(live.cursor(statement, prefetch=_PREFETCH_ROWS)),
            aiter(fresh.cursor(statement, prefetch=_PREFETCH_ROWS)),
        )
        while True:
            texts = (await _next_text(sides[0]), await _next_text(sides[1]))
            if texts == (None, None):
                break
            for side, text in enumerate(texts):
                if text is not None:
                    counts[side] += 1
                    hashes[side].update(f"{len(text)}:{text}".encode())
            if first is None and texts[0] != texts[1]:
                first = texts
    return Compared(
        table=table,
        live_rows=counts[0],
        rebuilt_rows=counts[1],
        live_sha256=hashes[0].hexdigest(),
        rebuilt_sha256=hashes[1].hexdigest(),
        first_difference=first,
    )


_ORDER = """
SELECT string_agg('t.' || quote_ident(a.attname), ', ' ORDER BY array_position(i.indkey::smallint[], a.attnum))
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::smallint[])
WHERE i.indrelid = to_regclass($1) AND i.indisprimary
"""


async def _next_text(rows: Any) -> str | None:
    try:
        row = await anext(rows)
    except StopAsyncIteration:
        return None
    text: str = row["t"]
    return text


def print_table(report: Rebuilt, out: Any) -> None:
    """The report for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table("table", "rows live", "rows rebuilt", "sha256", "", title="The projection, rebuilt from the log")
    for entry in report.tables:
        mark = "[green]equal[/]" if entry.equal else "[bold red]different[/]"
        table.add_row(entry.table, str(entry.live_rows), str(entry.rebuilt_rows), entry.rebuilt_sha256[:16], mark)
    console = Console(file=out)
    console.print(table)
    for entry in report.tables:
        if entry.first_difference is not None:
            live, rebuilt = (text if text is None else text[:300] for text in entry.first_difference)
            console.print(f"{entry.table}: live {live!r}, rebuilt {rebuilt!r}", markup=False)
    console.print(
        f"{report.records} records from the log: "
        + ("every table is equal" if report.equal else "the live projection is not what the log says")
    )
    if report.kept:
        console.print(f"kept as schema {report.schema}")


def run(settings: VerdictsSettings, *, as_json: bool, keep: bool, out: Any, errors: Any) -> int:
    """Rebuilds, prints, and returns the exit code."""

    def progress(records: int, total: int) -> None:
        if errors.isatty():
            errors.write(f"\r{records} records projected, {total} in the live ledger ")
            errors.flush()

    try:
        report = asyncio.run(rebuild(settings, keep=keep, progress=progress))
    except StartRefused as error:
        errors.write(f"{error}\n")
        return EXIT_REFUSED
    except (OSError, asyncpg.PostgresError) as error:
        errors.write(f"expected to read the live projection, came: {error}\n")
        return EXIT_UNREACHABLE
    if errors.isatty():
        errors.write("\r\x1b[K")
    if as_json:
        out.write(json.dumps(report.as_json(), indent=1) + "\n")
    else:
        print_table(report, out)
    return 0 if report.equal else EXIT_DIFFERENT


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m services.verdicts.rebuild", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--keep", action="store_true", help="leave the fresh schema in the database")
    chosen = parser.parse_args(arguments)
    configure_logs(service="verdicts-rebuild", level="warning")
    try:
        settings = VerdictsSettings.from_environment()
    except StartRefused as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    return run(settings, as_json=chosen.json, keep=chosen.keep, out=sys.stdout, errors=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
