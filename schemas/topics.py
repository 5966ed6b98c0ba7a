"""Every topic in one table: what lies on it, its key, how long it is kept, and its partition rule.

A *cell* topic has one partition per cell, and the partition is the cell, set explicitly and never hashed. The other
topics have one partition, so that their order is total.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DAY_MS = 86_400_000
FOR_EVER_MS = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic. `retention_ms` of -1 keeps for ever; `compacted` keeps the newest record of a key."""

    name: str
    key: str
    retention_ms: int
    events: tuple[str, ...]
    is_cell_topic: bool = False
    compacted: bool = False

    def partition_count(self, cell_count: int) -> int:
        return cell_count if self.is_cell_topic else 1

    def configuration(self) -> Mapping[str, str]:
        """Topic configuration as Kafka names it."""
        common = {"max.message.bytes": str(8 * 1024 * 1024), "message.timestamp.type": "CreateTime"}
        if self.compacted:
            return common | {"cleanup.policy": "compact"}
        return common | {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms), "retention.bytes": "-1"}


REJECTIONS = Topic(name="assize.rejections.v1", key="as came", retention_ms=90 * DAY_MS, events=("SubmissionRejected",))
PROBLEMS = Topic(name="assize.problems.v1", key="problem", retention_ms=FOR_EVER_MS, events=("ProblemPublished",))
CONTESTS = Topic(name="assize.contests.v1", key="contest", retention_ms=FOR_EVER_MS, events=("ContestRegistered",))
SUBMISSIONS = Topic(
    name="assize.submissions.v1",
    key="submission",
    retention_ms=FOR_EVER_MS,
    events=("SubmissionReceived",),
    is_cell_topic=True,
)
REQUESTS = Topic(
    name="assize.requests.v1",
    key="submission, language or executor",
    retention_ms=FOR_EVER_MS,
    events=("JudgementRequested", "PausePool", "DrainExecutor", "ReservePool"),
    is_cell_topic=True,
)
CAPACITY = Topic(
    name="assize.capacity.v1", key="executor", retention_ms=DAY_MS, events=("CapacityReported",), is_cell_topic=True
)
DECISIONS = Topic(
    name="assize.decisions.v1",
    key="judgement, or the cell",
    retention_ms=FOR_EVER_MS,
    events=(
        "SubmissionQueued",
        "JudgementAssigned",
        "LeaseRevoked",
        "JudgementConcluded",
        "PolicyChanged",
        "QueueReported",
        "SchedulerSnapshotTaken",
    ),
    is_cell_topic=True,
)
JUDGEMENTS = Topic(
    name="assize.judgements.v1",
    key="judgement",
    retention_ms=FOR_EVER_MS,
    events=("AssignmentRefused", "JudgementStarted", "RunsFinished", "JudgementCompleted", "JudgementFaulted"),
    is_cell_topic=True,
)
REJUDGINGS = Topic(
    name="assize.rejudgings.v1",
    key="rejudging",
    retention_ms=FOR_EVER_MS,
    events=("RejudgingPlanned", "RejudgingReady", "RejudgingApplied", "RejudgingCancelled", "RejudgingReverted"),
)
VERDICTS = Topic(name="assize.verdicts.v1", key="submission", retention_ms=FOR_EVER_MS, events=("VerdictRecorded",))
VERDICTS_LATEST = Topic(
    name="assize.verdicts.latest.v1",
    key="submission",
    retention_ms=FOR_EVER_MS,
    events=("VerdictRecorded",),
    compacted=True,
)
LEDGER = Topic(name="assize.ledger.v1", key="ledger", retention_ms=FOR_EVER_MS, events=("LedgerCheckpointed",))
KEYS = Topic(
    name="assize.keys.v1", key="key id", retention_ms=FOR_EVER_MS, events=("KeyPublished", "KeyRetired", "KeyRevoked")
)

TOPICS: tuple[Topic, ...] = (
    REJECTIONS,
    PROBLEMS,
    CONTESTS,
    SUBMISSIONS,
    REQUESTS,
    CAPACITY,
    DECISIONS,
    JUDGEMENTS,
    REJUDGINGS,
    VERDICTS,
    VERDICTS_LATEST,
    LEDGER,
    KEYS,
)


def intake_topic(tenant: str) -> Topic:
    """The raw intake topic of one tenant: who may write it is the tenant, by broker ACL."""
    return Topic(name=f"assize.intake.{tenant}.v1", key="any", retention_ms=7 * DAY_MS, events=("SubmissionRequested",))
