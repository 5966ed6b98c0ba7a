"""What ingest knows from the log: problems, contests, queue depths, and requests already taken.

Everything here is folded from topics, so that several ingest processes agree. Folding is idempotent and the last
record of a key counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from schemas.events import ContestRegistered, PriorityClass, ProblemPublished, QueueReported, SubmissionReceived
from schemas.topics import SUBMISSIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A request that the log has."""

    request_digest: str
    cell: int


class RequestIndex:
    """Requests already taken, by submission id; the newest `capacity` of them.

    About 250 bytes each, so a million is a quarter of a gigabyte. A request that was forgotten and comes again is
    written again with the same submission id, and the first one counts downstream: nothing is judged twice.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"expected a capacity of at least 1, came {capacity}")
        self._capacity = capacity
        self._taken: OrderedDict[bytes, tuple[bytes, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._taken)

    def remember(self, submission_id: str, request_digest: str, cell: int) -> None:
        """Takes note of a request; the first one of a submission id counts."""
        key = UUID(submission_id).bytes
        if key in self._taken:
            return
        self._taken[key] = (bytes.fromhex(request_digest.removeprefix("sha256:")), cell)
        if len(self._taken) > self._capacity:
            self._taken.popitem(last=False)

    def find(self, submission_id: str) -> Taken | None:
        found = self._taken.get(UUID(submission_id).bytes)
        return None if found is None else Taken(request_digest=f"sha256:{found[0].hex()}", cell=found[1])


class Registry:
    """The fold of everything that admission asks for."""

    def __init__(self, *, remembered_requests: int) -> None:
        self.requests = RequestIndex(remembered_requests)
        self._problems: dict[tuple[str, str], ProblemPublished] = {}
        self._contests: dict[tuple[str, str], ContestRegistered] = {}
        self._queues: dict[int, QueueReported] = {}
        self._newest_submission: dict[int, int] = {}
        self._newest_queued: dict[int, int] = {}

    def fold_problem(self, event: ProblemPublished) -> None:
        self._problems[event.tenant, event.problem] = event

    def fold_contest(self, event: ContestRegistered) -> None:
        self._contests[event.tenant, event.contest] = event

    def fold_queue(self, event: QueueReported) -> None:
        self._queues[event.cell] = event

    def fold_applied(self, cell: int, applied: Mapping[str, int]) -> None:
        """Takes note of how far the scheduler has read, which every decision tells."""
        offset = applied.get(f"{SUBMISSIONS.name}/{cell}")
        if offset is not None:
            self._newest_queued[cell] = max(offset, self._newest_queued.get(cell, -1))

    def fold_submission(self, event: SubmissionReceived, *, offset: int) -> None:
        """Takes note of a submission that lies at `offset` of its cell's partition."""
        self._newest_submission[event.cell] = offset
        self.requests.remember(event.work.submission_id, event.request_digest, event.cell)

    def problem(self, tenant: str, problem: str) -> ProblemPublished | None:
        return self._problems.get((tenant, problem))

    def problems(self, tenant: str) -> Iterable[ProblemPublished]:
        """The problems of a tenant, ordered by id."""
        return [self._problems[key] for key in sorted(self._problems) if key[0] == tenant]

    def contest(self, tenant: str, contest: str) -> ContestRegistered | None:
        return self._contests.get((tenant, contest))

    def contests(self, tenant: str) -> Iterable[ContestRegistered]:
        """The contests of a tenant, ordered by id."""
        return [self._contests[key] for key in sorted(self._contests) if key[0] == tenant]

    def priority_class(self, tenant: str, contest: str | None, now_us: int) -> PriorityClass:
        """The class of a submission: its registered contest's while that runs, practice otherwise."""
        found = None if contest is None else self.contest(tenant, contest)
        if found is None or not found.starts_at_us <= now_us < found.ends_at_us:
            return PriorityClass.PRACTICE
        return found.priority_class

    def waiting(self, cell: int) -> tuple[int, int] | None:
        """(submissions that wait in a cell, most that may), or None before its first report.

        To what the scheduler reported is added what it has not read yet; a scheduler that stands still must not let
        the log run full. How far it has read is taken from all its decisions: it reports a queue only when that changed.
        """
        report = self._queues.get(cell)
        if report is None:
            return None
        queued, newest = self._newest_queued.get(cell), self._newest_submission.get(cell)
        unread = 0 if queued is None or newest is None else max(0, newest - queued)
        return report.queued + unread, report.bound
