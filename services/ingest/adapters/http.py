"""Ingest's HTTP interface. Every refusal is a problem document that says what was expected and what came.

Annotations are read when a handler is defined (no `from __future__ import annotations`): the handlers are nested, and
FastAPI could not find the names of their dependencies later.
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from aiokafka.errors import KafkaError
from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from deploy.images.recipe import Recipe
from schemas.events import ContestRegistered, ProblemPublished
from services.chassis.clock import Clock, random_id
from services.chassis.faults import StartRefused
from services.chassis.http import Problem, problem_response, serve_health, serve_problems
from services.chassis.logs import logger
from services.chassis.telemetry import span
from services.chassis.tokens import Access, Scope, TokenStore
from services.ingest.adapters.admissions import Admissions, NotDurable, Receipt
from services.ingest.adapters.announcements import Announcements
from services.ingest.adapters.bodies import (
    SubmissionBody,
    parse_json,
    read_body,
    read_form_submission,
    read_json_submission,
    refuse,
)
from services.ingest.adapters.counters import Counters
from services.ingest.config import IngestSettings
from services.ingest.core.admission import CONFLICT, QUEUE_FULL, Draft
from services.ingest.core.contests import CLASSES, read_contest
from services.ingest.core.registry import Registry
from services.ingest.core.rules import Refused, shown

_T = TypeVar("_T")
_RETRY_SECONDS = "5"
_STATUS = {CONFLICT: 409, QUEUE_FULL: 429, "source_too_large": 413}
"""Of refusals; every other one is 422."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the interface stands on."""

    settings: IngestSettings
    tokens: TokenStore
    registry: Registry
    admissions: Admissions
    announcements: Announcements
    languages: Mapping[str, Recipe]
    clock: Clock
    counters: Counters
    ready: Callable[[], Awaitable[dict[str, Any]]]


class SubmissionReceipt(BaseModel):
    """The log has the submission durably."""

    submission_id: str
    judgement_id: str
    cell: int
    duplicate: bool
    """Whether this very request was taken before."""
    status_url: str
    """Path of the submission at the verdicts service."""


class LanguageView(BaseModel):
    """A language, in the words of the CCS Contest API."""

    id: str
    name: str
    extensions: list[str]
    entry_point_required: bool


class ProblemView(BaseModel):
    """The current version of a problem."""

    id: str
    name: str
    version: str
    test_count: int
    sample_count: int
    cpu_time_limit_ns: int
    wall_time_limit_ns: int
    memory_limit_bytes: int
    output_limit_bytes: int
    published_at: str
    published_by: str


class ContestView(BaseModel):
    """A registered contest; the class is that of its submissions from start to end."""

    id: str
    name: str
    priority_class: str
    starts_at: str
    ends_at: str
    registered_by: str


class AccessView(BaseModel):
    """Who a token is."""

    name: str
    tenant: str
    scopes: list[str]


_SUBMISSION_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": SubmissionBody.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["problem", "language", "files"],
                    "additionalProperties": False,
                    "properties": {
                        **{
                            key: {"type": "string"} for key in ("problem", "language", "contest", "team", "entry_point")
                        },
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    },
                }
            },
        },
    }
}
_PACKAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_CONTEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["name", "class", "starts_at", "ends_at"],
                    "additionalProperties": False,
                    "properties": {
                        "name": {"type": "string"},
                        "class": {"type": "string", "enum": list(CLASSES)},
                        "starts_at": {"type": "string", "format": "date-time"},
                        "ends_at": {"type": "string", "format": "date-time"},
                    },
                }
            }
        },
    }
}


