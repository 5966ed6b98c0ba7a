"""A running cell: one inbox, one task, one writer.

Everything that happens to a cell passes its inbox, ticks included, so that nothing needs a lock. What piles up while
a transaction is written becomes the next batch: batches grow with the load and cost no waiting without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Callable
from typing import cast

from schemas.errors import PoisonEvent
from schemas.events import (
    JudgementAssigned,
    JudgementConcluded,
    LeaseRevoked,
    PolicyChanged,
    QueueReported,
    SchedulerSnapshotTaken,
    SubmissionQueued,
)
from schemas.headers import traceparent_of
from schemas.signing import KeyRing
from services.chassis.clock import Clock
from services.chassis.kafka import Incoming
from services.chassis.logs import logger
from services.chassis.telemetry import span
from services.scheduler.adapters.intake import read_input
from services.scheduler.adapters.log import DecisionLog
from services.scheduler.adapters.metrics import SchedulerMetrics
from services.scheduler.core.decide import Input, Tick, decide
from services.scheduler.core.rules import Rules, Signer
from services.scheduler.core.state import CellState, Decision

_INBOX_RECORDS = 1024
_BATCH_RECORDS = 256


class _Sign(enum.Enum):
    TICK = enum.auto()


class RunningCell:
    """One cell from its recovery to its end."""

    def __init__(
        self,
        state: CellState,
        log: DecisionLog,
        *,
        rules: Callable[[], Rules],
        signer: Signer,
        keys: KeyRing,
        clock: Clock,
        metrics: SchedulerMetrics,
        tick_seconds: float,
    ) -> None:
        self.state = state
        self._log = log
        self._rules = rules
        self._signer = signer
        self._keys = keys
        self._clock = clock
        self._metrics = metrics
        self._tick_seconds = tick_seconds
        self._inbox: asyncio.Queue[Incoming | _Sign] = asyncio.Queue(_INBOX_RECORDS)
        self._tick_waits = False

    async def put(self, incoming: Incoming) -> None:
        """Hands a record over; waits while the cell has too many."""
        await self._inbox.put(incoming)

    def next_offset(self, topic: str) -> int:
        """Where reading an input goes on."""
        return self.state.applied.get(f"{topic}/{self.state.cell}", -1) + 1

    async def run(self) -> None:
        """Decides until it is cancelled.

        Raises:
            KafkaError, TimeoutError: a transaction failed; the process must end.
        """
        self._metrics.show(self.state)
        ticking = asyncio.create_task(self._tick())
        try:
            while True:
                await self._take_batch([await self._inbox.get()])
        finally:
            self._metrics.hide(self.state.cell)
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
            await self._log.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._tick_seconds)
            # A full inbox is a busy cell: its next tick comes when there is room, and never two at once.
            if not self._tick_waits and not self._inbox.full():
                self._tick_waits = True
                self._inbox.put_nowait(_Sign.TICK)

    async def _take_batch(self, batch: list[Incoming | _Sign]) -> None:
        started_ns = self._clock.monotonic_ns()
        while len(batch) < _BATCH_RECORDS and not self._inbox.empty():
            batch.append(self._inbox.get_nowait())
        decisions: list[Decision] = []
        for entry in batch:
            decisions.extend(self._decide(entry))
        if not decisions:
            return
        await self._log.write(decisions)
        self._metrics.batch_seconds.record((self._clock.monotonic_ns() - started_ns) / 1e9)
        for decision in decisions:
            self._tell(decision)
        await self._log.write_snapshot_when_due(self.state, now_us=self._clock.now_us())

    def _decide(self, entry: Incoming | _Sign) -> tuple[Decision, ...]:
        traceparent, event = None, cast("Input", Tick())
        if isinstance(entry, _Sign):
            self._tick_waits = False
        else:
            source = f"{entry.topic}/{entry.partition}"
            if not self.state.applied_input(source, entry.offset):
                return ()
            self._metrics.inputs.add(1, {"topic": entry.topic})
            try:
                given = read_input(entry, self._keys)
            except PoisonEvent as error:
                self._park(entry, error)
                return ()
            if given is None:
                return ()
            event, traceparent = given, traceparent_of(entry.headers)
        return decide(
            self.state,
            event,
            now_us=self._clock.now_us(),
            rules=self._rules(),
            signer=self._signer,
            traceparent=traceparent,
        )

    def _park(self, incoming: Incoming, error: PoisonEvent) -> None:
        self._metrics.parked.add(1, {"topic": incoming.topic, "code": error.code})
        logger().warning(
            "input_parked",
            topic=incoming.topic,
            partition=incoming.partition,
            offset=incoming.offset,
            size_bytes=len(incoming.value),
            code=error.code,
            reason=str(error),
        )

    def _tell(self, decision: Decision) -> None:
        """Counts, traces and logs a decision that is durable."""
        event = decision.event
        name = type(event).__name__
        self._metrics.decisions.add(1, {"type": name})
        match event:
            case SubmissionQueued():
                _trace(decision, name)
            case JudgementAssigned():
                _trace(decision, name)
            case JudgementConcluded():
                _trace(decision, name)
                if event.accepted_event_id is None:
                    faults = [f"{fault.executor} {fault.stage}: {fault.message}" for fault in event.faults]
                    logger().error("judgement_error", judgement_id=event.judgement_id, faults=faults)
            case LeaseRevoked():
                logger().warning(
                    "lease_revoked",
                    judgement_id=event.judgement_id,
                    lease_epoch=event.lease_epoch,
                    executor=event.executor,
                    reason=event.reason.value,
                    detail=event.detail,
                )
            case PolicyChanged():
                logger().info("policy_changed", cell=self.state.cell, actor=event.actor, reason=event.reason)
            case QueueReported() | SchedulerSnapshotTaken():
                pass


def _trace(decision: Decision, name: str) -> None:
    if decision.traceparent is not None:
        with span(f"scheduler {name}", traceparent=decision.traceparent, judgement_id=decision.key):
            pass
