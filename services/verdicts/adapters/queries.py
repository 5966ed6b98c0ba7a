"""Reading for the doors: one tenant's rows, with sources and evidence from the blob store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from schemas.codec import decode
from schemas.errors import PoisonEvent
from schemas.evidence import Evidence, decode_evidence
from services.chassis.blobs import BlobMissing, BlobStore
from services.verdicts.adapters.database import queries
from services.verdicts.adapters.hub import VerdictFilter
from services.verdicts.core.rows import ChangeRow, JudgementRow, RunRow, SubmissionRow
from services.verdicts.core.shapes import (
    JudgementView,
    Shape,
    problem_shape,
    submission_shape,
    summary_shape,
    timeline_shape,
)

_MOST_TIMELINE_EVENTS = 1000
_FIRST_POSITION = 2**62


class Queries:
    """What `/v1` answers from."""

    def __init__(self, pool: Any, blobs: BlobStore) -> None:
        self._pool: asyncpg.Pool[asyncpg.Record] = pool
        self._blobs = blobs
        self._sql = queries("reading")

    async def submissions(
        self,
        tenant: str,
        *,
        before: int | None,
        problem: str | None,
        team: str | None,
        contest: str | None,
        verdict: str | None,
        limit: int,
    ) -> list[Shape]:
        """Newest first."""
        position = _FIRST_POSITION if before is None else before
        rows = await self._pool.fetch(
            self._sql["submissions"], tenant, position, problem, team, contest, verdict, None, limit
        )
        return [summary_shape(dict(row)) for row in rows]

    async def submission(self, tenant: str, submission_id: str, *, jury: bool) -> Shape | None:
        """One submission with everything that belongs to it, or None when this tenant has no such one."""
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            found = await connection.fetchrow(self._sql["submission"], submission_id, tenant)
            if found is None:
                return None
            judgements = await connection.fetch(self._sql["judgements_of_submission"], submission_id)
            runs = await connection.fetch(self._sql["runs_of_submission"], submission_id)
            events = await connection.fetch(self._sql["ledger_of_submission"], submission_id, _MOST_TIMELINE_EVENTS)
            late = await connection.fetch(self._sql["late_of_submission"], submission_id)
        submission = SubmissionRow(**dict(found))
        views = await self._views(judgements, runs)
        files = [(name, await self._text(digest)) for name, digest, _ in json.loads(submission.files)]
        late_ids = {row["event_id"] for row in late}
        timeline = [timeline_shape(decode(row["value"]), late=row["event_id"] in late_ids, jury=jury) for row in events]
        # Judgements and decisions come on different topics; people want the order in which things happened.
        timeline.sort(key=lambda entry: str(entry["at"]))
        return submission_shape(submission, files, views, timeline, jury=jury)

    async def _views(self, judgements: Sequence[asyncpg.Record], runs: Sequence[asyncpg.Record]) -> list[JudgementView]:
        rows = []
        for record in judgements:
            values = dict(record)
            rank = values.pop("rank")
            rows.append((rank, JudgementRow(**values)))
        counting = [(rank, row.repeat, row.judgement_id) for rank, row in rows if rank is not None and row.verdict]
        current = max(counting)[2] if counting else None
        views = []
        for _, row in rows:
            evidence = await self._evidence(row.evidence_digest)
            views.append(
                JudgementView(
                    row=row,
                    current=row.judgement_id == current,
                    runs=[_run(run) for run in runs if run["judgement_id"] == row.judgement_id],
                    evidence=evidence,
                    evidence_missing=evidence is None and row.evidence_digest is not None,
                )
            )
        return views

    async def _evidence(self, digest: str | None) -> Evidence | None:
        if digest is None:
            return None
        try:
            return decode_evidence(await self._blobs.get(digest))
        except (BlobMissing, PoisonEvent):
            return None

    async def _text(self, digest: str) -> str | None:
        try:
            return (await self._blobs.get(digest)).decode("utf-8", "replace")
        except BlobMissing:
            return None

    async def verdict_changes(self, wanted: VerdictFilter, after: int, limit: int) -> list[ChangeRow]:
        """Changes of current verdicts after a cursor, in its order."""
        rows = await self._pool.fetch(
            self._sql["verdict_changes"],
            wanted.tenant,
            after,
            wanted.contest,
            wanted.team,
            wanted.submission,
            wanted.problem,
            limit,
        )
        return [ChangeRow(**dict(row)) for row in rows]

    async def head(self) -> int:
        """The highest cursor there is."""
        head: int = await self._pool.fetchval(self._sql["head"])
        return head

    async def problems(self, tenant: str) -> list[Shape]:
        return [problem_shape(dict(row)) for row in await self._pool.fetch(self._sql["problems"], tenant)]


def _run(record: asyncpg.Record) -> RunRow:
    values = dict(record)
    return RunRow(**{**values, "samples_cpu_time_ns": tuple(values["samples_cpu_time_ns"])})
