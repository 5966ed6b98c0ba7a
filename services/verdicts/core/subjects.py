"""The released schemas as a Confluent Schema Registry names them.

A topic with one event type has the subject `<topic>-value`; a topic with several has one subject for each type,
`<topic>-assize.v1.<Event>` (Confluent's TopicRecordNameStrategy). The version is that of the event, the id that of
`released.lock`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.registry import Registry, ReleasedSchema
from schemas.topics import TOPICS, Topic

SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, SCHEMA_NOT_FOUND = 40401, 40402, 40403
INVALID_SCHEMA, INVALID_VERSION, READ_ONLY = 42201, 42202, 42205


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the endpoint says: an HTTP status and a JSON value."""

    status: int
    body: Any


def refusal(status: int, code: int, message: str) -> Answer:
    """An error in the registry's own form."""
    return Answer(status=status, body={"error_code": code, "message": message})


class Subjects:
    """Answers every reading question about the registry."""

    def __init__(self, registry: Registry, topics: Iterable[Topic] = TOPICS) -> None:
        self._registry = registry
        self._names: Mapping[str, str] = dict(_subjects(registry, topics))

    def subjects(self) -> Answer:
        return Answer(status=200, body=sorted(self._names))

    def by_id(self, text: str) -> Answer:
        released = self._registry.by_id(int(text)) if text.isascii() and text.isdigit() else None
        if released is None:
            return refusal(404, SCHEMA_NOT_FOUND, f"Schema {text} not found")
        return Answer(status=200, body={"schema": released.text, "schemaType": "AVRO"})

    def uses_of(self, text: str) -> Answer:
        """Subjects and versions of a schema id."""
        released = self._registry.by_id(int(text)) if text.isascii() and text.isdigit() else None
        if released is None:
            return refusal(404, SCHEMA_NOT_FOUND, f"Schema {text} not found")
        uses = [subject for subject, name in sorted(self._names.items()) if name == released.name]
        return Answer(status=200, body=[{"subject": subject, "version": released.version} for subject in uses])

    def versions(self, subject: str) -> Answer:
        name = self._names.get(subject)
        if name is None:
            return _no_subject(subject)
        return Answer(status=200, body=sorted(self._registry.versions(name)))

    def version(self, subject: str, version: str) -> Answer:
        """`version` is a number, `latest` or -1."""
        name = self._names.get(subject)
        if name is None:
            return _no_subject(subject)
        if version in ("latest", "-1"):
            return Answer(status=200, body=_entry(subject, self._registry.newest(name)))
        if not (version.isascii() and version.isdigit() and int(version) >= 1):
            return refusal(
                422,
                INVALID_VERSION,
                f"The specified version '{version}' is not a valid version id: from 1, or 'latest'",
            )
        released = self._registry.versions(name).get(int(version))
        if released is None:
            return refusal(404, VERSION_NOT_FOUND, f"Version {version} not found.")
        return Answer(status=200, body=_entry(subject, released))

    def lookup(self, subject: str, request: object) -> Answer:
        """Which version of a subject a schema text is."""
        name = self._names.get(subject)
        if name is None:
            return _no_subject(subject)
        text = request.get("schema") if isinstance(request, dict) else None
        try:
            wanted = json.loads(text) if isinstance(text, str) else None
        except ValueError:
            wanted = None
        if wanted is None:
            return refusal(
                422, INVALID_SCHEMA, 'expected {"schema": "<Avro schema as JSON text>"}, came something else'
            )
        for released in self._registry.versions(name).values():
            if json.loads(released.text) == wanted:
                return Answer(status=200, body=_entry(subject, released))
        return refusal(404, SCHEMA_NOT_FOUND, f"Schema not found in subject '{subject}'")


def registration_refused(subject: str) -> Answer:
    return refusal(
        405,
        READ_ONLY,
        f"Subject '{subject}' is read-only: schemas are released with Assize itself (schemas/released.lock), "
        "and a new version comes with a new release",
    )


def _subjects(registry: Registry, topics: Iterable[Topic]) -> Iterable[tuple[str, str]]:
    known = set(registry.names())
    for topic in topics:
        names = [name for name in topic.events if name in known]
        if len(topic.events) == 1:
            yield from ((f"{topic.name}-value", name) for name in names)
        else:
            yield from ((f"{topic.name}-{_full_name(registry.newest(name))}", name) for name in names)


def _full_name(released: ReleasedSchema) -> str:
    """The record's name in Avro, with its namespace."""
    schema = json.loads(released.text)
    return f"{schema['namespace']}.{schema['name']}"


def _entry(subject: str, released: ReleasedSchema) -> dict[str, Any]:
    return {
        "subject": subject,
        "id": released.schema_id,
        "version": released.version,
        "schemaType": "AVRO",
        "schema": released.text,
    }


def _no_subject(subject: str) -> Answer:
    return refusal(404, SUBJECT_NOT_FOUND, f"Subject '{subject}' not found.")
