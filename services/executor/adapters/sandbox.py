"""A sandbox as its owner sees it: one runner, its channel, and its end. Knows no engine: a backend makes and removes it.

Runs touch the channel alone. A sandbox is lost when its runner ends, faults, says something that cannot be believed, or
says nothing for too long; then every question that is open is answered: memory that ended the sandbox is the program's
doing and an outcome, everything else is our fault.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Protocol

from services.executor.adapters import inputs
from services.executor.adapters.channel import Answer, RunnerChannel
from services.executor.core.faults import JudgeFault
from services.executor.core.ports import Ending, Kept, Limit, RunOutcome, RunRequest, SourceFile
from services.executor.core.protocol import OUTSTANDING_RUNS_MAX, LocalProtocolError

_ANSWER_GRACE_SECONDS: Final = 10.0
"""How much longer than its limits a run may take to be reported before the sandbox counts as lost."""
_STEP_SECONDS: Final = 30.0


class Housing(Protocol):
    """What a backend holds of a sandbox: its control group and its end. All calls but the first two may block."""

    def pin(self, cpu: int) -> None:
        """Binds everything in the sandbox to one CPU. Raises OSError."""

    def prefer(self) -> bool:
        """Lets the runner run ahead of the programs; False where the host cannot."""

    def stopped_for_memory(self) -> int | None:
        """How many processes the kernel stopped for memory; None when that cannot be told any more."""

    def ended_for_memory(self) -> bool:
        """Whether a sandbox that has ended ran out of memory. Raises JudgeFault."""

    def processes(self) -> tuple[int, ...]:
        """The processes in the sandbox as the host numbers them, the runner included."""

    def remove(self) -> None:
        """Removes the sandbox and everything in it; idempotent. Raises JudgeFault."""


class RunnerSandbox:
    """One sandbox with a runner in it: implements `ports.Sandbox`."""

    def __init__(
        self,
        *,
        sandbox_id: str,
        image_digest: str,
        housing: Housing,
        taken: socket.socket,
        memory_limit_bytes: int,
        process_limit: int,
    ) -> None:
        self._id = sandbox_id
        self._image_digest = image_digest
        self._housing = housing
        self._memory_limit_bytes = memory_limit_bytes
        self._process_limit = process_limit
        self._loop = asyncio.get_running_loop()
        self._preferred: bool | None = None
        self._lost: str | None = None
        self._burial: asyncio.Task[None] | None = None
        self._destruction: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._owed_seconds = 0.0
        self._channel = RunnerChannel(taken, on_lost=self._on_lost)

    @property
    def sandbox_id(self) -> str:
        """See `ports.Sandbox.sandbox_id`."""
        return self._id

    @property
    def image_digest(self) -> str:
        """See `ports.Sandbox.image_digest`."""
        return self._image_digest

    def processes(self) -> tuple[int, ...]:
        """The processes in it as the host numbers them; between runs that is the runner alone."""
        return self._housing.processes()

    async def open(self, *, controls: Sequence[int], compile_uid: int, test_uid: int) -> None:
        """Waits for the runner's first words and gives it its controls and users.

        Raises:
            JudgeFault: it said nothing, or nothing that can be believed.
        """
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                await self._channel.hello()
        except (TimeoutError, asyncio.CancelledError) as error:
            if self._lost is None and isinstance(error, asyncio.CancelledError):
                raise
            reason = self._lost or "the runner said nothing"
            raise JudgeFault(reason, stage="sandbox_create", retriable=True) from error
        frame = self._channel.conversation.configure(controls=controls, compile_uid=compile_uid, test_uid=test_uid)
        await self._answered(self._channel.ask(frame), stage="sandbox_create")

    async def pin(self, cpu: int) -> None:
        """See `ports.Sandbox.pin`."""
        try:
            self._housing.pin(cpu)
        except OSError as error:
            raise JudgeFault(f"CPU {cpu}: {error}", stage="pin", retriable=True) from error

    async def place(self, files: Sequence[SourceFile]) -> None:
        """See `ports.Sandbox.place`."""
        for file in files:
            self._require_alive("place")
            content = inputs.seal(file.content)
            try:
                frame = self._channel.conversation.place(
                    name=file.name,
                    size_bytes=content.size_bytes,
                    executable=file.executable,
                    descriptor=content.descriptor,
                )
                await self._answered(self._channel.ask(frame), stage="place")
            finally:
                os.close(content.descriptor)

    def run(self, request: RunRequest) -> asyncio.Future[RunOutcome]:
        """See `ports.Sandbox.run`. The request is on its way when this returns."""
        outcome: asyncio.Future[RunOutcome] = self._loop.create_future()
        # A run that nobody awaits (it was on its way when the deciding one ended) must not warn about its fault.
        outcome.add_done_callback(_look_at)
        if objection := self._objection(request):
            outcome.set_exception(JudgeFault(objection, stage="run", retriable=False))
            return outcome
        if self._lost is not None:
            outcome.set_exception(JudgeFault(self._lost, stage="run", retriable=True))
            return outcome
        if self._preferred is None:
            # Not before the first run: warm sandboxes must not hold what the host can lend to few.
            self._preferred = self._housing.prefer()
        stdin = None if request.stdin is None else inputs.reader(request.stdin)
        try:
            answer = self._channel.ask(self._channel.conversation.run(request, stdin=stdin))
        except LocalProtocolError:
            if stdin is not None:
                os.close(stdin)
            raise
        seconds = request.limits.wall_time_limit_ns / 1e9 + _ANSWER_GRACE_SECONDS
        self._owe(seconds)

        def report(answered: asyncio.Future[Answer]) -> None:
            if stdin is not None:
                os.close(stdin)
            self._owe(-seconds)
            _pass_on(answered, outcome)

        answer.add_done_callback(report)
        return outcome

    async def seal(self) -> None:
        """See `ports.Sandbox.seal`."""
        self._require_alive("seal")
        await self._answered(self._channel.ask(self._channel.conversation.seal()), stage="seal")

    async def destroy(self) -> None:
        """See `ports.Sandbox.destroy`."""
        if self._destruction is None:
            self._destruction = self._loop.create_task(self._destroy())
        await asyncio.shield(self._destruction)

    async def _destroy(self) -> None:
        self._lost = self._lost or "the sandbox was destroyed"
        waiting = self._channel.take_waiting()
        self._channel.close()
        for answer in waiting:
            answer.set_exception(JudgeFault(self._lost, stage="run", retriable=True))
        if self._deadline is not None:
            self._deadline.cancel()
        if self._burial is not None:
            await asyncio.wait([self._burial])
        # What cannot be removed now is an orphan, and found as such at the next start.
        with suppress(JudgeFault):
            await asyncio.to_thread(self._housing.remove)

    def _require_alive(self, stage: str) -> None:
        if self._lost is not None:
            raise JudgeFault(self._lost, stage=stage, retriable=True)

    def _objection(self, request: RunRequest) -> str | None:
        limits = request.limits
        if limits.memory_limit_bytes > self._memory_limit_bytes:
            return f"expected at most the sandbox's {self._memory_limit_bytes} bytes, got {limits.memory_limit_bytes}"
        if limits.process_limit > self._process_limit:
            return f"expected at most the sandbox's {self._process_limit} processes, got {limits.process_limit}"
        if self._channel.conversation.runs_outstanding >= OUTSTANDING_RUNS_MAX:
            return f"expected at most {OUTSTANDING_RUNS_MAX} runs outstanding"
        return None

    async def _answered(self, answer: asyncio.Future[Answer], *, stage: str) -> None:
        try:
            async with asyncio.timeout(_STEP_SECONDS + self._owed_seconds):
                await answer
        except TimeoutError as error:
            self._channel.lose(f"no answer within {_STEP_SECONDS:.0f} s")
            raise JudgeFault("the runner did not answer", stage=stage, retriable=True) from error

    def _owe(self, seconds: float) -> None:
        """Moves the moment by which everything that was asked for must have been reported."""
        self._owed_seconds += seconds
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._owed_seconds > _ANSWER_GRACE_SECONDS / 2 and self._lost is None:
            late = f"no report within {self._owed_seconds:.0f} s"
            self._deadline = self._loop.call_later(self._owed_seconds, self._channel.lose, late)

    def _on_lost(self, reason: str) -> None:
        self._lost = reason
        self._burial = self._loop.create_task(self._bury(reason, self._channel.take_waiting()))

    async def _bury(self, reason: str, waiting: list[asyncio.Future[Answer]]) -> None:
        """Finds out whether memory ended the sandbox, which is the program's doing, and answers what was asked."""
        stopped = self._housing.stopped_for_memory()
        hungry = bool(stopped)
        if stopped is None:
            try:
                hungry = await asyncio.to_thread(self._housing.ended_for_memory)
            except JudgeFault as fault:
                reason = f"{reason}; {fault}"
        for position, answer in enumerate(waiting):
            if answer.done():
                continue
            if hungry and position == 0:
                answer.set_result(_lost_for_memory(self._memory_limit_bytes))
            else:
                answer.set_exception(JudgeFault(reason, stage="sandbox", retriable=True))


def _lost_for_memory(memory_bytes: int) -> RunOutcome:
    return RunOutcome(
        ending=Ending.SANDBOX_LOST,
        exit_code=None,
        signal=None,
        limit_expired=Limit.MEMORY,
        cpu_time_ns=0,
        wall_time_ns=0,
        memory_peak_bytes=memory_bytes,
        stdout=b"",
        stdout_length_bytes=0,
        stderr=Kept(head=b"", tail=b"", length_bytes=0),
        stopped_processes=0,
        runnable_wait_ns=0,
        refused_calls=0,
    )


def _look_at(outcome: asyncio.Future[RunOutcome]) -> None:
    if not outcome.cancelled():
        outcome.exception()


def _pass_on(answered: asyncio.Future[Answer], outcome: asyncio.Future[RunOutcome]) -> None:
    if outcome.done():
        if not answered.cancelled():
            answered.exception()
        return
    if answered.cancelled():
        outcome.set_exception(JudgeFault("the sandbox was destroyed", stage="run", retriable=True))
        return
    error = answered.exception()
    if error is not None:
        outcome.set_exception(error)
        return
    answer = answered.result()
    assert answer is not None, "a run is answered with an outcome"
    outcome.set_result(answer)
