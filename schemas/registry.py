"""The released schemas: `avro/*.avsc`, held to `released.lock`.

A released file is immutable: its sha256 stands in the lock and is checked when it is loaded, so a changed schema
cannot be used by accident. Ids are given once and never reused.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import fastavro


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedSchema:
    """One immutable version of one event type. `text` is the file as released."""

    name: str
    version: int
    schema_id: int
    sha256: str
    text: str
    parsed: Any
    """For fastavro, without logical types: our code handles times as plain microseconds."""

    @property
    def full_name(self) -> str:
        return f"{self.name} v{self.version}"


class Registry:
    """All released schemas by id and by name."""

    def __init__(self, schemas: Iterator[ReleasedSchema]) -> None:
        self._by_id: dict[int, ReleasedSchema] = {}
        self._versions: dict[str, dict[int, ReleasedSchema]] = {}
        for schema in schemas:
            if schema.schema_id in self._by_id:
                raise ValueError(f"released.lock gives id {schema.schema_id} twice")
            self._by_id[schema.schema_id] = schema
            self._versions.setdefault(schema.name, {})[schema.version] = schema

    def by_id(self, schema_id: int) -> ReleasedSchema | None:
        return self._by_id.get(schema_id)

    def newest(self, name: str) -> ReleasedSchema:
        versions = self._versions[name]
        return versions[max(versions)]

    def versions(self, name: str) -> Mapping[int, ReleasedSchema]:
        return self._versions[name]

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._versions))

    def all(self) -> tuple[ReleasedSchema, ...]:
        return tuple(self._by_id[schema_id] for schema_id in sorted(self._by_id))


@functools.cache
def registry() -> Registry:
    """The schemas that this distribution was released with.

    Raises:
        ValueError: a file differs from its line in `released.lock`, or the two do not list the same files.
    """
    return load(resources.files("schemas"))


def load(folder: Traversable) -> Registry:
    """Loads the schemas of a folder with `released.lock` and `avro/`."""
    lock = json.loads((folder / "released.lock").read_text())["released"]
    listed = {f"{entry['name']}.v{entry['version']}.avsc" for entry in lock}
    present = {entry.name for entry in (folder / "avro").iterdir() if entry.name.endswith(".avsc")}
    if listed != present:
        raise ValueError(f"released.lock and avro/ differ: {sorted(listed ^ present)}")
    return Registry(_load_one(folder, entry) for entry in lock)


def _load_one(folder: Traversable, entry: Mapping[str, Any]) -> ReleasedSchema:
    name = f"{entry['name']}.v{entry['version']}.avsc"
    text = (folder / "avro" / name).read_text()
    came = hashlib.sha256(text.encode()).hexdigest()
    if came != entry["sha256"]:
        raise ValueError(f"{name} was released with sha256 {entry['sha256']}, came {came}: add a new version instead")
    return ReleasedSchema(
        name=entry["name"],
        version=entry["version"],
        schema_id=entry["id"],
        sha256=entry["sha256"],
        text=text,
        parsed=fastavro.parse_schema(_without_logical_types(json.loads(text))),
    )


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [_without_logical_types(entry) for entry in schema]
    return schema
