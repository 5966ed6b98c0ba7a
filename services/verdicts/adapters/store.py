"""A batch of records into Postgres: load what it can touch, fold, write everything in one transaction.

Only one process may write. `fence.epoch` is raised by whoever starts and locked by every transaction; the offsets move
only from where this process left them. A process that lost either is a zombie and ends before it commits.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

import asyncpg

from schemas.codec import decode
from schemas.errors import PoisonEvent
from schemas.headers import signature_of, traceparent_of
from schemas.topics import KEYS
from services.chassis.kafka import Incoming, verify_incoming
from services.chassis.keys import TrustedKeys
from services.verdicts.adapters.database import queries
from services.verdicts.core.acceptance import SIGNED, Believed, Record, Refused, check_event
from services.verdicts.core.projection import Sheet, needed_ids
from services.verdicts.core.rows import (
    AlarmRow,
    ChangeRow,
    ContestRow,
    JudgementRow,
    LedgerRow,
    ParkedRow,
    PendingRow,
    ProblemRow,
    RunRow,
    SubmissionRow,
)

Place = tuple[str, int]
"""A topic partition."""
R = TypeVar("R")


class Fenced(Exception):
    """Another process projects into this schema: this one must end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Projected:
    """What a committed batch did."""

    records: int
    sheet: Sheet
    came: tuple[Believed | Refused, ...]


