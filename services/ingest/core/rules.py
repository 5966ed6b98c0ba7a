"""What names, ids and sizes are taken; everything else is a `Refused` that says what was expected and what came.

Ids are those of the ICPC CCS specification (letters, digits, `_`, `-`, `.`), but longer ones are taken. File names are
flat and plain on purpose: they reach compilers as arguments and the page as text, and need no quoting anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.events import IntakeFile

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,63}")
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why something is not taken. `code` is stable and machine-readable; the other two are for people."""

    code: str
    expected: str
    came: str

    @property
    def reason(self) -> str:
        return f"expected {self.expected}, came {self.came}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one submission."""

    source_bytes: int = 256 * 1024
    """All files together."""
    files: int = 32


def shown(value: object) -> str:
    """A value as a message may carry it: ASCII, escaped, short."""
    text = ascii(value)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]}… ({len(text)} characters)"


def refuse_id(what: str, value: str) -> Refused | None:
    """None when `value` may be the id of a problem, contest or team."""
    if _ID.fullmatch(value):
        return None
    return Refused(
        code=f"bad_{what}",
        expected=f"a {what} id of 1 to 64 letters, digits, '_', '-' or '.', not beginning with '-' or '.'",
        came=shown(value),
    )


def refuse_tenant(value: str) -> Refused | None:
    """None when `value` may be a tenant: it becomes a part of a topic's name."""
    if _TENANT.fullmatch(value):
        return None
    return Refused(
        code="bad_tenant", expected="a tenant of 1 to 64 lower-case letters, digits, '_' or '-'", came=shown(value)
    )


def refuse_request_id(value: str) -> Refused | None:
    """None when `value` may be an idempotency key."""
    if _REQUEST_ID.fullmatch(value):
        return None
    return Refused(
        code="bad_request_id",
        expected="an idempotency key of 1 to 128 printable ASCII characters without spaces",
        came=shown(value),
    )


def refuse_files(files: Sequence[IntakeFile], limits: Limits) -> Refused | None:
    """None when these may be the files of a submission."""
    if not 1 <= len(files) <= limits.files:
        return Refused(code="bad_file_count", expected=f"1 to {limits.files} files", came=f"{len(files)} files")
    names: set[str] = set()
    for file in files:
        if not _FILE_NAME.fullmatch(file.name):
            return Refused(
                code="bad_file_name",
                expected="a flat file name of 1 to 64 letters, digits, '.', '_', '+' or '-', "
                "not beginning with '-' or '.'",
                came=shown(file.name),
            )
        if file.name in names:
            return Refused(code="bad_file_name", expected="different file names", came=f"{shown(file.name)} twice")
        names.add(file.name)
    size_bytes = sum(len(file.content) for file in files)
    if size_bytes == 0:
        return Refused(code="empty_source", expected="a source of at least one byte", came="0 bytes")
    if size_bytes > limits.source_bytes:
        return Refused(
            code="source_too_large",
            expected=f"at most {limits.source_bytes} bytes of source in all files",
            came=f"{size_bytes} bytes",
        )
    return None
