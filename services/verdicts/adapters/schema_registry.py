"""The schema endpoint: what a Confluent-compatible client asks a registry, answered from `released.lock`.

Read-only and open: schemas are part of the published language. Errors have the registry's form, {error_code, message}.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Request, Response

from services.verdicts.core.subjects import Answer, Subjects, refusal, registration_refused

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
_MOST_REQUEST_BYTES = 1024 * 1024


def add_schema_endpoint(app: FastAPI, subjects: Subjects) -> None:
    """Adds the registry's paths to an app."""
    _add_reading(app, subjects)
    _add_asking(app, subjects)
    _add_refusals(app)


def _add_reading(app: FastAPI, subjects: Subjects) -> None:
    async def types() -> Response:
        return _response(Answer(status=200, body=["AVRO"]))

    async def by_id(schema_id: str) -> Response:
        return _response(subjects.by_id(schema_id))

    async def text_by_id(schema_id: str) -> Response:
        answer = subjects.by_id(schema_id)
        return _response(answer if answer.status != 200 else Answer(status=200, body=json.loads(answer.body["schema"])))

    async def uses(schema_id: str) -> Response:
        return _response(subjects.uses_of(schema_id))

    async def names() -> Response:
        return _response(subjects.subjects())

    async def versions(subject: str) -> Response:
        return _response(subjects.versions(subject))

    async def version(subject: str, version: str) -> Response:
        return _response(subjects.version(subject, version))

    async def config() -> Response:
        return _response(Answer(status=200, body={"compatibilityLevel": "FULL_TRANSITIVE"}))

    async def mode() -> Response:
        return _response(Answer(status=200, body={"mode": "READONLY"}))

    for path, serve in (
        ("/schemas/types", types),
        ("/schemas/ids/{schema_id}", by_id),
        ("/schemas/ids/{schema_id}/schema", text_by_id),
        ("/schemas/ids/{schema_id}/versions", uses),
        ("/subjects", names),
        ("/subjects/{subject}/versions", versions),
        ("/subjects/{subject}/versions/{version}", version),
        ("/config", config),
        ("/config/{subject}", config),
        ("/mode", mode),
    ):
        app.add_api_route(path, serve, methods=["GET"], tags=["schemas"])


def _add_asking(app: FastAPI, subjects: Subjects) -> None:
    @app.post("/subjects/{subject}", tags=["schemas"])
    async def lookup(subject: str, request: Request) -> Response:
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > _MOST_REQUEST_BYTES:
            return _response(refusal(413, 413, f"expected a request of at most {_MOST_REQUEST_BYTES} bytes"))
        try:
            asked: Any = json.loads(await request.body())
        except ValueError:
            asked = None
        return _response(subjects.lookup(subject, asked))


def _add_refusals(app: FastAPI) -> None:
    async def refuse(subject: str = "") -> Response:
        return _response(registration_refused(subject))

    for path, methods in (
        ("/subjects/{subject}/versions", ["POST"]),
        ("/subjects/{subject}", ["DELETE"]),
        ("/subjects/{subject}/versions/{version}", ["DELETE"]),
        ("/config", ["PUT", "DELETE"]),
        ("/config/{subject}", ["PUT", "DELETE"]),
        ("/mode", ["PUT"]),
    ):
        app.add_api_route(path, refuse, methods=methods, include_in_schema=False)


def _response(answer: Answer) -> Response:
    return Response(json.dumps(answer.body), status_code=answer.status, media_type=MEDIA_TYPE)
