"""Reading request bodies: bounded in bytes and in time, and strict about what JSON may say."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from schemas.events import IntakeFile
from services.chassis.http import Problem
from services.ingest.core.rules import Refused, shown

_DISCARDED_BYTES = 64 * 1024 * 1024
"""A refused body up to this length is read and thrown away, so that the client reads the answer and not a reset."""
_FORM_FIELDS = ("problem", "language", "contest", "team", "entry_point")
_FORM_FILES = 256


class FileBody(BaseModel):
    """One file: its text, or its bytes in base64."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"name": "a.py"}]})

    name: str
    text: str | None = None
    content_base64: str | None = None


class SubmissionBody(BaseModel):
    """A submission as JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)

    problem: str
    language: str
    files: list[FileBody]
    contest: str | None = None
    team: str | None = None
    entry_point: str | None = None


def refuse(refused: Refused, *, status: int = 422) -> Problem:
    """The problem document of a refusal."""
    return Problem(status=status, code=refused.code, title="Refused", detail=refused.reason)


async def read_body(request: Request, *, limit_bytes: int, timeout_seconds: float) -> bytes:
    """The whole body.

    Raises:
        Problem: 413 longer than the limit, 408 too slow, 400 a bad length, 415 an encoding.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise refuse(
            Refused(code="unsupported_encoding", expected="a body without Content-Encoding", came=shown(encoding)),
            status=415,
        )
    length = request.headers.get("content-length")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) <= 19):
        raise refuse(Refused(code="bad_length", expected="a Content-Length in bytes", came=shown(length)), status=400)
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _read(request, limit_bytes, None if length is None else int(length))
    except TimeoutError as error:
        refused = Refused(code="too_slow", expected=f"the whole body within {timeout_seconds:g} s", came="a part of it")
        raise refuse(refused, status=408) from error


async def _read(request: Request, limit_bytes: int, declared_bytes: int | None) -> bytes:
    body = bytearray()
    came_bytes = 0
    is_too_long = declared_bytes is not None and declared_bytes > limit_bytes
    if not is_too_long or (declared_bytes or 0) <= _DISCARDED_BYTES:
        async for chunk in request.stream():
            came_bytes += len(chunk)
            if came_bytes > limit_bytes:
                is_too_long = True
                body.clear()
            if came_bytes > _DISCARDED_BYTES and is_too_long:
                break
            if not is_too_long:
                body += chunk
    if is_too_long:
        refused = Refused(
            code="body_too_large",
            expected=f"at most {limit_bytes} bytes",
            came=f"{declared_bytes} bytes" if declared_bytes else f"at least {came_bytes} bytes",
        )
        raise Problem(
            status=413,
            code=refused.code,
            title="Too large",
            detail=refused.reason,
            headers={"connection": "close"},
        )
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """Strict JSON: no NaN or Infinity, no key twice, no lone surrogates.

    Raises:
        Problem: 400.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique)
        # A lone surrogate passes json.loads but is no text that could be stored or sent.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        came = "nested too deeply" if isinstance(error, RecursionError) else _without_content(error)
        raise refuse(Refused(code="invalid_json", expected="JSON in UTF-8", came=came), status=400) from error
    return value


def read_json_submission(body: bytes) -> tuple[SubmissionBody, tuple[IntakeFile, ...]]:
    """The fields and files of a JSON submission.

    Raises:
        Problem: 400 or 422.
    """
    try:
        fields = SubmissionBody.model_validate(parse_json(body))
    except ValidationError as error:
        raise refuse(_explain(error)) from error
    files = []
    for file in fields.files:
        if (file.text is None) == (file.content_base64 is None):
            raise refuse(
                Refused(
                    code="bad_file",
                    expected="either text or content_base64",
                    came=f"{'neither' if file.text is None else 'both'} for {shown(file.name)}",
                )
            )
        files.append(IntakeFile(name=file.name, content=_content(file)))
    return fields, tuple(files)


async def read_form_submission(headers: Headers, body: bytes) -> tuple[SubmissionBody, tuple[IntakeFile, ...]]:
    """The fields and files of a multipart submission; every file is a part named `files`.

    Raises:
        Problem: 400 or 422.
    """
    parser = MultiPartParser(
        headers, _once(body), max_files=_FORM_FILES, max_fields=len(_FORM_FIELDS), max_part_size=len(body) + 1
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise refuse(
            Refused(code="invalid_form", expected="a multipart/form-data body", came=shown(str(error))), status=400
        ) from error
    fields: dict[str, str] = {}
    files: list[IntakeFile] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "files":
                raise refuse(Refused(code="invalid_form", expected="files in parts named 'files'", came=shown(name)))
            files.append(IntakeFile(name=value.filename or "", content=await value.read()))
        elif name not in _FORM_FIELDS or name in fields:
            expected = f"each of {', '.join(_FORM_FIELDS)} at most once"
            raise refuse(Refused(code="invalid_form", expected=expected, came=shown(name)))
        elif value:
            fields[name] = value
    await form.close()
    try:
        return SubmissionBody.model_validate({**fields, "files": []}), tuple(files)
    except ValidationError as error:
        raise refuse(_explain(error)) from error


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _content(file: FileBody) -> bytes:
    if file.text is not None:
        return file.text.encode("utf-8")
    try:
        return base64.b64decode(file.content_base64 or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise refuse(
            Refused(code="bad_file", expected=f"base64 in content_base64 of {shown(file.name)}", came=str(error))
        ) from error


def _explain(error: ValidationError) -> Refused:
    """The first thing that is wrong; the value itself, which may be source, is told by its type alone."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the body"
    came = "nothing" if first["type"] == "missing" else type(first["input"]).__name__
    if first["type"] == "extra_forbidden":
        known = ", ".join(SubmissionBody.model_fields)
        return Refused(code="invalid_request", expected=f"only {known}", came=shown(where))
    return Refused(code="invalid_request", expected=f"{where[:80]} as {first['msg']}", came=came)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name}, which is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice in one object")
    return found


def _without_content(error: ValueError) -> str:
    """What was wrong, without quoting the body: it holds source."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno} column {error.colno}"
    if isinstance(error, UnicodeError):
        return f"{error.reason if isinstance(error, UnicodeDecodeError | UnicodeEncodeError) else 'bad text'}"
    return str(error)
