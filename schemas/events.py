"""The event classes: one frozen class for every Avro record of the published language.

Each class mirrors the newest released version of its schema in `schemas/avro/` (a contract test holds the two
together). Units stand last in the names; `_us` is microseconds since the epoch, UTC. Events are facts and carry no
behaviour; what to do about them is decided in the cores of the services.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class PriorityClass(enum.StrEnum):
    """How urgent a judgement is; from the registered contest, never self-declared."""

    CONTEST_FINAL = "CONTEST_FINAL"
    CONTEST = "CONTEST"
    PRACTICE = "PRACTICE"
    REJUDGING = "REJUDGING"
    BATCH = "BATCH"
    UNKNOWN = "UNKNOWN"


class Verdict(enum.StrEnum):
    """Judgement type id of the ICPC CCS specification; OLE and JE (our fault alone) beside it."""

    AC = "AC"
    WA = "WA"
    CE = "CE"
    RTE = "RTE"
    TLE = "TLE"
    MLE = "MLE"
    OLE = "OLE"
    JE = "JE"
    UNKNOWN = "UNKNOWN"


class RunEnding(enum.StrEnum):
    """How the first process of a run ended."""

    EXITED = "EXITED"
    SIGNALED = "SIGNALED"
    STOPPED_BY_LIMIT = "STOPPED_BY_LIMIT"
    SANDBOX_LOST = "SANDBOX_LOST"
    UNKNOWN = "UNKNOWN"


class LimitKind(enum.StrEnum):
    """Which limit was exceeded."""

    NONE = "NONE"
    CPU_TIME = "CPU_TIME"
    WALL_TIME = "WALL_TIME"
    MEMORY = "MEMORY"
    OUTPUT = "OUTPUT"
    UNKNOWN = "UNKNOWN"


class RevocationReason(enum.StrEnum):
    """Why a lease ended without a conclusion."""

    EXECUTOR_LOST = "EXECUTOR_LOST"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    NOT_HELD = "NOT_HELD"
    FAULTED = "FAULTED"
    REFUSED = "REFUSED"
    DRAINED = "DRAINED"
    PREEMPTED = "PREEMPTED"
    WITHDRAWN = "WITHDRAWN"
    UNKNOWN = "UNKNOWN"


class IdleReserveRule(enum.StrEnum):
    """What happens to reserved slots that their owner does not use."""

    HARD = "HARD"
    LENT = "LENT"
    UNKNOWN = "UNKNOWN"


class VerdictCause(enum.StrEnum):
    """Why the current verdict of a submission changed."""

    JUDGED = "JUDGED"
    REJUDGING_APPLIED = "REJUDGING_APPLIED"
    REJUDGING_REVERTED = "REJUDGING_REVERTED"
    OVERRIDDEN = "OVERRIDDEN"
    RELEASED = "RELEASED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFileRef:
    """One file of a submission; the bytes are the blob of that digest."""

    name: str
    """Validated file name, flat."""
    digest: str
    """sha256:<hex> of the bytes."""
    size_bytes: int
    """Length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingManifest:
    """What judging a problem version means, pinned when the submission is admitted."""

    problem_version: str
    """sha256:<hex> of the canonical package content."""
    cpu_time_limit_ns: int
    """CPU time of one test run."""
    wall_time_limit_ns: int
    """Wall time of one test run."""
    memory_limit_bytes: int
    """Memory of one test run, tmpfs pages included."""
    output_limit_bytes: int
    """Standard output of one test run."""
    process_limit: int
    """Processes and threads of the program."""
    compile_cpu_time_limit_ns: int
    """CPU time of compiling."""
    compile_memory_limit_bytes: int
    """Memory of compiling."""
    test_data_digest: str
    """Digest of the test list blob (schemas.problems.TestList)."""
    test_count: int
    """Tests in the list."""
    validator_digest: str
    """sha256:<hex> that names the output validator and its arguments."""
    validator_args: tuple[str, ...]
    """Arguments of the output validator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementWork:
    """Everything that is needed to judge, carried so that a cell folds its queue from its own log alone."""

    submission_id: str
    """UUID."""
    judgement_id: str
    """UUID."""
    origin: str
    """"live" or the id of a rejudging."""
    repeat: int
    """0 for the first judgement of this origin."""
    tenant: str
    """Owner."""
    contest: str | None = None
    """Contest id."""
    team: str | None = None
    """Team id."""
    problem: str
    """Problem id."""
    language: str
    """Language id."""
    entry_point: str | None = None
    """Main file or class as given."""
    source_digest: str
    """sha256:<hex> over the file list."""
    files: tuple[SourceFileRef, ...]
    """Files in the order given."""
    priority_class: PriorityClass
    """Urgency."""
    manifest: JudgingManifest
    """Limits and data."""
    received_at_us: int
    """When the submission was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One test run as it was measured and judged."""

    test: str
    """Test case name, for example secret/02-big."""
    group: str
    """sample or secret."""
    verdict: Verdict
    """Judgement type of this run."""
    ending: RunEnding
    """How it ended."""
    exit_code: int | None = None
    """When EXITED."""
    signal: int | None = None
    """When SIGNALED."""
    limit_expired: LimitKind
    """Which limit."""
    cpu_time_ns: int
    """From the cgroup account."""
    wall_time_ns: int
    """Start to end."""
    memory_peak_bytes: int
    """Peak of the cgroup less the idle sandbox."""
    output_bytes: int
    """Length of standard output."""
    error_bytes: int
    """Length of standard error."""
    stopped_processes: int
    """Processes left over and stopped."""
    runnable_wait_ns: int
    """Time runnable but not running."""
    samples_cpu_time_ns: tuple[int, ...]
    """All samples when the run was repeated near its limit; else one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileReport:
    """The compile step."""

    succeeded: bool
    """Whether an artifact came of it."""
    ending: RunEnding
    """How it ended."""
    exit_code: int | None = None
    """When EXITED."""
    signal: int | None = None
    """When SIGNALED."""
    limit_expired: LimitKind
    """Which limit."""
    cpu_time_ns: int
    """CPU time."""
    wall_time_ns: int
    """Wall time."""
    memory_peak_bytes: int
    """Peak memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultReport:
    """One fault of ours."""

    executor: str
    """Executor."""
    stage: str
    """Where it happened."""
    message: str
    """What was expected and what came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReport:
    """One pool of warm sandboxes."""

    language: str
    """Language id."""
    image: str
    """Image name."""
    image_digest: str
    """Image id."""
    isolation: str
    """container, gvisor or microvm."""
    serving: bool
    """Whether preflight holds and work is taken."""
    reason: str
    """Why it does not serve; empty when it does."""
    warm: int
    """Sandboxes ready."""
    min_warm: int
    """Lower bound."""
    max_warm: int
    """Upper bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningReport:
    """One judgement that an executor holds."""

    judgement_id: str
    """UUID."""
    lease_epoch: int
    """Fencing number."""
    slot: int
    """Slot index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPolicy:
    """Capacity rule of one language in a cell."""

    language: str
    """Language id."""
    reserved: int
    """Slots kept for it."""
    max_slots: int
    """Most slots at once."""
    idle_reserve: IdleReserveRule
    """Whether others may use its idle reserve."""
    paused: bool
    """Nothing of it is assigned while true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """Queue of one language."""

    language: str
    """Language id."""
    queued: int
    """Waiting."""
    running: int
    """Assigned."""
    held: int
    """Waiting because no executor can take it."""
    held_reason: str
    """Why; empty when none is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRange:
    """A contiguous range of one topic partition."""

    topic: str
    """Topic."""
    partition: int
    """Partition."""
    first_offset: int
    """First."""
    last_offset: int
    """Last, inclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeFile:
    """One file as sent."""

    name: str
    """File name."""
    content: bytes
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRequested:
    """A raw submission from one contest system; the topic it lies on is the tenant."""

    request_id: str
    """Idempotency key, unique within the tenant."""
    contest: str | None = None
    """Contest id."""
    team: str | None = None
    """Team id."""
    problem: str
    """Problem id."""
    language: str
    """Language id."""
    entry_point: str | None = None
    """Main file or class."""
    files: tuple[IntakeFile, ...]
    """Files of the submission."""
    requested_at_us: int
    """When the contest system took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionRejected:
    """A submission that was refused, with the reason."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    tenant: str
    """Tenant, empty when not known."""
    request_id: str | None = None
    """As far as it could be read."""
    code: str
    """Machine-readable reason."""
    reason: str
    """What was expected and what came."""
    source_topic: str
    """Where it lay."""
    source_partition: int
    """Partition."""
    source_offset: int
    """Offset."""
    size_bytes: int
    """Length of the record."""
    prefix: bytes
    """First bytes of the record, at most 256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemPublished:
    """A version of a problem can be judged."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    tenant: str
    """Owner."""
    problem: str
    """Problem id."""
    name: str
    """Display name."""
    manifest: JudgingManifest
    """Limits and data."""
    bundle_digest: str
    """Blob of the package."""
    sample_count: int
    """Sample tests."""
    published_by: str
    """Token name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestRegistered:
    """A contest and its urgency; the last one of a contest counts."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    tenant: str
    """Owner."""
    contest: str
    """Contest id."""
    name: str
    """Display name."""
    priority_class: PriorityClass
    """Class of its submissions while it runs."""
    starts_at_us: int
    """Start."""
    ends_at_us: int
    """End."""
    registered_by: str
    """Token name or file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionReceived:
    """A submission was accepted; from here on it gets exactly one current verdict."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    cell: int
    """Partition of everything about it."""
    request_id: str
    """Idempotency key."""
    request_digest: str
    """sha256:<hex> over the canonical request; the same key with another digest is a conflict."""
    source: str
    """http or intake."""
    work: JudgementWork
    """What is to be judged, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementRequested:
    """A command of the verdict store: judge once more, in the shadow."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    actor: str
    """Who."""
    reason: str
    """Why."""
    work: JudgementWork
    """What is to be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PausePool:
    """Command: stop or go on assigning a language."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    actor: str
    """Who."""
    reason: str
    """Why."""
    language: str
    """Language id."""
    paused: bool
    """Whether to pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainExecutor:
    """Command: let an executor finish and give it nothing new, or take it back."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    actor: str
    """Who."""
    reason: str
    """Why."""
    executor: str
    """Executor name."""
    draining: bool
    """Whether to drain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservePool:
    """Command: change the capacity rule of a language."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    actor: str
    """Who."""
    reason: str
    """Why."""
    pool: PoolPolicy
    """The new rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityReported:
    """The whole state of an executor, every second and at every change."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    executor: str
    """Executor name."""
    incarnation: str
    """Random id of its process."""
    cell: int
    """Its cell."""
    sequence: int
    """Counts up within the incarnation."""
    slots: int
    """Judgements it can hold at once."""
    running: tuple[RunningReport, ...]
    """What it holds."""
    pools: tuple[PoolReport, ...]
    """Pools."""
    draining: bool
    """Takes nothing new."""
    health: str
    """Empty when well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionQueued:
    """A judgement waits in the cell."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    applied: Mapping[str, int]
    """Highest input offset folded so far, by "topic/partition"."""
    work: JudgementWork
    """What is to be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementAssigned:
    """A judgement was leased to one executor process."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    applied: Mapping[str, int]
    """Highest input offset folded so far, by "topic/partition"."""
    judgement_id: str
    """UUID."""
    submission_id: str
    """UUID."""
    lease_epoch: int
    """Fencing number of the lease."""
    executor: str
    """Executor name."""
    incarnation: str
    """Random id of the executor process."""
    attempt: int
    """Counts from 1; a refusal or an interruption by us is no attempt."""
    lease_expires_at_us: int
    """End of the lease."""
    spec: bytes
    """Canonical ExecutionSpec."""
    spec_signature: bytes
    """Ed25519 over the DSSE encoding of the spec."""
    spec_key_id: str
    """Key of the scheduler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRevoked:
    """A lease ended without a conclusion; the judgement waits again."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    applied: Mapping[str, int]
    """Highest input offset folded so far, by "topic/partition"."""
    judgement_id: str
    """UUID."""
    submission_id: str
    """UUID."""
    lease_epoch: int
    """Fencing number of the lease."""
    executor: str
    """Executor name."""
    incarnation: str
    """Random id of the executor process."""
    reason: RevocationReason
    """Why."""
    counts_attempt: bool
    """Whether it counts against the judgement."""
    detail: str
    """What was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementConcluded:
    """The judgement is over: the one accepted event, or JE with the faults."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    applied: Mapping[str, int]
    """Highest input offset folded so far, by "topic/partition"."""
    judgement_id: str
    """UUID."""
    submission_id: str
    """UUID."""
    lease_epoch: int
    """Lease that was accepted."""
    verdict: Verdict
    """Of the judgement."""
    accepted_event_id: str | None = None
    """JudgementCompleted that was accepted; null for JE."""
    faults: tuple[FaultReport, ...]
    """Faults on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChanged:
    """The capacity rules of the cell from here on."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    applied: Mapping[str, int]
    """Highest input offset folded so far, by "topic/partition"."""
    pools: tuple[PoolPolicy, ...]
    """All rules."""
    draining_executors: tuple[str, ...]
    """Executors that get nothing new."""
    actor: str
    """Who."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReported:
    """Depth of the queue; ingest refuses past its bound."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    applied: Mapping[str, int]
    """Highest input offset folded so far, by "topic/partition"."""
    cell: int
    """Cell."""
    queued: int
    """Waiting."""
    running: int
    """Assigned."""
    bound: int
    """Most that may wait."""
    oldest_wait_ns: int
    """Longest wait."""
    depths: tuple[QueueDepth, ...]
    """By language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSnapshotTaken:
    """The whole folded state, to bound the start."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    applied: Mapping[str, int]
    """Highest input offset folded so far, by "topic/partition"."""
    cell: int
    """Cell."""
    format: int
    """Format of the state."""
    state: bytes
    """Compressed canonical state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentRefused:
    """An executor could not take an assignment; no fault and no attempt."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    judgement_id: str
    """UUID."""
    submission_id: str
    """UUID."""
    lease_epoch: int
    """Fencing number of the lease."""
    executor: str
    """Executor name."""
    incarnation: str
    """Random id of the executor process."""
    code: str
    """Machine-readable reason."""
    reason: str
    """What was expected and what came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementStarted:
    """A sandbox was claimed."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    judgement_id: str
    """UUID."""
    submission_id: str
    """UUID."""
    lease_epoch: int
    """Fencing number of the lease."""
    executor: str
    """Executor name."""
    incarnation: str
    """Random id of the executor process."""
    slot: int
    """Slot."""
    cpu: int | None = None
    """Pinned CPU."""
    sandbox_id: str
    """Sandbox."""
    image_digest: str
    """Image id."""
    isolation: str
    """Backend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsFinished:
    """Progress of a long judgement."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    judgement_id: str
    """UUID."""
    submission_id: str
    """UUID."""
    lease_epoch: int
    """Fencing number of the lease."""
    executor: str
    """Executor name."""
    incarnation: str
    """Random id of the executor process."""
    ordinal: int
    """Counts from 0."""
    tests_total: int
    """Tests of the problem."""
    runs: tuple[RunReport, ...]
    """Runs since the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementCompleted:
    """The whole result of one judgement."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    judgement_id: str
    """UUID."""
    submission_id: str
    """UUID."""
    lease_epoch: int
    """Fencing number of the lease."""
    executor: str
    """Executor name."""
    incarnation: str
    """Random id of the executor process."""
    verdict: Verdict
    """Of the judgement."""
    compile: CompileReport | None = None
    """Null when the language compiles nothing."""
    runs: tuple[RunReport, ...]
    """All runs, in test order, up to the deciding one."""
    tests_total: int
    """Tests of the problem."""
    cpu_time_ns: int
    """Largest of the runs."""
    wall_time_ns: int
    """Largest of the runs."""
    memory_peak_bytes: int
    """Largest of the runs."""
    score: float | None = None
    """For scoring problems."""
    evidence_digest: str
    """Blob with compiler and program output, capped (schemas.evidence)."""
    spec_digest: str
    """sha256:<hex> of the spec that was carried out."""
    image_digest: str
    """Image id."""
    isolation: str
    """Backend."""
    preflight_digest: str
    """sha256:<hex> of the preflight report of the pool."""
    sandbox_id: str
    """Sandbox."""
    slot: int
    """Slot."""
    cpu: int | None = None
    """Pinned CPU."""
    started_at_us: int
    """Sandbox claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgementFaulted:
    """Our fault: the judgement could not be carried out here."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    judgement_id: str
    """UUID."""
    submission_id: str
    """UUID."""
    lease_epoch: int
    """Fencing number of the lease."""
    executor: str
    """Executor name."""
    incarnation: str
    """Random id of the executor process."""
    stage: str
    """Where."""
    retriable: bool
    """Whether another executor may do better."""
    message: str
    """What was expected and what came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejudgingPlanned:
    """A set of new judgements was chosen."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    tenant: str
    """Owner."""
    rejudging: str
    """Rejudging id."""
    actor: str
    """Who."""
    reason: str
    """Why."""
    selection: str
    """Canonical JSON of the filter."""
    submission_count: int
    """Size of the set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejudgingReady:
    """Every judgement of the set is over."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    tenant: str
    """Owner."""
    rejudging: str
    """Rejudging id."""
    actor: str
    """Who."""
    reason: str
    """Why."""
    judgement_count: int
    """Judgements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejudgingApplied:
    """The set became current."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    tenant: str
    """Owner."""
    rejudging: str
    """Rejudging id."""
    actor: str
    """Who."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejudgingCancelled:
    """The set was thrown away."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    tenant: str
    """Owner."""
    rejudging: str
    """Rejudging id."""
    actor: str
    """Who."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejudgingReverted:
    """An applied set was taken back."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    tenant: str
    """Owner."""
    rejudging: str
    """Rejudging id."""
    actor: str
    """Who."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRecorded:
    """The current verdict of a submission, and what it replaced."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    cursor: int
    """Dense sequence number; the one cursor of every feed."""
    tenant: str
    """Owner."""
    contest: str | None = None
    """Contest id."""
    team: str | None = None
    """Team id."""
    submission_id: str
    """UUID."""
    judgement_id: str | None = None
    """Judgement that is current."""
    problem: str
    """Problem id."""
    problem_version: str
    """Version."""
    language: str
    """Language id."""
    verdict: Verdict
    """Now."""
    previous: Verdict | None = None
    """Before."""
    cause: VerdictCause
    """Why it changed."""
    score: float | None = None
    """For scoring problems."""
    cpu_time_ns: int
    """Largest of the runs."""
    wall_time_ns: int
    """Largest of the runs."""
    memory_peak_bytes: int
    """Largest of the runs."""
    submitted_at_us: int
    """Received."""
    judged_at_us: int
    """Concluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerCheckpointed:
    """A signed head of the ledger."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    tree_size: int
    """Entries."""
    root_hash: bytes
    """RFC 6962 root."""
    ranges: tuple[TopicRange, ...]
    """What was added since the last one, in ledger order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPublished:
    """A public key, signed by the root key."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    key_id: str
    """Name and first 16 hex of sha256 of the key."""
    owner: str
    """Service or executor."""
    public_key: bytes
    """Ed25519, 32 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRetired:
    """A key signs nothing new; what it signed stays valid."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    key_id: str
    """Key."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRevoked:
    """A key is not to be believed; what it signed is flagged."""

    event_id: str
    """UUIDv5; the same id with other bytes is an alarm."""
    at_us: int
    """When it happened."""
    key_id: str
    """Key."""
    reason: str
    """Why."""