class Store:
    """The one writer of a schema. `open` it, then `apply` batches one after the other."""

    def __init__(self, connection: Any, trusted: TrustedKeys) -> None:
        self._connection: asyncpg.Connection[asyncpg.Record] = connection
        self._trusted = trusted
        self._sql = queries("projection")
        self._epoch = 0
        self._ledger_size = 0
        self._cursor = 0
        self._ranks: dict[str, int] = {}
        self.next: dict[Place, int] = {}
        """The next offset of each partition."""

    async def open(self, places: Sequence[Place]) -> None:
        """Takes the pen and reads where the projection stands."""
        connection, sql = self._connection, self._sql
        self._epoch = await connection.fetchval(sql["raise_fence"])
        await connection.execute(
            sql["add_partitions"], [topic for topic, _ in places], [partition for _, partition in places]
        )
        self.next = {(row["topic"], row["partition"]): row["next"] for row in await connection.fetch(sql["offsets"])}
        heads = await connection.fetchrow(sql["heads"])
        assert heads is not None
        self._ledger_size, self._cursor = heads["ledger_size"], heads["cursor"]
        self._ranks = {row["origin"]: row["rank"] for row in await connection.fetch(sql["origins"])}
        for row in await connection.fetch(sql["ledger_of_keys"]):
            self._trusted.feed(_incoming(row))

    @property
    def cursor(self) -> int:
        """The highest cursor that is committed."""
        return self._cursor

    def knows_key(self, incoming: Incoming) -> bool:
        """Whether the key that a record names is published; true when it names none."""
        signature = signature_of(incoming.headers)
        return signature is None or signature.key_id in self._trusted.ring

    async def apply(self, batch: Sequence[Incoming]) -> Projected:
        """Projects records in the order given; those before a partition's next offset are passed over.

        Raises:
            Fenced: another process has taken over; nothing of the batch is stored.
        """
        came: list[Believed | Refused] = []
        moved: dict[Place, int] = {}
        for incoming in batch:
            place = (incoming.topic, incoming.partition)
            if incoming.offset < moved.get(place, self.next[place]):
                continue
            moved[place] = incoming.offset + 1
            came.append(self._judge(incoming))
        if not moved:
            return Projected(records=0, sheet=self._sheet(), came=())
        async with self._connection.transaction():
            await self._hold(moved)
            sheet = await self._load(came)
            for entry in came:
                sheet.take(entry)
            await self._write(sheet)
        self.next.update(moved)
        self._ledger_size, self._cursor = sheet.ledger_size, sheet.cursor
        return Projected(records=len(came), sheet=sheet, came=tuple(came))

    def _judge(self, incoming: Incoming) -> Believed | Refused:
        record = record_of(incoming)
        try:
            if incoming.topic == KEYS.name:
                self._trusted.feed(incoming)
            elif incoming.topic in SIGNED:
                verify_incoming(incoming, self._trusted.ring)
            event = decode(incoming.value)
            check_event(record, event)
        except PoisonEvent as error:
            return Refused(record=record, code=error.code, reason=str(error))
        return Believed(record=record, event=event)

    async def _hold(self, moved: Mapping[Place, int]) -> None:
        epoch = await self._connection.fetchval(self._sql["hold_fence"])
        places = sorted(moved)
        rows = await self._connection.fetch(
            self._sql["move_offsets"],
            [topic for topic, _ in places],
            [partition for _, partition in places],
            [self.next[place] for place in places],
            [moved[place] for place in places],
        )
        if epoch != self._epoch or len(rows) != len(places):
            raise Fenced(
                f"expected epoch {self._epoch} and {len(places)} partitions where they were left, "
                f"came epoch {epoch} and {len(rows)}"
            )

    def _sheet(self) -> Sheet:
        return Sheet(ledger_size=self._ledger_size, cursor=self._cursor, ranks=self._ranks)

    async def _load(self, came: Sequence[Believed | Refused]) -> Sheet:
        sheet = self._sheet()
        submission_ids, event_ids = needed_ids(came)
        if submission_ids:
            ids = sorted(submission_ids)
            for row in await self._fetch("load_submissions", ids):
                sheet.submissions[row["submission_id"]] = SubmissionRow(**dict(row))
            for row in await self._fetch("load_judgements", ids):
                sheet.judgements[row["judgement_id"]] = JudgementRow(**dict(row))
            for row in await self._fetch("load_pending", ids):
                sheet.pending[row["judgement_id"]] = PendingRow(**dict(row))
        event_ids.update(row.conclusion_event_id for row in sheet.pending.values())
        event_ids.update(row.accepted_event_id for row in sheet.pending.values() if row.accepted_event_id is not None)
        if event_ids:
            for row in await self._fetch("load_ledger_events", sorted(event_ids)):
                record = record_of(_incoming(row))
                event = decode(record.value)
                sheet.stored[getattr(event, "event_id")] = Believed(record=record, event=event)  # noqa: B009
        return sheet

    async def _fetch(self, name: str, ids: Sequence[str]) -> list[asyncpg.Record]:
        return await self._connection.fetch(self._sql[name], ids)

    async def _write(self, sheet: Sheet) -> None:
        await self._put("insert_ledger", LedgerRow, sheet.ledger)
        await self._put("insert_parked", ParkedRow, sheet.parked)
        await self._put("insert_alarms", AlarmRow, sheet.alarms)
        await self._put("upsert_problems", ProblemRow, sheet.problems.values())
        await self._put("upsert_contests", ContestRow, sheet.contests.values())
        await self._put(
            "upsert_submissions", SubmissionRow, [sheet.submissions[name] for name in sorted(sheet.touched_submissions)]
        )
        await self._put(
            "upsert_judgements", JudgementRow, [sheet.judgements[name] for name in sorted(sheet.touched_judgements)]
        )
        await self._put("insert_runs", RunRow, sheet.runs)
        if sheet.no_longer_pending:
            await self._connection.execute(self._sql["delete_pending"], sorted(sheet.no_longer_pending))
        await self._put("insert_pending", PendingRow, sheet.new_pending.values())
        await self._put("insert_verdict_changes", ChangeRow, sheet.changes)

    async def _put(self, name: str, row_type: type[R], rows: Iterable[R]) -> None:
        names = [field.name for field in dataclasses.fields(row_type)]  # type: ignore[arg-type]  # all are dataclasses
        values = [attrgetter(*names)(row) for row in rows]
        if values:
            await self._connection.execute(self._sql[name], values)


def record_of(incoming: Incoming) -> Record:
    """A record as the core sees it."""
    return Record(
        topic=incoming.topic,
        partition=incoming.partition,
        offset=incoming.offset,
        key=incoming.key,
        value=incoming.value,
        headers=incoming.headers,
        timestamp_ms=incoming.timestamp_ms,
        signature=signature_of(incoming.headers),
        traceparent=_plain(traceparent_of(incoming.headers)),
    )


def _plain(traceparent: str | None) -> str | None:
    """A trace header only when it can be one: it becomes a column and the header of what is published."""
    if traceparent is None or len(traceparent) > 64 or not traceparent.replace("-", "").isalnum():
        return None
    return traceparent


def _incoming(row: asyncpg.Record) -> Incoming:
    """A ledger row as the record it was."""
    headers = tuple((name, base64.b64decode(value)) for name, value in json.loads(row["headers"]))
    return Incoming(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        key=row["key"],
        value=row["value"],
        headers=headers,
        timestamp_ms=row["accepted_at_ms"],
    )
