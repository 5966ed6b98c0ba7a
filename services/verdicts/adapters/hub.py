"""Pushing: who listens, and what each of them still has to get.

Every listener has a bounded queue. Nobody waits for a slow one: when its queue is full it is marked, and its stream
closes it with the cursor from which it can go on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson

from services.chassis.clock import Clock
from services.chassis.telemetry import meter, span
from services.verdicts.adapters.database import queries
from services.verdicts.core.board import Board
from services.verdicts.core.rows import ChangeRow
from services.verdicts.core.shapes import change_shape, summary_shape

_GATHER_SECONDS = 0.05
"""Changes of this long go to the page as one message."""
_BOARD_SECONDS = 1.0
"""How often an executor's silence is looked for."""
_MOST_DIRTY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictFilter:
    """Which verdicts a listener wants; None wants all. The tenant is never optional."""

    tenant: str
    contest: str | None = None
    team: str | None = None
    submission: str | None = None
    problem: str | None = None

    def wants(self, change: ChangeRow) -> bool:
        return (
            change.tenant == self.tenant
            and self.contest in (None, change.contest)
            and self.team in (None, change.team)
            and self.submission in (None, change.submission_id)
            and self.problem in (None, change.problem)
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listener:
    """One client's queue of (cursor, text)."""

    filter: VerdictFilter
    queue: asyncio.Queue[tuple[int, str]]
    overflowed: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, cursor: int, text: str) -> None:
        if self.overflowed.is_set():
            return
        try:
            self.queue.put_nowait((cursor, text))
        except asyncio.QueueFull:
            self.overflowed.set()


class Hub:
    """Listeners of verdicts."""

    def __init__(self, *, queue_messages: int) -> None:
        self._queue_messages = queue_messages
        self._listeners: set[Listener] = set()
        self._pushed = meter().create_counter("assize_verdicts_pushed", description="Verdicts handed to listeners")

    @contextmanager
    def listening(self, wanted: VerdictFilter) -> Iterator[Listener]:
        listener = Listener(filter=wanted, queue=asyncio.Queue(maxsize=self._queue_messages))
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def push(self, changes: Iterable[ChangeRow]) -> None:
        """Hands committed changes, in cursor order, to whoever wants them."""
        for change in changes:
            wanting = [listener for listener in self._listeners if listener.filter.wants(change)]
            if not wanting:
                continue
            with span("verdicts.push", traceparent=change.traceparent, cursor=change.cursor):
                text = orjson.dumps(change_shape(change)).decode()
                for listener in wanting:
                    listener.offer(change.cursor, text)
            self._pushed.add(len(wanting))


class Activity:
    """What the page shows, live: changed submissions and the board, gathered for a moment and sent as one message."""

    def __init__(self, pool: Any, board: Board, clock: Clock, *, queue_messages: int) -> None:
        self._pool: asyncpg.Pool[asyncpg.Record] = pool
        self._board = board
        self._clock = clock
        self._queue_messages = queue_messages
        self._listeners: set[Listener] = set()
        self._dirty: dict[str, dict[str, None]] = {}
        self._board_changed = False
        self._awake = asyncio.Event()
        self._silent: frozenset[str] = frozenset()
        self._sql = queries("reading")

    @contextmanager
    def listening(self, tenant: str) -> Iterator[Listener]:
        listener = Listener(filter=VerdictFilter(tenant=tenant), queue=asyncio.Queue(maxsize=self._queue_messages))
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def touch(self, tenant: str, submission_id: str) -> None:
        """A submission changed. Under a flood the page gets the newest ones and asks for the rest by paging."""
        dirty = self._dirty.setdefault(tenant, {})
        dirty.pop(submission_id, None)
        dirty[submission_id] = None
        if len(dirty) > _MOST_DIRTY:
            del dirty[next(iter(dirty))]
        self._awake.set()

    def touch_board(self) -> None:
        self._board_changed = True
        self._awake.set()

    async def run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), _BOARD_SECONDS)
            self._awake.clear()
            silent = self._board.silent(self._clock.now_us())
            if silent != self._silent:
                self._silent, self._board_changed = silent, True
            await self._send_changes()
            await asyncio.sleep(_GATHER_SECONDS)

    async def _send_changes(self) -> None:
        dirty, self._dirty = self._dirty, {}
        if self._board_changed:
            self._board_changed = False
            text = message("pools", pools=self._board.snapshot(self._clock.now_us()))
            for listener in self._listeners:
                listener.offer(0, text)
        for tenant, ids in dirty.items():
            listeners = [listener for listener in self._listeners if listener.filter.tenant == tenant]
            if not listeners:
                continue
            cursor = await self._pool.fetchval(self._sql["head"])
            text = message("submissions", cursor=cursor, submissions=await self.summaries(tenant, list(ids)))
            for listener in listeners:
                listener.offer(cursor, text)

    async def summaries(self, tenant: str, ids: list[str]) -> list[dict[str, Any]]:
        """These submissions as the list shows them, newest first."""
        rows = await self._pool.fetch(self._sql["submissions"], tenant, 2**62, None, None, None, None, ids, len(ids))
        return [summary_shape(dict(row)) for row in rows]

    async def snapshot(self, tenant: str, after: int | None) -> tuple[int, str]:
        """Everything the page starts from: the newest submissions, those judged after `after`, and the board."""
        cursor = await self._pool.fetchval(self._sql["head"])
        rows = await self._pool.fetch(self._sql["submissions"], tenant, 2**62, None, None, None, None, None, 100)
        submissions = [summary_shape(dict(row)) for row in rows]
        if after is not None:
            shown = {entry["submission_id"] for entry in submissions}
            changed = await self._pool.fetch(self._sql["changed_submissions"], tenant, after, _MOST_DIRTY)
            missing = [row["submission_id"] for row in changed if row["submission_id"] not in shown]
            submissions.extend(await self.summaries(tenant, missing))
        pools = self._board.snapshot(self._clock.now_us())
        return cursor, message("snapshot", cursor=cursor, submissions=submissions, pools=pools)


def message(kind: str, **fields: Any) -> str:
    """A message of the activity stream."""
    return orjson.dumps({"type": kind, **fields}).decode()
