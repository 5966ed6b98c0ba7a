"""Carrying out an admission: the blobs, then the event, then the answer.

Two requests with one idempotency key take turns, so that the second sees what became of the first. A write whose
waiting was given up stays `pending` until the brokers answer; the same request then joins it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka.errors import KafkaError

from schemas.events import SubmissionReceived
from schemas.identity import LIVE_ORIGIN, judgement_id, submission_id
from schemas.topics import SUBMISSIONS
from services.chassis.blobs import BlobStore
from services.chassis.clock import Clock
from services.chassis.kafka import Outgoing
from services.chassis.logs import logger
from services.ingest.adapters.counters import Counters
from services.ingest.adapters.publisher import Publisher
from services.ingest.core.admission import Admitted, Draft, Repeated, Rules, admit, conflict, request_digest
from services.ingest.core.registry import Registry
from services.ingest.core.rules import Refused


class NotDurable(Exception):
    """The brokers do not have the submission yet, and it is not known whether they will. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A submission that the log has."""

    submission_id: str
    judgement_id: str
    cell: int
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    request_digest: str
    cell: int
    task: asyncio.Task[None]


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Admissions:
    """The one way in, used by HTTP and intake."""

    def __init__(
        self,
        *,
        rules: Rules,
        registry: Registry,
        publisher: Publisher,
        blobs: BlobStore,
        clock: Clock,
        counters: Counters,
        pending_limit: int,
    ) -> None:
        self._rules = rules
        self._registry = registry
        self._publisher = publisher
        self._blobs = blobs
        self._clock = clock
        self._counters = counters
        self._pending_limit = pending_limit
        self._pending: dict[str, _Pending] = {}
        self._turns: dict[str, _Turn] = {}

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    async def take(self, draft: Draft, *, timeout_seconds: float | None) -> Receipt | Refused:
        """Admits a draft; a `Receipt` means that the brokers have it durably.

        Raises:
            NotDurable: they did not answer in time (never with a timeout of None), or refused the record.
        """
        submission = submission_id(draft.tenant, draft.request_id)
        try:
            async with asyncio.timeout(timeout_seconds), self._turn(submission):
                outcome = await self._take(draft, submission)
        except (TimeoutError, KafkaError) as error:
            self._counters.submission(door=draft.source, outcome="not_durable")
            raise NotDurable(
                f"expected the log to take submission {submission} in time, came {type(error).__name__}; "
                "repeat the request with the same Idempotency-Key"
            ) from error
        match outcome:
            case Refused():
                self._counters.submission(door=draft.source, outcome=outcome.code)
            case Receipt():
                self._counters.submission(door=draft.source, outcome="repeated" if outcome.duplicate else "accepted")
        return outcome

    async def _take(self, draft: Draft, submission: str) -> Receipt | Refused:
        pending = self._pending.get(submission)
        if pending is not None:
            came = request_digest(draft)
            if pending.request_digest != came:
                return conflict(pending.request_digest, came)
            await asyncio.shield(pending.task)
            return _receipt(submission, pending.cell, duplicate=True)
        decision = admit(draft, self._rules, self._registry, self._clock.now_us())
        match decision:
            case Refused():
                return decision
            case Repeated():
                return _receipt(decision.submission_id, decision.cell, duplicate=True)
            case Admitted():
                return await self._carry_out(decision)

    async def _carry_out(self, admitted: Admitted) -> Receipt:
        event = admitted.event
        if len(self._pending) >= self._pending_limit:
            raise TimeoutError(f"{len(self._pending)} submissions wait for the brokers already")
        for data in admitted.blobs:
            await self._blobs.put(data)
        task = asyncio.create_task(self._write(event))
        submission = event.work.submission_id
        self._pending[submission] = _Pending(request_digest=event.request_digest, cell=event.cell, task=task)
        await asyncio.shield(task)
        self._counters.accepted_bytes(sum(file.size_bytes for file in event.work.files), door=event.source)
        return _receipt(submission, event.cell, duplicate=False)

    async def _write(self, event: SubmissionReceived) -> None:
        submission = event.work.submission_id
        try:
            await self._publisher.write(Outgoing(topic=SUBMISSIONS, partition=event.cell, key=submission, event=event))
            self._registry.requests.remember(submission, event.request_digest, event.cell)
            logger().info(
                "submission_received",
                submission_id=submission,
                tenant=event.work.tenant,
                problem=event.work.problem,
                language=event.work.language,
                cell=event.cell,
                door=event.source,
            )
        except KafkaError as error:
            # Nobody may be waiting any more; whoever does gets the same error.
            logger().error("submission_not_written", submission_id=submission, error=repr(error))
            raise
        finally:
            del self._pending[submission]

    async def drain(self) -> None:
        """Waits for the writes under way; errors are told to those who asked."""
        await asyncio.gather(*(pending.task for pending in self._pending.values()), return_exceptions=True)

    @asynccontextmanager
    async def _turn(self, submission: str) -> AsyncIterator[None]:
        turn = self._turns.setdefault(submission, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if turn.users == 0:
                del self._turns[submission]


def _receipt(submission: str, cell: int, *, duplicate: bool) -> Receipt:
    return Receipt(
        submission_id=submission,
        judgement_id=judgement_id(submission, LIVE_ORIGIN, 0),
        cell=cell,
        duplicate=duplicate,
    )
