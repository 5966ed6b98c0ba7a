"""Publishing problems and registering contests: blobs first, then one event, and none when nothing is new."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path

from schemas.events import ContestRegistered, ProblemPublished
from schemas.topics import CONTESTS, PROBLEMS
from services.chassis.blobs import BlobStore
from services.chassis.clock import Clock
from services.chassis.faults import StartRefused
from services.chassis.kafka import Outgoing
from services.chassis.logs import logger
from services.ingest.adapters.publisher import Publisher
from services.ingest.core.contests import is_same_contest, read_contest
from services.ingest.core.package import PackageRefused, ProblemPackage, read_package
from services.ingest.core.publication import blobs_of, encoded_tests, is_same_problem, publication_of
from services.ingest.core.registry import Registry
from services.ingest.core.rules import Refused, refuse_id, refuse_tenant


class Announcements:
    """One at a time, so that two of one problem do not cross."""

    def __init__(self, *, registry: Registry, publisher: Publisher, blobs: BlobStore, clock: Clock) -> None:
        self._registry = registry
        self._publisher = publisher
        self._blobs = blobs
        self._clock = clock
        self._turn = asyncio.Lock()

    async def publish_problem(
        self, archive: bytes, *, tenant: str, problem: str, published_by: str
    ) -> tuple[ProblemPublished, bool] | Refused:
        """Publishes a zipped package; the second value is False when this very content is current already.

        The blobs are stored in either case, which also brings back one that was lost.

        Raises:
            KafkaError: the brokers refused the event.
        """
        refused = refuse_id("problem", problem)
        if refused is not None:
            return refused
        async with self._turn:
            try:
                package = await asyncio.to_thread(read_package, archive)
            except PackageRefused as error:
                return Refused(code=error.code, expected=error.expected, came=error.came)
            test_list = await self._store(package)
            event = publication_of(
                package,
                tenant=tenant,
                problem=problem,
                test_list=test_list,
                bundle_digest=await self._blobs.put(archive),
                published_by=published_by,
                now_us=self._clock.now_us(),
            )
            known = self._registry.problem(tenant, problem)
            if known is not None and is_same_problem(known, event):
                return known, False
            await self._publisher.write(Outgoing(topic=PROBLEMS, partition=0, key=problem, event=event))
            self._registry.fold_problem(event)
        logger().info(
            "problem_published",
            tenant=tenant,
            problem=problem,
            version=event.manifest.problem_version,
            tests=event.manifest.test_count,
        )
        return event, True

    async def register_contest(self, event: ContestRegistered) -> bool:
        """Registers a contest; False when it is registered so already.

        Raises:
            KafkaError: the brokers refused the event.
        """
        async with self._turn:
            if is_same_contest(self._registry.contest(event.tenant, event.contest), event):
                return False
            await self._publisher.write(Outgoing(topic=CONTESTS, partition=0, key=event.contest, event=event))
            self._registry.fold_contest(event)
        logger().info(
            "contest_registered",
            tenant=event.tenant,
            contest=event.contest,
            priority_class=event.priority_class.value,
        )
        return True

    async def register_files(self, folder: Path) -> None:
        """Registers the contests of `<folder>/*.toml`: a file has `tenant`, `contest` and what `read_contest` reads.

        Raises:
            StartRefused: a file is not as it must be. A contest at practice priority by a slip would be seen too late.
        """
        for path, contest in await asyncio.to_thread(_contests_of_folder, folder, self._clock.now_us()):
            if isinstance(contest, Refused):
                raise StartRefused(f"{path}: {contest.reason}")
            await self.register_contest(contest)

    async def _store(self, package: ProblemPackage) -> bytes:
        test_list = encoded_tests(package)
        for data in blobs_of(package, test_list):
            await self._blobs.put(data)
        return test_list


def _contests_of_folder(folder: Path, now_us: int) -> list[tuple[Path, ContestRegistered | Refused]]:
    return [(path, _contest_of_file(path, now_us)) for path in sorted(folder.glob("*.toml"))]


def _contest_of_file(path: Path, now_us: int) -> ContestRegistered | Refused:
    try:
        fields = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        return Refused(code="bad_contest", expected="a contest in TOML", came=str(error))
    tenant, contest = fields.pop("tenant", None), fields.pop("contest", None)
    if not isinstance(tenant, str) or not isinstance(contest, str):
        return Refused(code="bad_contest", expected="tenant and contest as text", came=f"{tenant!r} and {contest!r}")
    return refuse_tenant(tenant) or read_contest(
        fields, tenant=tenant, contest=contest, registered_by=f"file:{path.name}", now_us=now_us
    )