def build_app(parts: Parts) -> FastAPI:
    """The application, with its OpenAPI 3.1 document at `/openapi.json`."""
    app = FastAPI(
        title="Assize ingest",
        version="1",
        summary="Submissions, problems and contests go in here.",
        description="Refusals are RFC 9457 problem documents.",
        docs_url=None,
        redoc_url=None,
    )
    serve_problems(app)
    serve_health(app, parts.ready)

    async def counted(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        parts.counters.refusal(code=error.code)
        return problem_response(error)

    app.add_exception_handler(Problem, counted)
    _serve_submissions(app, parts)
    _serve_problems_and_languages(app, parts)
    _serve_contests(app, parts)
    return app


def _serve_submissions(app: FastAPI, parts: Parts) -> None:
    settings = parts.settings

    @app.post(
        "/v1/submissions",
        status_code=202,
        tags=["submissions"],
        summary="Submit a program",
        response_model=SubmissionReceipt,
        openapi_extra=_SUBMISSION_BODY,
    )
    async def submit(
        request: Request,
        access: Annotated[Access, Depends(_requires(parts, Scope.SUBMIT))],
        idempotency_key: Annotated[str | None, Header(description="The same key is the same submission")] = None,
        traceparent: Annotated[str | None, Header(description="W3C trace context")] = None,
    ) -> JSONResponse:
        with span("ingest.submit", traceparent=traceparent, tenant=access.tenant) as current:
            body = await read_body(
                request,
                limit_bytes=settings.body_limit_bytes,
                timeout_seconds=settings.body_timeout_ms / 1000,
            )
            draft = await _draft(request, body, access.tenant, idempotency_key)
            receipt = await _take(parts, draft)
            current.set_attribute("submission_id", receipt.submission_id)
        location = f"/v1/submissions/{receipt.submission_id}"
        content = SubmissionReceipt(
            submission_id=receipt.submission_id,
            judgement_id=receipt.judgement_id,
            cell=receipt.cell,
            duplicate=receipt.duplicate,
            status_url=location,
        )
        return JSONResponse(content.model_dump(), status_code=202, headers={"location": location})

    @app.get("/v1/access", tags=["access"], summary="Who the token is")
    async def who(access: Annotated[Access, Depends(_requires(parts, None))]) -> AccessView:
        return AccessView(name=access.name, tenant=access.tenant, scopes=sorted(access.scopes))


def _serve_problems_and_languages(app: FastAPI, parts: Parts) -> None:
    settings = parts.settings

    @app.get("/v1/languages", tags=["languages"], summary="Languages that are judged")
    async def languages(_access: Annotated[Access, Depends(_requires(parts, None))]) -> list[LanguageView]:
        return [
            LanguageView(
                id=recipe.language,
                name=recipe.name,
                extensions=[suffix.removeprefix(".") for suffix in recipe.suffixes],
                entry_point_required=False,
            )
            for recipe in parts.languages.values()
        ]

    @app.get("/v1/problems", tags=["problems"], summary="Problems of the token's tenant")
    async def problems(access: Annotated[Access, Depends(_requires(parts, None))]) -> list[ProblemView]:
        await _require_registry(parts)
        return [_problem_view(event) for event in parts.registry.problems(access.tenant)]

    @app.put(
        "/v1/problems/{problem}",
        tags=["problems"],
        summary="Publish a problem package; 201 when it is a new version, 200 when it is the current one",
        response_model=ProblemView,
        responses={201: {"model": ProblemView}},
        openapi_extra=_PACKAGE_BODY,
    )
    async def publish(
        request: Request,
        problem: str,
        access: Annotated[Access, Depends(_requires(parts, Scope.OPERATE))],
        traceparent: Annotated[str | None, Header(description="W3C trace context")] = None,
    ) -> JSONResponse:
        await _require_registry(parts)
        with span("ingest.publish_problem", traceparent=traceparent, problem=problem[:64]):
            archive = await read_body(
                request,
                limit_bytes=settings.package_limit_bytes,
                timeout_seconds=settings.package_timeout_ms / 1000,
            )
            outcome = await _bounded(
                parts.announcements.publish_problem(
                    archive, tenant=access.tenant, problem=problem, published_by=access.name
                ),
                timeout_seconds=settings.package_timeout_ms / 1000,
            )
        if isinstance(outcome, Refused):
            raise refuse(outcome)
        event, is_new = outcome
        return JSONResponse(_problem_view(event).model_dump(), status_code=201 if is_new else 200)


def _serve_contests(app: FastAPI, parts: Parts) -> None:
    settings = parts.settings

    @app.get("/v1/contests", tags=["contests"], summary="Contests of the token's tenant")
    async def contests(access: Annotated[Access, Depends(_requires(parts, None))]) -> list[ContestView]:
        await _require_registry(parts)
        return [_contest_view(event) for event in parts.registry.contests(access.tenant)]

    @app.put(
        "/v1/contests/{contest}",
        tags=["contests"],
        summary="Register a contest; 201 when that is new, 200 when it was registered so already",
        response_model=ContestView,
        responses={201: {"model": ContestView}},
        openapi_extra=_CONTEST_BODY,
    )
    async def register(
        request: Request, contest: str, access: Annotated[Access, Depends(_requires(parts, Scope.OPERATE))]
    ) -> JSONResponse:
        await _require_registry(parts)
        body = await read_body(
            request, limit_bytes=settings.body_limit_bytes, timeout_seconds=settings.body_timeout_ms / 1000
        )
        fields = parse_json(body)
        if not isinstance(fields, dict):
            raise refuse(Refused(code="bad_contest", expected="a JSON object", came=type(fields).__name__))
        event = read_contest(
            fields,
            tenant=access.tenant,
            contest=contest,
            registered_by=access.name,
            now_us=parts.clock.now_us(),
        )
        if isinstance(event, Refused):
            raise refuse(event)
        is_new = await _bounded(
            parts.announcements.register_contest(event), timeout_seconds=settings.publish_timeout_ms / 1000
        )
        return JSONResponse(_contest_view(event).model_dump(), status_code=201 if is_new else 200)


def _requires(parts: Parts, scope: Scope | None) -> Callable[..., Awaitable[Access]]:
    """A dependency that gives the caller's access, which must have a scope (None: any known token)."""

    async def access_of(
        authorization: Annotated[str | None, Header(description="Bearer token")] = None,
    ) -> Access:
        kind, _, token = (authorization or "").partition(" ")
        challenge = {"www-authenticate": 'Bearer realm="assize"'}
        if kind.lower() != "bearer" or not token:
            raise Problem(
                status=401,
                code="no_token",
                title="No token",
                detail=f"expected the header Authorization: Bearer <token>, came {shown(kind) if kind else 'none'}",
                headers=challenge,
            )
        try:
            access = parts.tokens.access(token.strip())
        except (StartRefused, ValueError) as error:
            logger().error("tokens_unreadable", reason=str(error))
            raise Problem(
                status=503,
                code="tokens_unreadable",
                title="Not available",
                detail="expected the token file to be readable, came an error; the log says which",
            ) from error
        if access is None:
            raise Problem(
                status=401,
                code="unknown_token",
                title="Unknown token",
                detail="expected a token that was created here, came another",
                headers=challenge,
            )
        if scope is not None and scope not in access.scopes:
            raise Problem(
                status=403,
                code="missing_scope",
                title="Not allowed",
                detail=f"expected a token with the scope {scope.value}, came one with "
                f"{', '.join(sorted(access.scopes)) or 'none'}",
            )
        return access

    return access_of


async def _draft(request: Request, body: bytes, tenant: str, idempotency_key: str | None) -> Draft:
    content_type = request.headers.get("content-type", "")
    match content_type.partition(";")[0].strip().lower():
        case "application/json":
            fields, files = read_json_submission(body)
        case "multipart/form-data":
            fields, files = await read_form_submission(request.headers, body)
        case _:
            raise refuse(
                Refused(
                    code="unsupported_type",
                    expected="application/json or multipart/form-data",
                    came=shown(content_type),
                ),
                status=415,
            )
    return Draft(
        tenant=tenant,
        source="http",
        request_id=random_id() if idempotency_key is None else idempotency_key,
        problem=fields.problem,
        language=fields.language,
        files=files,
        contest=fields.contest,
        team=fields.team,
        entry_point=fields.entry_point,
    )


async def _take(parts: Parts, draft: Draft) -> Receipt:
    await _require_registry(parts)
    try:
        outcome = await parts.admissions.take(draft, timeout_seconds=parts.settings.publish_timeout_ms / 1000)
    except NotDurable as error:
        raise Problem(
            status=503,
            code="not_durable",
            title="Not available",
            detail=str(error),
            headers={"retry-after": _RETRY_SECONDS},
        ) from error
    if isinstance(outcome, Receipt):
        return outcome
    problem = refuse(outcome, status=_STATUS.get(outcome.code, 422))
    if problem.status == 429:
        problem.headers["retry-after"] = _RETRY_SECONDS
    raise problem


async def _require_registry(parts: Parts) -> None:
    state = await parts.ready()
    if not state["registry"]:
        raise Problem(
            status=503,
            code="starting",
            title="Not available",
            detail="expected the log to be read to its end, came a request before that",
            headers={"retry-after": _RETRY_SECONDS},
        )


async def _bounded(work: Awaitable[_T], *, timeout_seconds: float) -> _T:
    try:
        async with asyncio.timeout(timeout_seconds):
            return await work
    except (TimeoutError, KafkaError) as error:
        raise Problem(
            status=503,
            code="not_durable",
            title="Not available",
            detail=f"expected the log to take this in time, came {type(error).__name__}; repeat the request",
            headers={"retry-after": _RETRY_SECONDS},
        ) from error


def _problem_view(event: ProblemPublished) -> ProblemView:
    return ProblemView(
        id=event.problem,
        name=event.name,
        version=event.manifest.problem_version,
        test_count=event.manifest.test_count,
        sample_count=event.sample_count,
        cpu_time_limit_ns=event.manifest.cpu_time_limit_ns,
        wall_time_limit_ns=event.manifest.wall_time_limit_ns,
        memory_limit_bytes=event.manifest.memory_limit_bytes,
        output_limit_bytes=event.manifest.output_limit_bytes,
        published_at=_rfc3339(event.at_us),
        published_by=event.published_by,
    )


def _contest_view(event: ContestRegistered) -> ContestView:
    return ContestView(
        id=event.contest,
        name=event.name,
        priority_class=event.priority_class.value,
        starts_at=_rfc3339(event.starts_at_us),
        ends_at=_rfc3339(event.ends_at_us),
        registered_by=event.registered_by,
    )


def _rfc3339(moment_us: int) -> str:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=moment_us)
    return moment.isoformat().replace("+00:00", "Z")
