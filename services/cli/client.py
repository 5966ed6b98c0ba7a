"""Talking to a stack: HTTP with its own exit codes, and verdicts as they are pushed.

Exit codes of every command that talks: 0 done, 1 refused (or not as expected), 2 wrong usage, 3 no stack to talk to,
4 waited too long.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Final, Literal, Self
from urllib.parse import quote

import click
import httpx
import websockets
from websockets.sync.client import connect

from services.cli.access import Access, StackUnreachable, open_access
from services.cli.terminal import plain

EXIT_REFUSED: Final = 1
EXIT_TIMEOUT: Final = 4
_TIMEOUT_SECONDS: Final = 30.0
_RECONNECT_SECONDS: Final = 0.5
_MESSAGE_BYTES: Final = 16 * 1024 * 1024


class Refusal(click.ClickException):
    """A door said no; its problem document says why."""

    exit_code = EXIT_REFUSED

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(plain(f"refused ({document.get('code')}): {document.get('detail')}"))
        self.document = document


class TooLate(click.ClickException):
    """What was waited for did not come in time."""

    exit_code = EXIT_TIMEOUT


class Client:
    """The doors of one stack. Use it as a context manager."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._http = httpx.Client(headers=dict(access.authorization), timeout=_TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.close()

    def ingest(self, method: str, path: str, **options: Any) -> Any:
        """The JSON answer of ingest. See `_ask`."""
        return self._ask(method, self.access.ingest_url + path, **options)

    def verdicts(self, path: str, **options: Any) -> Any:
        """The JSON answer of verdicts. See `_ask`."""
        return self._ask("GET", self.access.verdicts_url + path, **options)

    def submission(self, submission_id: str) -> Any:
        """One submission as verdicts has it, or None while it has not read of it."""
        try:
            return self.verdicts(f"/v1/submissions/{segment(submission_id)}")
        except Refusal as refusal:
            if refusal.document.get("status") == 404:
                return None
            raise

    def pushed(
        self, stream: Literal["verdicts", "activity"], *, deadline: float | None, **query: str | int
    ) -> Iterator[dict[str, Any]]:
        """Messages of a WebSocket; a broken connection is opened again at the last cursor.

        Raises:
            TooLate: the deadline (on `time.monotonic()`) has passed.
        """
        address = self.access.verdicts_url.replace("http", "ws", 1) + f"/v1/{stream}/stream"
        is_first = True
        while True:
            url = str(httpx.URL(address, params=query))
            try:
                with connect(
                    url,
                    additional_headers=dict(self.access.authorization),
                    open_timeout=_left(deadline),
                    max_size=_MESSAGE_BYTES,
                ) as socket:
                    is_first = False
                    while True:
                        message = json.loads(socket.recv(timeout=_left(deadline)))
                        query["after"] = max(int(query.get("after", 0)), int(message.get("cursor", 0)))
                        yield message
            except websockets.InvalidStatus as error:
                raise Refusal(_document(error.response.status_code, bytes(error.response.body or b""))) from error
            except TimeoutError as error:
                raise TooLate("expected a verdict in time, came none") from error
            except (websockets.ConnectionClosed, OSError) as error:
                if is_first:
                    raise StackUnreachable(_unreachable(address, error)) from error
                time.sleep(min(_RECONNECT_SECONDS, _left(deadline) or _RECONNECT_SECONDS))

    def _ask(self, method: str, url: str, **options: Any) -> Any:
        """The JSON of a successful answer.

        Raises:
            Refusal: the answer is a problem document, or no success for another reason.
            StackUnreachable: nobody answers there.
        """
        try:
            answer = self._http.request(method, url, **options)
        except httpx.TransportError as error:
            raise StackUnreachable(_unreachable(url, error)) from error
        if not answer.is_success:
            raise Refusal(_document(answer.status_code, answer.content))
        return answer.json()


def open_client() -> Client:
    """A client of the stack that the environment or the state folder names."""
    return Client(open_access())


def segment(text: str) -> str:
    """Text as one segment of a path: what a user typed never becomes another address."""
    return "%2E" * len(text) if set(text) == {"."} else quote(text, safe="")


def _document(status: int, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict) and "detail" in document:
        return document
    return {"status": status, "code": f"http_{status}", "detail": f"expected an answer, came HTTP status {status}"}


def _unreachable(url: str, error: Exception) -> str:
    return f"expected a stack at {url.partition('/v1')[0]}, came: {error}; see `assize status`"


def _left(deadline: float | None) -> float | None:
    """Seconds until the deadline; None waits for ever."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
