"""The HTTP application: readers' doors under `/v1`, the schema endpoint, and the page at `/`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response, WebSocket

from schemas.registry import registry
from services.chassis.clock import Clock
from services.chassis.http import Problem, serve_health, serve_problems
from services.chassis.tokens import Scope
from services.verdicts.adapters.access import Doorkeeper
from services.verdicts.adapters.hub import VerdictFilter
from services.verdicts.adapters.queries import Queries
from services.verdicts.adapters.schema_registry import add_schema_endpoint
from services.verdicts.adapters.streams import Streams
from services.verdicts.core.board import Board
from services.verdicts.core.shapes import Shape, change_shape
from services.verdicts.core.subjects import Subjects

_PAGE_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
Name = Annotated[str | None, Query(max_length=512)]
Limit = Annotated[int, Query(ge=1, le=500)]


def make_app(
    *,
    doorkeeper: Doorkeeper,
    queries: Queries,
    streams: Streams,
    board: Board,
    clock: Clock,
    ready: Callable[[], Awaitable[dict[str, Any]]],
) -> FastAPI:
    """The application; nothing runs until it is served."""
    app = FastAPI(title="Assize verdicts", version="1", docs_url=None, redoc_url=None)
    serve_problems(app)
    serve_health(app, ready)
    _never_sniffed(app)
    _add_reading(app, doorkeeper, queries)
    _add_streams(app, streams)
    add_schema_endpoint(app, Subjects(registry()))
    _add_page(app)

    @app.get("/v1/pools", tags=["pools"], summary="Executors, pools and queues as they last reported")
    async def pools(request: Request) -> Shape:
        doorkeeper.admit(request)
        return board.snapshot(clock.now_us())

    return app


def _add_reading(app: FastAPI, doorkeeper: Doorkeeper, queries: Queries) -> None:
    async def submissions(
        request: Request,
        *,
        limit: Limit = 50,
        before: Annotated[int | None, Query(ge=1)] = None,
        problem: Name = None,
        team: Name = None,
        contest: Name = None,
        verdict: Name = None,
    ) -> Shape:
        access = doorkeeper.admit(request)
        found = await queries.submissions(
            access.tenant,
            before=before,
            problem=problem,
            team=team,
            contest=contest,
            verdict=verdict,
            limit=limit,
        )
        return {"submissions": found, "before": found[-1]["position"] if len(found) == limit else None}

    async def submission(submission_id: str, request: Request) -> Shape:
        access = doorkeeper.admit(request)
        found = await queries.submission(access.tenant, submission_id[:64], jury=Scope.JURY in access.scopes)
        if found is None:
            raise Problem(
                status=404,
                code="no_submission",
                title="No such submission",
                detail=f"expected a submission of your tenant, came {submission_id[:64]!r}",
            )
        return found

    async def verdicts(
        request: Request,
        *,
        after: Annotated[int, Query(ge=0, le=2**62)] = 0,
        limit: Limit = 100,
        problem: Name = None,
        team: Name = None,
        contest: Name = None,
        submission: Name = None,
    ) -> Shape:
        access = doorkeeper.admit(request)
        wanted = VerdictFilter(tenant=access.tenant, contest=contest, team=team, submission=submission, problem=problem)
        changes = await queries.verdict_changes(wanted, after, limit)
        return {
            "verdicts": [change_shape(change) for change in changes],
            "cursor": changes[-1].cursor if changes else after,
        }

    async def problems(request: Request) -> Shape:
        return {"problems": await queries.problems(doorkeeper.admit(request).tenant)}

    for path, serve, summary in (
        ("/v1/submissions", submissions, "Submissions, newest first; go on with `before`"),
        ("/v1/submissions/{submission_id}", submission, "One submission with judgements, runs and history"),
        ("/v1/verdicts", verdicts, "Changes of current verdicts; go on with `after=<cursor>`"),
        ("/v1/problems", problems, "The newest version of each problem"),
    ):
        app.add_api_route(path, serve, methods=["GET"], summary=summary, tags=["reading"])


def _add_streams(app: FastAPI, streams: Streams) -> None:
    @app.websocket("/v1/verdicts/stream")
    async def verdict_stream(websocket: WebSocket) -> None:
        await streams.verdicts(websocket)

    @app.websocket("/v1/activity/stream")
    async def activity_stream(websocket: WebSocket) -> None:
        await streams.activity(websocket)


def _add_page(app: FastAPI) -> None:
    folder = resources.files("services.verdicts") / "page"
    for path, (name, media_type) in _PAGE_FILES.items():
        content = (folder / name).read_bytes()
        app.add_api_route(path, _static(content, media_type), methods=["GET"], include_in_schema=False)


def _static(content: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def serve() -> Response:
        return Response(content, media_type=media_type, headers=_PAGE_HEADERS)

    return serve


def _never_sniffed(app: FastAPI) -> None:
    @app.middleware("http")
    async def never_sniffed(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        if request.url.path.startswith("/v1/"):
            response.headers["Cache-Control"] = "no-store"
        return response
