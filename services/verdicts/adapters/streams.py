"""The WebSocket doors: verdicts from a cursor on, and what the page shows.

A verdict stream first reads the past from Postgres, then listens, then reads once more, so that nothing falls between;
what the listener's queue holds of it already is passed over by its cursor. No gap, no double.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import WebSocket, WebSocketDisconnect
from opentelemetry.metrics import UpDownCounter
from uvicorn.protocols.utils import ClientDisconnected

from services.chassis.http import Problem, problem_response
from services.chassis.telemetry import meter
from services.verdicts.adapters.access import Doorkeeper, offered_subprotocol
from services.verdicts.adapters.hub import Activity, Hub, Listener, VerdictFilter
from services.verdicts.adapters.queries import Queries
from services.verdicts.core.shapes import change_shape

TOO_SLOW = 1013
"""Close code "try again later": the reason says from which cursor."""
_PAGE_CHANGES = 500
_CLOSE_SECONDS = 5.0


@dataclass(slots=True, kw_only=True)
class _Sent:
    """How far a client has got."""

    cursor: int


class Streams:
    """Serves WebSocket clients, at most `most_clients` at once."""

    def __init__(
        self, doorkeeper: Doorkeeper, queries: Queries, hub: Hub, activity: Activity, *, most_clients: int
    ) -> None:
        self._doorkeeper = doorkeeper
        self._queries = queries
        self._hub = hub
        self._activity = activity
        self._most_clients = most_clients
        self._clients = 0
        self._gauge: UpDownCounter = meter().create_up_down_counter(
            "assize_verdicts_stream_clients", description="WebSocket clients"
        )
        self._slow = meter().create_counter("assize_verdicts_slow_clients", description="Clients closed as too slow")

    async def verdicts(self, websocket: WebSocket) -> None:
        """`/v1/verdicts/stream`."""

        async def serve(tenant: str) -> None:
            query = websocket.query_params
            wanted = VerdictFilter(
                tenant=tenant,
                contest=query.get("contest"),
                team=query.get("team"),
                submission=query.get("submission"),
                problem=query.get("problem"),
            )
            sent = _Sent(cursor=_cursor(query.get("after")) or 0)
            await websocket.accept(subprotocol=offered_subprotocol(websocket))
            await self._catch_up(websocket, wanted, sent)

        await self._guarded(websocket, serve)

    async def activity(self, websocket: WebSocket) -> None:
        """`/v1/activity/stream`."""

        async def serve(tenant: str) -> None:
            after = _cursor(websocket.query_params.get("after"))
            await websocket.accept(subprotocol=offered_subprotocol(websocket))
            sent = _Sent(cursor=after or 0)

            async def send(listener: Listener) -> None:
                cursor, text = await self._activity.snapshot(tenant, after)
                await websocket.send_text(text)
                sent.cursor = cursor
                while True:
                    cursor, text = await listener.queue.get()
                    await websocket.send_text(text)
                    sent.cursor = max(sent.cursor, cursor)

            await self._live(websocket, self._activity.listening(tenant), send, sent)

        await self._guarded(websocket, serve)

    async def _catch_up(self, websocket: WebSocket, wanted: VerdictFilter, sent: _Sent) -> None:
        async def history() -> None:
            while True:
                changes = await self._queries.verdict_changes(wanted, sent.cursor, _PAGE_CHANGES)
                for change in changes:
                    await websocket.send_text(orjson.dumps(change_shape(change)).decode())
                    sent.cursor = change.cursor
                if len(changes) < _PAGE_CHANGES:
                    return

        async def send(listener: Listener) -> None:
            await history()
            while True:
                cursor, text = await listener.queue.get()
                if cursor > sent.cursor:
                    await websocket.send_text(text)
                    sent.cursor = cursor

        # The long past is read before anything is queued: a reader of history is not slow.
        if await self._until_gone(websocket, history()):
            await self._live(websocket, self._hub.listening(wanted), send, sent)

    async def _live(
        self,
        websocket: WebSocket,
        listening: AbstractContextManager[Listener],
        send: Callable[[Listener], Coroutine[Any, Any, None]],
        sent: _Sent,
    ) -> None:
        with listening as listener:
            sending = asyncio.create_task(send(listener))
            overflow = asyncio.create_task(listener.overflowed.wait())
            gone = asyncio.create_task(_gone(websocket))
            try:
                await asyncio.wait({sending, overflow, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _end(sending, overflow, gone)
            if listener.overflowed.is_set():
                self._slow.add(1)
                with contextlib.suppress(TimeoutError, ClientDisconnected, WebSocketDisconnect, RuntimeError):
                    await asyncio.wait_for(
                        websocket.close(TOO_SLOW, f"too slow: go on with after={sent.cursor}"), _CLOSE_SECONDS
                    )

    async def _until_gone(self, websocket: WebSocket, work: Coroutine[Any, Any, None]) -> bool:
        """Runs `work` while the client is there; says whether it still is."""
        working, gone = asyncio.create_task(work), asyncio.create_task(_gone(websocket))
        try:
            done, _ = await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
            return working in done and working.exception() is None and gone not in done
        finally:
            await _end(working, gone)

    def _check_room(self) -> None:
        if self._clients >= self._most_clients:
            raise Problem(
                status=503,
                code="too_many_clients",
                title="Too many clients",
                detail=f"expected at most {self._most_clients} WebSocket clients",
            )

    async def _guarded(self, websocket: WebSocket, serve: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        """Admits, counts, and turns a refusal into an HTTP answer before the handshake."""
        try:
            self._check_room()
            access = self._doorkeeper.admit(websocket)
            _cursor(websocket.query_params.get("after"))
        except Problem as problem:
            await websocket.send_denial_response(problem_response(problem))
            return
        self._clients += 1
        self._gauge.add(1)
        try:
            await serve(access.tenant)
        except (WebSocketDisconnect, ClientDisconnected):
            pass  # It left while something was being sent.
        finally:
            self._clients -= 1
            self._gauge.add(-1)


def _cursor(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Problem(
            status=422,
            code="bad_cursor",
            title="Not a cursor",
            detail=f"expected `after` to be a whole number from 0, came {text[:40]!r}",
        )
    return int(text)


async def _gone(websocket: WebSocket) -> None:
    """Ends when the client closes. What it says meanwhile is not for us and is thrown away."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(
            outcome, WebSocketDisconnect | ClientDisconnected | RuntimeError
        ):
            raise outcome
