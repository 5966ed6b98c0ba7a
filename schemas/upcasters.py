"""One-step lifts of old event versions, applied after decoding and verifying, never to signed bytes.

A changed meaning is a new version of the schema and one pure function here, from version n to n + 1 of the plain
record. `UPCASTERS` maps (name, from version) to (new name, function). Nothing is released twice yet, so it is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Record = dict[str, Any]

UPCASTERS: Mapping[tuple[str, int], tuple[str, Callable[[Record], Record]]] = {}


def upcast(
    name: str,
    version: int,
    record: Record,
    steps: Mapping[tuple[str, int], tuple[str, Callable[[Record], Record]]] = UPCASTERS,
) -> tuple[str, Record]:
    """Lifts a record step by step to the newest version of its type; returns the type's name and the record."""
    while (step := steps.get((name, version))) is not None:
        name, lift = step
        record = lift(record)
        version += 1
    return name, record
