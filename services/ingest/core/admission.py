"""The admission of submissions: one pure function for every door.

`admit(draft, registry, now_us)` gives `Admitted` (the event to write and the blobs it names), `Repeated` (the log has
this request already) or `Refused`. The steps, in this order: names and sizes; the language and its entry file; the
idempotency key; the problem, whose version and judging manifest are pinned; the contest's class; the cell and its bound.
A request that is known is answered before problem and queue are asked, so that a repetition gets its answer whatever
has changed since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from deploy.images.recipe import Recipe, RecipeError, entry_objection, source_names
from schemas.events import IntakeFile, JudgementWork, SourceFileRef, SubmissionReceived, SubmissionRequested
from schemas.identity import (
    LIVE_ORIGIN,
    canonical_json,
    digest,
    event_id,
    judgement_id,
    source_digest,
    submission_id,
)
from services.ingest.core.registry import Registry
from services.ingest.core.rules import Limits, Refused, refuse_files, refuse_id, refuse_request_id, shown

QUEUE_FULL = "queue_full"
CONFLICT = "conflict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A submission as it came, of a tenant that is known."""

    tenant: str
    source: str
    """Door: "http" or "intake"."""
    request_id: str
    problem: str
    language: str
    files: tuple[IntakeFile, ...]
    contest: str | None = None
    team: str | None = None
    entry_point: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What stays the same for the life of a process."""

    limits: Limits
    languages: Mapping[str, Recipe]
    cell_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """To be written: first the blobs, then the event."""

    event: SubmissionReceived
    blobs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """The log has this very request already."""

    submission_id: str
    cell: int


def draft_of_request(tenant: str, request: SubmissionRequested) -> Draft:
    """The draft in a record of a tenant's intake topic."""
    return Draft(
        tenant=tenant,
        source="intake",
        request_id=request.request_id,
        problem=request.problem,
        language=request.language,
        files=request.files,
        contest=request.contest,
        team=request.team,
        entry_point=request.entry_point,
    )


def examine(draft: Draft, rules: Rules) -> Refused | None:
    """None when names, sizes, language and entry file of a draft are as they must be; asks nobody."""
    named = (("problem", draft.problem), ("contest", draft.contest), ("team", draft.team))
    refused = refuse_request_id(draft.request_id) or next(
        (found for what, value in named if value is not None and (found := refuse_id(what, value))), None
    )
    if refused is not None:
        return refused
    recipe = rules.languages.get(draft.language)
    if recipe is None:
        return Refused(
            code="unknown_language",
            expected=f"one of the languages {', '.join(sorted(rules.languages))}",
            came=shown(draft.language),
        )
    refused = refuse_files(draft.files, rules.limits)
    if refused is not None:
        return refused
    entry = entry_of(recipe, [file.name for file in draft.files], draft.entry_point)
    return entry if isinstance(entry, Refused) else None


def admit(draft: Draft, rules: Rules, registry: Registry, now_us: int) -> Admitted | Repeated | Refused:
    """Decides about one submission. See the module's theory."""
    refused = examine(draft, rules)
    if refused is not None:
        return refused
    submission = submission_id(draft.tenant, draft.request_id)
    came = request_digest(draft)
    taken = registry.requests.find(submission)
    if taken is not None:
        if taken.request_digest != came:
            return conflict(taken.request_digest, came)
        return Repeated(submission_id=submission, cell=taken.cell)
    problem = registry.problem(draft.tenant, draft.problem)
    if problem is None:
        return Refused(code="unknown_problem", expected="a published problem", came=shown(draft.problem))
    cell = cell_of(submission, rules.cell_count)
    waiting = registry.waiting(cell)
    if waiting is not None and waiting[0] >= waiting[1]:
        return Refused(
            code=QUEUE_FULL,
            expected=f"fewer than {waiting[1]} submissions waiting in cell {cell}",
            came=f"{waiting[0]}",
        )
    recipe = rules.languages[draft.language]
    entry = entry_of(recipe, [file.name for file in draft.files], draft.entry_point)
    assert isinstance(entry, str), "examine() has refused this"
    refs = tuple(
        SourceFileRef(name=file.name, digest=digest(file.content), size_bytes=len(file.content)) for file in draft.files
    )
    work = JudgementWork(
        submission_id=submission,
        judgement_id=judgement_id(submission, LIVE_ORIGIN, 0),
        origin=LIVE_ORIGIN,
        repeat=0,
        tenant=draft.tenant,
        contest=draft.contest,
        team=draft.team,
        problem=draft.problem,
        language=draft.language,
        entry_point=entry,
        source_digest=source_digest([(ref.name, ref.digest) for ref in refs]),
        files=refs,
        priority_class=registry.priority_class(draft.tenant, draft.contest, now_us),
        manifest=problem.manifest,
        received_at_us=now_us,
    )
    event = SubmissionReceived(
        # The time is part of the id: two processes that take the same request in the same moment write two events of
        # one submission, of which the first counts, and not one event with two contents, which would be an alarm.
        event_id=event_id("SubmissionReceived", submission, came, now_us),
        at_us=now_us,
        cell=cell,
        request_id=draft.request_id,
        request_digest=came,
        source=draft.source,
        work=work,
    )
    return Admitted(event=event, blobs=tuple(file.content for file in draft.files))


def conflict(taken_digest: str, came_digest: str) -> Refused:
    """The refusal of another request under a key that is taken."""
    return Refused(
        code=CONFLICT,
        expected=f"the same request as before under this idempotency key ({taken_digest[:19]}…)",
        came=f"another one ({came_digest[:19]}…)",
    )


def request_digest(draft: Draft) -> str:
    """Digest of what was asked for, whichever door it came by."""
    return digest(
        canonical_json(
            {
                "contest": draft.contest,
                "entry_point": draft.entry_point,
                "files": [[file.name, digest(file.content)] for file in draft.files],
                "language": draft.language,
                "problem": draft.problem,
                "team": draft.team,
                "tenant": draft.tenant,
            }
        )
    )


def cell_of(submission: str, cell_count: int) -> int:
    """The admission rule: an even spread that every process and every restart agrees on.

    The cell is written in the event and read from there; a cell added later changes nothing that was admitted.
    """
    return int.from_bytes(hashlib.sha256(UUID(submission).bytes).digest()[:8]) % cell_count


def entry_of(recipe: Recipe, names: Sequence[str], entry_point: str | None) -> str | Refused:
    """The entry file that is pinned: the one named (by file or by class), else the one named main, else the first."""
    try:
        sources = source_names(recipe, names)
    except RecipeError:
        return Refused(
            code="no_source_file",
            expected=f"a file ending in {' or '.join(recipe.suffixes)} for {recipe.language}",
            came=", ".join(shown(name) for name in names[:4]),
        )
    if entry_point is None:
        entry = next((name for name in sources if name.rpartition(".")[0].lower() == "main"), sources[0])
    else:
        classes = {name.rpartition(".")[0]: name for name in reversed(sources)}
        found = entry_point if entry_point in sources else classes.get(entry_point)
        if found is None:
            return Refused(
                code="bad_entry_point",
                expected=f"one of {', '.join(sources)} or its name without suffix",
                came=shown(entry_point),
            )
        entry = found
    if entry_objection(recipe, entry) is not None:
        return Refused(
            code="bad_entry_point",
            expected=f"an entry file whose name matches {recipe.entry_pattern}",
            came=shown(entry),
        )
    return entry
