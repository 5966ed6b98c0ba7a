"""Connections that do not wait for ever: uvicorn bounds idle ones, not a client that sends its head byte by byte."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_TIMEOUT_SECONDS = 10.0


class ImpatientProtocol(H11Protocol):
    """Closes a connection whose next request head is not whole in time. Bodies have a time limit of their own."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._serves():
            self._stop_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _serves(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None until the first head is whole, whatever its type says.
        return cycle is not None and not cycle.response_complete

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self._serves() and not self.transport.is_closing():
            self.transport.close()
