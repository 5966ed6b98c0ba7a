"""The raw intake topics: one for each tenant, through the same admission as HTTP.

Theory of operation. A record is done when its submission or its rejection lies durably on our topics; then, and in
order, its offset is committed. After a crash a few records come again: a submission is recognised by its derived id,
so nothing is taken twice, and a rejection may be told twice, naming the same origin. When the cell's queue is full the
partition is paused at the record that found it so, and tried again each second; nothing is refused for that reason here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import IllegalStateError, KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.structs import TopicPartition

from schemas.codec import decode_as
from schemas.errors import PoisonEvent
from schemas.events import SubmissionRejected, SubmissionRequested
from schemas.headers import traceparent_of
from schemas.identity import event_id
from schemas.topics import REJECTIONS, Topic, intake_topic
from services.chassis.clock import Clock
from services.chassis.faults import StartRefused
from services.chassis.kafka import Incoming, Outgoing, start_consumer
from services.chassis.logs import logger
from services.chassis.telemetry import span
from services.chassis.tokens import TokenStore
from services.ingest.adapters.admissions import Admissions, NotDurable, Receipt
from services.ingest.adapters.counters import Counters
from services.ingest.adapters.publisher import Publisher
from services.ingest.core.admission import QUEUE_FULL, Draft, draft_of_request
from services.ingest.core.rules import Refused, refuse_tenant

_GROUP = "assize-ingest-intake"
_PREFIX_BYTES = 256
_KEY_CHARACTERS = 256
_BATCH_RECORDS = 200
_POLL_MS = 500
_TENANTS_READ_AGAIN_NS = 5_000_000_000
_TRIED_AGAIN_NS = 1_000_000_000
_COPIES = 3
_SESSION_MS = 6_000
_HEARTBEAT_MS = 1_000


class Intake:
    """Reads every tenant's intake topic."""

    def __init__(
        self,
        bootstrap: str,
        *,
        tokens: TokenStore,
        admissions: Admissions,
        publisher: Publisher,
        clock: Clock,
        counters: Counters,
    ) -> None:
        self._bootstrap = bootstrap
        self._tokens = tokens
        self._admissions = admissions
        self._publisher = publisher
        self._clock = clock
        self._counters = counters
        self._tenants: dict[str, str] = {}
        """Tenant by the name of its topic."""
        self._odd_tenants: set[str] = set()
        self._done: dict[TopicPartition, set[int]] = {}
        """Offsets that are done while an earlier one is not."""
        self._paused: dict[TopicPartition, int] = {}
        """When each full partition was paused."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Takes records until `stopping` is set; what was begun is finished."""
        consumer: AIOKafkaConsumer = await start_consumer(
            self._bootstrap,
            group_id=_GROUP,
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
        )
        try:
            tenants_read_at_ns: int | None = None
            while not stopping.is_set():
                now_ns = self._clock.monotonic_ns()
                if tenants_read_at_ns is None or now_ns - tenants_read_at_ns > _TENANTS_READ_AGAIN_NS:
                    await self._subscribe(consumer)
                    tenants_read_at_ns = now_ns
                if not self._tenants:
                    await _first_of(stopping, _POLL_MS / 1000)
                    continue
                self._resume(consumer, now_ns)
                batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH_RECORDS)
                for partition, messages in batches.items():
                    await self._take_batch(consumer, partition, [Incoming.of(message) for message in messages])
        finally:
            await consumer.stop()

    async def _subscribe(self, consumer: AIOKafkaConsumer) -> None:
        """Brings topics and subscription to the tenants of the token file."""
        try:
            known = self._tokens.tenants()
        except (StartRefused, ValueError) as error:
            logger().error("tokens_unreadable", reason=str(error))
            return
        for tenant in sorted(known - self._odd_tenants):
            refused = refuse_tenant(tenant)
            if refused is not None:
                self._odd_tenants.add(tenant)
                logger().error("tenant_without_intake", reason=refused.reason)
        wanted = {intake_topic(tenant).name: tenant for tenant in known - self._odd_tenants}
        if wanted == self._tenants:
            return
        try:
            await create_missing(self._bootstrap, [intake_topic(tenant) for tenant in wanted.values()])
        except (KafkaError, OSError) as error:
            logger().warning("intake_topics_awaited", error=repr(error))
            return
        consumer.subscribe(sorted(wanted))
        self._tenants = wanted
        logger().info("intake_followed", tenants=sorted(wanted.values()))

    def _resume(self, consumer: AIOKafkaConsumer, now_ns: int) -> None:
        assigned = consumer.assignment()
        for partition, since_ns in list(self._paused.items()):
            if partition not in assigned:
                del self._paused[partition]
            elif now_ns - since_ns >= _TRIED_AGAIN_NS:
                consumer.resume(partition)
                del self._paused[partition]

    async def _take_batch(
        self, consumer: AIOKafkaConsumer, partition: TopicPartition, records: Sequence[Incoming]
    ) -> None:
        done = self._done.setdefault(partition, set())
        results = await asyncio.gather(*(self._take(record) for record in records if record.offset not in done))
        done.update(offset for offset, finished in results if finished)
        # Offsets of a partition have gaps (transactions, compaction), so "the next one" is asked of the batch itself.
        waiting = next((record.offset for record in records if record.offset not in done), None)
        through = records[-1].offset + 1 if waiting is None else waiting
        self._done[partition] = {offset for offset in done if offset >= through}
        try:
            if waiting is not None:
                consumer.seek(partition, waiting)
                consumer.pause(partition)
                self._paused[partition] = self._clock.monotonic_ns()
            await consumer.commit({partition: through})
        except (KafkaError, IllegalStateError) as error:
            # The group was balanced anew, or the broker is away: whoever reads these again recognises them.
            logger().warning("intake_commit_failed", partition=partition.partition, error=repr(error))

    async def _take(self, record: Incoming) -> tuple[int, bool]:
        """Takes one record; True means that it is done and must not be read again."""
        tenant = self._tenants.get(record.topic)
        if tenant is None:
            return record.offset, False
        with span("ingest.intake", traceparent=traceparent_of(record.headers), offset=record.offset):
            try:
                request = decode_as(record.value, SubmissionRequested)
            except PoisonEvent as error:
                return record.offset, await self._reject(record, tenant, None, error.code, str(error))
            assert isinstance(request, SubmissionRequested)
            outcome = await self._admit(draft_of_request(tenant, request), record.offset)
        match outcome:
            case Receipt():
                self._counters.intake(outcome="repeated" if outcome.duplicate else "accepted")
                return record.offset, True
            case Refused(code=code) if code == QUEUE_FULL:
                return record.offset, False
            case Refused():
                return record.offset, await self._reject(
                    record, tenant, request.request_id, outcome.code, outcome.reason
                )

    async def _admit(self, draft: Draft, offset: int) -> Receipt | Refused:
        """Admits, waiting for the brokers as long as it takes."""
        while True:
            try:
                return await self._admissions.take(draft, timeout_seconds=None)
            except NotDurable as error:
                logger().warning("intake_waits", offset=offset, reason=str(error))
                await asyncio.sleep(_TRIED_AGAIN_NS / 1e9)

    async def _reject(self, record: Incoming, tenant: str, request_id: str | None, code: str, reason: str) -> bool:
        event = SubmissionRejected(
            event_id=event_id("SubmissionRejected", record.topic, record.partition, record.offset),
            at_us=self._clock.now_us(),
            tenant=tenant,
            request_id=None if request_id is None else request_id[:_KEY_CHARACTERS],
            code=code,
            reason=reason,
            source_topic=record.topic,
            source_partition=record.partition,
            source_offset=record.offset,
            size_bytes=len(record.value),
            prefix=record.value[:_PREFIX_BYTES],
        )
        key = (record.key or b"").decode("utf-8", "backslashreplace")[:_KEY_CHARACTERS]
        while True:
            try:
                await self._publisher.write(Outgoing(topic=REJECTIONS, partition=0, key=key, event=event))
                break
            except KafkaError as error:
                logger().warning("rejection_waits", offset=record.offset, error=repr(error))
                await asyncio.sleep(_TRIED_AGAIN_NS / 1e9)
        self._counters.intake(outcome=code)
        logger().info(
            "submission_rejected",
            tenant=tenant,
            code=code,
            reason=reason,
            source_topic=record.topic,
            source_partition=record.partition,
            source_offset=record.offset,
        )
        return True


async def create_missing(bootstrap: str, topics: Sequence[Topic]) -> None:
    """Creates those of the topics that are not there.

    Raises:
        KafkaError: the broker refused one, or is not there.
    """
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        there = set(await client.list_topics())
        missing = [topic for topic in topics if topic.name not in there]
        if not missing:
            return
        copies = min(_COPIES, len((await client.describe_cluster())["brokers"]))
        durable = {"min.insync.replicas": "2"} if copies == _COPIES else {}
        answer = await client.create_topics(
            [
                NewTopic(
                    name=topic.name,
                    num_partitions=topic.partition_count(1),
                    replication_factor=copies,
                    topic_configs=dict(topic.configuration()) | durable,
                )
                for topic in missing
            ]
        )
        for name, code, *message in answer.topic_errors:
            if code != 0 and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(f"expected to create the topic {name}, came {message}")
    finally:
        await client.close()


async def _first_of(stopping: asyncio.Event, timeout_seconds: float) -> None:
    """Waits until `stopping` is set or the time is up."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await stopping.wait()
    except TimeoutError:
        return
