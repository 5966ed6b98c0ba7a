"""The channel to one runner: a socket, the conversation over it, and who waits for which answer."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

from services.executor.core.ports import RunOutcome
from services.executor.core.protocol import Conversation, Done, Faulted, Frame, Hello, RemoteProtocolError, RunReported

_RECEIVE_BYTES: Final = 256 * 1024

Answer = RunOutcome | None
"""What a frame was answered with: None for DONE."""


class RunnerChannel:
    """Frames out, answers in. Lives on one event loop; `on_lost` is called once, with the reason."""

    def __init__(self, taken: socket.socket, *, on_lost: Callable[[str], None]) -> None:
        taken.setblocking(False)  # noqa: FBT003 - the socket's own interface
        self._socket = taken
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._hello: asyncio.Future[Hello] = self._loop.create_future()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._unsent: deque[Frame] = deque()
        self._open = True
        self.conversation = Conversation()
        self._loop.add_reader(taken, self._on_readable)

    async def hello(self) -> Hello:
        """The runner's first words."""
        return await self._hello

    def ask(self, frame: Frame) -> asyncio.Future[Answer]:
        """Sends a frame of `conversation`, and gives what will be its answer.

        Descriptors are in the kernel's hands when this returns, unless the socket was full: whoever passes them keeps
        them open until the answer is there.
        """
        answer: asyncio.Future[Answer] = self._loop.create_future()
        if not self._open:
            answer.cancel()
            return answer
        self._waiting[self.conversation.last_sequence] = answer
        self._unsent.append(frame)
        if len(self._unsent) == 1:
            self._send()
        return answer

    def take_waiting(self) -> list[asyncio.Future[Answer]]:
        """Gives up all unanswered futures, oldest first, for their answer to come from elsewhere."""
        waiting = [answer for answer in self._waiting.values() if not answer.done()]
        self._waiting.clear()
        return waiting

    def close(self) -> None:
        """Ends the conversation without a word to `on_lost`."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._hello.cancel()

    def lose(self, reason: str) -> None:
        """Ends the conversation because of `reason`."""
        if self._open:
            self.close()
            self._on_lost(reason)

    def _send(self) -> None:
        while self._unsent:
            frame = self._unsent[0]
            try:
                if frame.descriptors:
                    sent = socket.send_fds(self._socket, [frame.content], list(frame.descriptors))
                else:
                    sent = self._socket.send(frame.content)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._on_writable)
                return
            except OSError as error:
                # The stream's end may carry a fault that says more; the reader comes to it.
                if not self._drain_answers():
                    self.lose(f"the runner does not listen: {error}")
                return
            if sent < len(frame.content):
                # The descriptors went with the first byte.
                self._unsent[0] = Frame(content=frame.content[sent:])
            else:
                self._unsent.popleft()

    def _drain_answers(self) -> bool:
        """Reads what is there although nothing can be sent any more. True when that ended the channel."""
        while self._open and self._on_readable():
            pass
        return not self._open

    def _on_writable(self) -> None:
        self._loop.remove_writer(self._socket)
        self._send()

    def _on_readable(self) -> bool:
        """Takes what came. False when nothing did."""
        try:
            content = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            self.lose(f"the channel broke: {error}")
            return True
        try:
            if not content:
                self.conversation.end_of_stream()
                self.lose("the runner ended")
                return True
            for event in self.conversation.receive(content):
                self._on_event(event)
        except RemoteProtocolError as error:
            self.lose(f"the runner cannot be believed: {error}")
        return True

    def _on_event(self, event: Hello | Done | RunReported | Faulted) -> None:
        match event:
            case Hello():
                if not self._hello.done():
                    self._hello.set_result(event)
            case Done(sequence=sequence):
                self._answer(sequence, None)
            case RunReported(sequence=sequence, outcome=outcome):
                self._answer(sequence, outcome)
            case Faulted():
                self.lose(str(event))

    def _answer(self, sequence: int, answer: Answer) -> None:
        waiting = self._waiting.pop(sequence)
        if not waiting.done():
            waiting.set_result(answer)
