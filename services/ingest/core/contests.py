"""Contests as they are registered: by `PUT /v1/contests/{id}` or by a file of the state folder."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace

from schemas.events import ContestRegistered, PriorityClass
from schemas.identity import event_id
from services.ingest.core.rules import Refused, refuse_id, shown

CLASSES: Mapping[str, PriorityClass] = {
    "final": PriorityClass.CONTEST_FINAL,
    "contest": PriorityClass.CONTEST,
    "practice": PriorityClass.PRACTICE,
}
_KEYS = ("name", "class", "starts_at", "ends_at")
_NAME_CHARACTERS = 200


def read_contest(
    fields: Mapping[str, object], *, tenant: str, contest: str, registered_by: str, now_us: int
) -> ContestRegistered | Refused:
    """The registration in a table of exactly `name`, `class`, `starts_at` and `ends_at`."""
    refused = refuse_id("contest", contest)
    if refused is not None:
        return refused
    if set(fields) != set(_KEYS):
        return Refused(code="bad_contest", expected=f"exactly {', '.join(_KEYS)}", came=shown(sorted(fields)))
    name, kind = fields["name"], fields["class"]
    if not isinstance(name, str) or not 1 <= len(name) <= _NAME_CHARACTERS or not name.isprintable():
        return Refused(
            code="bad_contest", expected=f"a printable name of 1 to {_NAME_CHARACTERS} characters", came=shown(name)
        )
    if not isinstance(kind, str) or kind not in CLASSES:
        return Refused(code="bad_contest", expected=f"a class among {', '.join(CLASSES)}", came=shown(kind))
    starts_at_us, ends_at_us = read_time_us(fields["starts_at"]), read_time_us(fields["ends_at"])
    for key, value in (("starts_at", starts_at_us), ("ends_at", ends_at_us)):
        if value is None:
            return Refused(
                code="bad_contest",
                expected=f"{key} as RFC 3339 with an offset, such as 2026-11-24T09:00:00Z",
                came=shown(fields[key]),
            )
    assert starts_at_us is not None and ends_at_us is not None  # noqa: PT018  both were looked at just above
    if ends_at_us <= starts_at_us:
        return Refused(code="bad_contest", expected="ends_at later than starts_at", came=shown(fields["ends_at"]))
    return ContestRegistered(
        event_id=event_id("ContestRegistered", tenant, contest, now_us),
        at_us=now_us,
        tenant=tenant,
        contest=contest,
        name=name,
        priority_class=CLASSES[kind],
        starts_at_us=starts_at_us,
        ends_at_us=ends_at_us,
        registered_by=registered_by,
    )


def read_time_us(value: object) -> int | None:
    """Microseconds since the epoch of an RFC 3339 text (or of the datetime that TOML makes of one), else None."""
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, dt.datetime) or value.tzinfo is None:
        return None
    moment_us = (value - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    return moment_us if moment_us >= 0 else None


def is_same_contest(known: ContestRegistered | None, came: ContestRegistered) -> bool:
    """Whether a registration says nothing new."""
    if known is None:
        return False
    return replace(known, event_id="", at_us=0, registered_by="") == replace(
        came, event_id="", at_us=0, registered_by=""
    )
