"""HTTP as every service serves it: health, readiness and metrics, RFC 9457 problem documents, uvicorn in our loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from services.chassis.faults import StartRefused
from services.chassis.telemetry import METRICS_CONTENT_TYPE, metrics_text

PROBLEM_JSON = "application/problem+json"


class Problem(Exception):
    """A refusal that becomes an RFC 9457 document. `detail` says what was expected and what came."""

    def __init__(
        self, *, status: int, code: str, title: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.headers = headers or {}


def problem_response(problem: Problem) -> JSONResponse:
    """The document: type, title, status, detail, code."""
    body = {
        "type": f"urn:assize:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    return JSONResponse(body, status_code=problem.status, media_type=PROBLEM_JSON, headers=problem.headers)


def serve_problems(app: FastAPI) -> None:
    """Makes every refusal of an app a problem document, the framework's own included."""

    async def own(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return problem_response(error)

    async def framework(_request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        return problem_response(
            Problem(
                status=error.status_code,
                code=f"http_{error.status_code}",
                title=str(error.detail),
                detail=str(error.detail),
                headers=dict(error.headers or {}),
            )
        )

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        lines = (f"{'.'.join(str(part) for part in entry['loc'])}: {entry['msg']}" for entry in error.errors())
        return problem_response(
            Problem(status=422, code="invalid_request", title="Invalid request", detail="; ".join(lines))
        )

    app.add_exception_handler(Problem, own)
    app.add_exception_handler(StarletteHTTPException, framework)
    app.add_exception_handler(RequestValidationError, invalid)


def serve_health(app: FastAPI, ready: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    """Adds `/healthz`, `/readyz` and `/metrics`. `ready` returns {"ready": bool, …}; not ready is 503."""

    @app.get("/healthz", tags=["health"], summary="The process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"], summary="The service can do its work")
    async def readyz() -> JSONResponse:
        state = await ready()
        return JSONResponse(state, status_code=200 if state.get("ready") else 503)

    @app.get("/metrics", tags=["health"], summary="Prometheus metrics")
    async def read_metrics() -> Response:
        return Response(metrics_text(), media_type=METRICS_CONTENT_TYPE)


async def serve(app: FastAPI, *, host: str, port: int, stopping: asyncio.Event, **options: Any) -> None:
    """Serves until `stopping` is set.

    Raises:
        StartRefused: the address cannot be bound.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartRefused(f"expected to listen on {host}:{port}, came: {error.strerror}") from error
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        **options,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    finally:
        serving.cancel()
        waiting.cancel()
        listener.close()


class _Server(uvicorn.Server):
    """Leaves the signals to the lifecycle."""

    def install_signal_handlers(self) -> None: ...

    def capture_signals(self) -> Any:
        return contextlib.nullcontext()