Event = (
    SubmissionRequested
    | SubmissionRejected
    | ProblemPublished
    | ContestRegistered
    | SubmissionReceived
    | JudgementRequested
    | PausePool
    | DrainExecutor
    | ReservePool
    | CapacityReported
    | SubmissionQueued
    | JudgementAssigned
    | LeaseRevoked
    | JudgementConcluded
    | PolicyChanged
    | QueueReported
    | SchedulerSnapshotTaken
    | AssignmentRefused
    | JudgementStarted
    | RunsFinished
    | JudgementCompleted
    | JudgementFaulted
    | RejudgingPlanned
    | RejudgingReady
    | RejudgingApplied
    | RejudgingCancelled
    | RejudgingReverted
    | VerdictRecorded
    | LedgerCheckpointed
    | KeyPublished
    | KeyRetired
    | KeyRevoked
)
"""Any event or command that is a record of its own on a topic."""

EVENT_TYPES: Mapping[str, type[Event]] = {
    "SubmissionRequested": SubmissionRequested,
    "SubmissionRejected": SubmissionRejected,
    "ProblemPublished": ProblemPublished,
    "ContestRegistered": ContestRegistered,
    "SubmissionReceived": SubmissionReceived,
    "JudgementRequested": JudgementRequested,
    "PausePool": PausePool,
    "DrainExecutor": DrainExecutor,
    "ReservePool": ReservePool,
    "CapacityReported": CapacityReported,
    "SubmissionQueued": SubmissionQueued,
    "JudgementAssigned": JudgementAssigned,
    "LeaseRevoked": LeaseRevoked,
    "JudgementConcluded": JudgementConcluded,
    "PolicyChanged": PolicyChanged,
    "QueueReported": QueueReported,
    "SchedulerSnapshotTaken": SchedulerSnapshotTaken,
    "AssignmentRefused": AssignmentRefused,
    "JudgementStarted": JudgementStarted,
    "RunsFinished": RunsFinished,
    "JudgementCompleted": JudgementCompleted,
    "JudgementFaulted": JudgementFaulted,
    "RejudgingPlanned": RejudgingPlanned,
    "RejudgingReady": RejudgingReady,
    "RejudgingApplied": RejudgingApplied,
    "RejudgingCancelled": RejudgingCancelled,
    "RejudgingReverted": RejudgingReverted,
    "VerdictRecorded": VerdictRecorded,
    "LedgerCheckpointed": LedgerCheckpointed,
    "KeyPublished": KeyPublished,
    "KeyRetired": KeyRetired,
    "KeyRevoked": KeyRevoked,
}
