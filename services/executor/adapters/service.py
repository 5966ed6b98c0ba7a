"""The executor as a process lives it: assignments in, judgements in slots, signed events and capacity out.

What is decided, the cores decide: whether to accept (`core.assignments`), who holds a slot (`core.slots`), what a
judgement does next (`core.judge`), how many sandboxes are warm (`core.pool`). Here those decisions meet Kafka, the
blob store and the sandboxes.

Order at the end of a judgement: evidence durable, then the completed event durable, then the slot is reported free.
A lease that was revoked ends in silence. A fault of ours is an event; a bug (any other exception) ends the process.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError

from deploy.images.recipe import Recipe
from schemas.codec import decode, schema_of
from schemas.errors import PoisonEvent
from schemas.events import CapacityReported, JudgementAssigned, LeaseRevoked, RunningReport, RunReport
from schemas.headers import traceparent_of
from schemas.identity import event_id
from schemas.spec import ExecutionSpec
from schemas.topics import CAPACITY, JUDGEMENTS, KEYS
from services.chassis.blobs import BlobStore
from services.chassis.clock import Clock
from services.chassis.kafka import EventWriter, Incoming, Outgoing
from services.chassis.keys import TrustedKeys
from services.chassis.logs import logger
from services.chassis.telemetry import current_traceparent, span
from services.executor.adapters.judgement import Judgement, Tools
from services.executor.adapters.kafka import DecisionReader
from services.executor.adapters.metrics import Metrics
from services.executor.adapters.reports import Reporter, store_evidence
from services.executor.adapters.warm import Claimed, LanguageImage, WarmPools
from services.executor.core.assignments import Identity, Refused, accept
from services.executor.core.faults import JudgeFault
from services.executor.core.judge import Conclusion
from services.executor.core.ports import Isolation
from services.executor.core.slots import Holder, Slot, Slots

REPORT_SECONDS: Final = 1.0
_PROGRESS_NS: Final = 1_000_000_000
_REPORT_GAP_SECONDS: Final = 0.01
"""Least time between two capacity reports: changes that come together are told together."""
_ANSWERS_HELD: Final = 256
_LAST_WORD_SECONDS: Final = 5
_ENGINE_WATCH_SECONDS: Final = 5
_ENGINE_RETRY_SECONDS: Final = 1
_WRITE_TRIES: Final = 120
_WRITE_RETRY_SECONDS: Final = 0.5


ReadImages = Callable[[], Mapping[str, LanguageImage] | None]
"""Which image stands for which language; None when that cannot be told now, and what was known stays."""


@dataclass(slots=True, kw_only=True)
class _Held:
    """An assignment that was accepted: it runs, or waits for the slot it was given."""

    assigned: JudgementAssigned
    spec: ExecutionSpec
    recipe: Recipe
    traceparent: str | None
    task: asyncio.Task[None] | None = None
    revoked: bool = False


class ExecutorService:
    """One executor process. `run` lives until `stopping` is set, then drains."""

    def __init__(
        self,
        *,
        identity: Identity,
        cell: int,
        slots: Slots,
        pools: WarmPools,
        tools: Tools,
        isolation: Isolation,
        blobs: BlobStore,
        writer: EventWriter,
        reader: DecisionReader,
        trusted: TrustedKeys,
        images: ReadImages,
        clock: Clock,
        drain_seconds: float,
    ) -> None:
        self._identity = identity
        self._cell = cell
        self._slots = slots
        self._pools = pools
        self._tools = tools
        self._isolation = isolation
        self._blobs = blobs
        self._writer = writer
        self._reader = reader
        self._trusted = trusted
        self._images = images
        self._clock = clock
        self._drain_seconds = drain_seconds
        self._held: dict[Holder, _Held] = {}
        self._answers: OrderedDict[Holder, Any] = OrderedDict()
        self._tasks: asyncio.TaskGroup | None = None
        self._closing: set[asyncio.Future[None]] = set()
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._sequence = 0
        self._draining = False
        self._engine_reason = "the isolation backend has not answered yet"
        self._metrics = Metrics()

    def capacity_changed(self) -> None:
        """Called when a capacity report would say something else."""
        self._changed.set()

    def readiness(self) -> dict[str, Any]:
        """The body of `/readyz`."""
        pools = self._pools.reports()
        return {
            "ready": not self._draining and any(pool.serving for pool in pools),
            "executor": self._identity.executor,
            "incarnation": self._identity.incarnation,
            "health": self._health(),
            "draining": self._draining,
            "slots": len(self._slots.slots),
            "running": len(self._slots.held()),
            "pools": {
                pool.language: {"serving": pool.serving, "reason": pool.reason, "warm": pool.warm} for pool in pools
            },
        }

    async def run(self, stopping: asyncio.Event) -> None:
        """Serves until told to stop, then drains within its bound and destroys every sandbox."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            loops = [
                tasks.create_task(self._report_capacity()),
                tasks.create_task(self._follow_log()),
                tasks.create_task(self._keep_pools()),
            ]
            await stopping.wait()
            await self._drain()
            for loop in loops:
                loop.cancel()
        await self._pools.close()
        if self._closing:
            await asyncio.wait(self._closing)
        try:
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                await self._write_capacity()
        except TimeoutError:
            logger().warning("capacity_not_reported", error="the brokers are away")

    async def _drain(self) -> None:
        self._draining = True
        self._changed.set()
        logger().info("draining", running=len(self._slots.held()))
        try:
            async with asyncio.timeout(self._drain_seconds):
                await self._idle.wait()
        except TimeoutError:
            logger().warning("judgements_given_back", count=len(self._held))
        # What is left is given back in silence: the last capacity report shows that nobody holds it, and an
        # interruption by us costs no attempt.
        for holder in list(self._held):
            self._stop(holder)

    async def _keep_pools(self) -> None:
        """Follows the isolation backend and the images, and keeps the pools."""
        await self._watch_engine_until(answering=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pools.keep())
            tasks.create_task(self._follow_images())
            tasks.create_task(self._watch_engine())

    async def _watch_engine(self) -> None:
        """Notices an engine that died while nobody needed it: a pool must not look served then."""
        while True:
            await self._watch_engine_until(answering=False)
            await self._watch_engine_until(answering=True)

    async def _watch_engine_until(self, *, answering: bool) -> None:
        """Asks the isolation backend now and then until it answers, or until it does not; removes orphans by it."""
        while True:
            try:
                removed = await self._isolation.remove_orphans()
            except JudgeFault as fault:
                self._say_engine(str(fault))
                self._pools.distrust_all(fault)
                if not answering:
                    return
            else:
                self._say_engine("")
                if removed:
                    logger().warning("orphans_removed", count=removed)
                if answering:
                    return
            await asyncio.sleep(_ENGINE_WATCH_SECONDS if not answering else _ENGINE_RETRY_SECONDS)

    def _say_engine(self, reason: str) -> None:
        if reason != self._engine_reason:
            if reason:
                logger().warning("isolation_awaited", reason=reason)
            self._engine_reason = reason
            self._changed.set()

    async def _follow_images(self) -> None:
        known: Mapping[str, LanguageImage] | None = None
        while True:
            images = await asyncio.to_thread(self._images)
            if images is not None and images != known:
                self._pools.set_images(images)
                logger().info("images_known", languages=sorted(images))
                known = images
            await asyncio.sleep(1)

    # Capacity.

    async def _report_capacity(self) -> None:
        while True:
            self._changed.clear()
            await self._write_capacity()
            await asyncio.sleep(_REPORT_GAP_SECONDS)
            try:
                async with asyncio.timeout(REPORT_SECONDS - _REPORT_GAP_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue  # Nothing changed; the scheduler still needs to see that this executor lives.

    async def _write_capacity(self) -> None:
        identity = self._identity
        self._sequence += 1
        report = CapacityReported(
            event_id=event_id("CapacityReported", identity.executor, identity.incarnation, self._sequence),
            at_us=self._clock.now_us(),
            executor=identity.executor,
            incarnation=identity.incarnation,
            cell=self._cell,
            sequence=self._sequence,
            slots=len(self._slots.slots),
            running=tuple(
                RunningReport(judgement_id=holder.judgement_id, lease_epoch=holder.lease_epoch, slot=index)
                for holder, index in self._slots.held()
            ),
            pools=self._pools.reports(),
            draining=self._draining,
            health=self._health(),
        )
        outgoing = Outgoing(topic=CAPACITY, partition=self._cell, key=identity.executor, event=report)
        try:
            await self._writer.write(outgoing)
        except KafkaError as error:
            logger().warning("capacity_not_reported", error=repr(error))

    def _health(self) -> str:
        """Empty when well; else why this executor can do nothing."""
        if self._engine_reason:
            return self._engine_reason
        pools = self._pools.reports()
        if not pools:
            return "there are no language images"
        if not any(pool.serving for pool in pools):
            return "; ".join(f"{pool.language}: {pool.reason}" for pool in pools)
        return ""

    # Assignments.

    async def _follow_log(self) -> None:
        async for incoming in self._reader.records():
            try:
                if incoming.topic == KEYS.name:
                    self._trusted.feed(incoming)
                else:
                    await self._take(incoming)
            except PoisonEvent as error:
                self._metrics.poisoned(error.code)
                logger().warning(
                    "record_ignored",
                    topic=incoming.topic,
                    partition=incoming.partition,
                    offset=incoming.offset,
                    code=error.code,
                    reason=str(error),
                )

    async def _take(self, incoming: Incoming) -> None:
        # The log is long and little of it concerns an executor: other types are not decoded.
        if schema_of(incoming.value).name not in ("JudgementAssigned", "LeaseRevoked"):
            return
        event = decode(incoming.value)
        match event:
            case JudgementAssigned() if self._names_us(event.executor, event.incarnation):
                await self._take_assignment(event, traceparent_of(incoming.headers))
            case LeaseRevoked() if self._names_us(event.executor, event.incarnation):
                self._stop(Holder(judgement_id=event.judgement_id, lease_epoch=event.lease_epoch))
            case _:
                return

    def _names_us(self, executor: str, incarnation: str) -> bool:
        return (executor, incarnation) == (self._identity.executor, self._identity.incarnation)

    async def _take_assignment(self, assigned: JudgementAssigned, traceparent: str | None) -> None:
        holder = Holder(judgement_id=assigned.judgement_id, lease_epoch=assigned.lease_epoch)
        if self._slots.holding(holder) is not None:
            return  # Sent again while it runs: the answer is on its way.
        if (answer := self._answers.get(holder)) is not None:
            await self._send(answer, traceparent)
            return
        try:
            self._admit(holder, assigned, traceparent)
        except Refused as refusal:
            self._metrics.refused(refusal.code)
            logger().warning(
                "assignment_refused", judgement_id=assigned.judgement_id, code=refusal.code, reason=str(refusal)
            )
            event = self._reporter(assigned, slot=0, cpu=None).refused(
                code=refusal.code, reason=str(refusal), at_us=self._clock.now_us()
            )
            self._remember(holder, event)
            await self._send(event, traceparent)

    def _admit(self, holder: Holder, assigned: JudgementAssigned, traceparent: str | None) -> None:
        served = self._pools.served()
        spec = accept(
            assigned,
            keys=self._trusted.ring,
            identity=self._identity,
            pools=served,
            now_us=self._clock.now_us(),
        )
        if self._draining:
            raise Refused("draining", f"expected an executor that serves, came {self._identity.executor}: it drains")
        taken = self._slots.take(holder)
        if taken is None:
            raise Refused("no_slot", f"expected a free slot of {len(self._slots.slots)}, came none")
        self._slots, slot = taken
        self._idle.clear()
        self._held[holder] = _Held(
            assigned=assigned, spec=spec, recipe=served[spec.language].recipe, traceparent=traceparent
        )
        if slot.holder == holder:
            self._begin(holder, slot)
        self._changed.set()

    def _begin(self, holder: Holder, slot: Slot) -> None:
        assert self._tasks is not None, "assignments are taken while the service runs"
        held = self._held[holder]
        held.task = self._tasks.create_task(self._hold_slot(holder, held, slot))

    def _stop(self, holder: Holder) -> None:
        """Ends what runs or waits under a lease, and says nothing more about it."""
        held = self._held.get(holder)
        if held is None or held.revoked:
            return
        held.revoked = True
        logger().info("judgement_stopped", judgement_id=holder.judgement_id, lease_epoch=holder.lease_epoch)
        if held.task is None:
            self._slots = self._slots.leave(holder)
            del self._held[holder]
            self._note_idle()
        elif self._slots.holding(holder) is not None:
            held.task.cancel()
        # Else its result is out and it only clears away: interrupted there, it would never give its slot back.
        self._changed.set()

    # Judging.

    async def _hold_slot(self, holder: Holder, held: _Held, slot: Slot) -> None:
        """Judges in a slot and gives the slot back, whatever happened."""
        judgement: Judgement | None = None
        try:
            with span(
                "judge",
                traceparent=held.traceparent,
                judgement_id=holder.judgement_id,
                submission_id=held.spec.submission_id,
                language=held.spec.language,
            ):
                progress = _Progress(
                    reporter=self._reporter(held.assigned, slot=slot.index, cpu=slot.cpu),
                    tests_total=held.spec.test_count,
                    send_soon=self._send_soon,
                    clock=self._clock,
                    metrics=self._metrics,
                )
                judgement = Judgement(
                    spec=held.spec,
                    recipe=held.recipe,
                    cpu=slot.cpu,
                    tools=self._tools,
                    started=progress.started,
                    progressed=progress.finished_runs,
                )
                await self._judge(holder, held, slot, judgement, progress)
        except asyncio.CancelledError:
            if not held.revoked:
                raise
            # The lease is gone: this task's end is the wanted one.
        finally:
            self._slots = self._slots.finish(slot.index)
            if judgement is not None:
                await self._close(judgement)
            del self._held[holder]
            self._slots, waiting = self._slots.release(slot.index)
            if waiting is not None:
                self._begin(waiting, self._slots.slots[slot.index])
            self._note_idle()
            self._changed.set()

    async def _close(self, judgement: Judgement) -> None:
        """Destroys the sandbox: at once when something may still run in it, else behind the next judgement's back."""
        had_leftovers = judgement.has_leftovers
        closing = asyncio.ensure_future(judgement.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        if had_leftovers or len(self._closing) > 2 * len(self._slots.slots):
            # Shielded, so that a second cancellation cannot leave a sandbox behind.
            await asyncio.shield(closing)

    async def _judge(self, holder: Holder, held: _Held, slot: Slot, judgement: Judgement, progress: _Progress) -> None:
        reporter = progress.reporter
        began_ns = self._clock.monotonic_ns()
        event: Any
        try:
            conclusion = await judgement.conclude()
            event = await self._completed(conclusion, judgement, progress)
        except JudgeFault as fault:
            self._metrics.faulted(fault.stage)
            logger().warning(
                "judgement_faulted",
                judgement_id=holder.judgement_id,
                stage=fault.stage,
                retriable=fault.retriable,
                reason=fault.message,
            )
            event = reporter.faulted(fault, at_us=self._clock.now_us())
        else:
            elapsed_ns = self._clock.monotonic_ns() - began_ns
            self._metrics.judged(conclusion.verdict, held.spec.language, elapsed_ns)
        self._remember(holder, event)
        if not judgement.has_leftovers:
            # Nothing of it uses the CPU any more, so who is given the slot on seeing the result may have it at once.
            self._slots = self._slots.finish(slot.index)
        await self._send(event, current_traceparent())

    async def _completed(self, conclusion: Conclusion, judgement: Judgement, progress: _Progress) -> Any:
        assert judgement.claimed is not None, "a conclusion comes from a sandbox"
        evidence_digest = await store_evidence(self._blobs, conclusion)
        return progress.reporter.completed(
            conclusion,
            judgement.claimed,
            evidence_digest=evidence_digest,
            started_at_us=progress.started_at_us,
            at_us=self._clock.now_us(),
        )

    def _reporter(self, assigned: JudgementAssigned, *, slot: int, cpu: int | None) -> Reporter:
        return Reporter(assigned=assigned, slot=slot, cpu=cpu, isolation=self._isolation.name)

    def _note_idle(self) -> None:
        if self._slots.all_free:
            self._idle.set()

    def _remember(self, holder: Holder, event: Any) -> None:
        """Keeps the last word about a lease, to give the same one when the assignment is sent again."""
        self._answers[holder] = event
        if len(self._answers) > _ANSWERS_HELD:
            self._answers.popitem(last=False)

    async def _send(self, event: Any, traceparent: str | None) -> None:
        """Writes an event of a judgement durably; tries again while the brokers are away.

        Raises:
            KafkaError: they have been away for too long; the process ends, and its leases with it.
        """
        outgoing = self._outgoing(event, traceparent)
        for left in range(_WRITE_TRIES, 0, -1):
            try:
                await self._writer.write(outgoing)
                return
            except KafkaError as error:
                logger().warning("event_not_written", event_id=event.event_id, error=repr(error))
                if left == 1:
                    raise
            await asyncio.sleep(_WRITE_RETRY_SECONDS)

    async def _send_soon(self, event: Any) -> None:
        """Writes an event whose loss would be no harm: order is kept, nobody waits."""
        try:
            future = await self._writer.send(self._outgoing(event, current_traceparent()))
        except KafkaError as error:
            logger().warning("event_not_written", event_id=event.event_id, error=repr(error))
            return
        future.add_done_callback(_note_loss)

    def _outgoing(self, event: Any, traceparent: str | None) -> Outgoing:
        return Outgoing(
            topic=JUDGEMENTS,
            partition=self._cell,
            key=event.judgement_id,
            event=event,
            traceparent=traceparent,
        )


class _Progress:
    """Tells the start and, at most once a second, the runs of one judgement."""

    def __init__(
        self,
        *,
        reporter: Reporter,
        tests_total: int,
        send_soon: Callable[[Any], Awaitable[None]],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.reporter = reporter
        self.started_at_us = 0
        self._tests_total = tests_total
        self._send_soon = send_soon
        self._clock = clock
        self._metrics = metrics
        self._told = 0
        self._told_at_ns = clock.monotonic_ns()
        self._ordinal = 0

    async def started(self, claimed: Claimed) -> None:
        self.started_at_us = self._clock.now_us()
        self._metrics.claimed(warm=claimed.was_warm)
        await self._send_soon(self.reporter.started(claimed, at_us=self.started_at_us))

    async def finished_runs(self, runs: tuple[RunReport, ...]) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._told_at_ns < _PROGRESS_NS or len(runs) == self._tests_total:
            return  # The completed event tells all runs; a short judgement needs no progress.
        event = self.reporter.runs_finished(
            runs[self._told :], ordinal=self._ordinal, tests_total=self._tests_total, at_us=self._clock.now_us()
        )
        self._told, self._told_at_ns, self._ordinal = len(runs), now_ns, self._ordinal + 1
        await self._send_soon(event)


def _note_loss(future: asyncio.Future[Any]) -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None:
        logger().warning("event_not_written", error=repr(error))


def images_of(path: Path) -> ReadImages:
    """Reads `images.json` at each call; a file that is missing or half-written says nothing."""

    def read() -> Mapping[str, LanguageImage] | None:
        try:
            content = json.loads(path.read_text("utf-8"))
            return {
                str(language): LanguageImage(image=str(entry["image"]), digest=str(entry["digest"]))
                for language, entry in content.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    return read
