"""A filled sample of every event class, made from its types alone: the same class always gives the same sample.

The golden files are these samples, encoded once when a version was released. They must decode for ever.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any

from schemas import events


def sample(cls: type) -> Any:
    """An instance with every field set and no two fields alike."""
    hints = typing.get_type_hints(cls, vars(events))
    return cls(
        **{
            field.name: _value(hints[field.name], f"{cls.__name__}.{field.name}", ordinal)
            for ordinal, field in enumerate(dataclasses.fields(cls), start=1)
        }
    )


def _value(hint: Any, path: str, ordinal: int) -> Any:
    origin = typing.get_origin(hint)
    if origin is types.UnionType:
        return _value(next(arg for arg in typing.get_args(hint) if arg is not type(None)), path, ordinal)
    if origin is tuple:
        return (_value(typing.get_args(hint)[0], path, ordinal),) * 2
    if origin is not None:
        return {f"{path}/0": ordinal}
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return list(hint)[ordinal % (len(hint) - 1)]
    if dataclasses.is_dataclass(hint):
        return sample(typing.cast("type", hint))
    plain: dict[type, Any] = {
        str: f"{path} ✓",
        int: 1_700_000_000_000_000 + ordinal,
        bool: ordinal % 2 == 0,
        bytes: path.encode() + bytes([0, 255]),
        float: ordinal / 4,
    }
    return plain[hint]
