"""YAML of a problem package: small, plain, without aliases, and read by keys that are known.

The format says that an unknown key is an error, and a judge must hold on to that: `timelimit: 10` that is silently
passed over is a contest judged with another limit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import yaml

from services.ingest.core.package_refusal import PackageRefused, shown

MAX_YAML_BYTES: Final = 64 * 1024
MAX_YAML_DEPTH: Final = 16


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases (an alias can make a small file large) and without doubled keys."""

    def construct_mapping(self, node: Any, deep: Any = False) -> Any:  # noqa: FBT002  PyYAML's signature
        keys = [str(key.value) for key, _value in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.YAMLError("a key stands twice")
        return super().construct_mapping(node, deep)


def read_yaml(name: str, data: bytes) -> Mapping[str, Any]:
    """The mapping that a YAML file is; an empty file is an empty one.

    Raises:
        PackageRefused: too large, not UTF-8, not plain YAML, or no mapping of names.
    """
    if len(data) > MAX_YAML_BYTES:
        raise PackageRefused("bad_yaml", expected=f"{name} of at most {MAX_YAML_BYTES} bytes", came=str(len(data)))
    try:
        text = data.decode("utf-8")
        _refuse_tricks(text)
        value = yaml.load(text, _PlainLoader)  # noqa: S506  a SafeLoader, made stricter
    except (yaml.YAMLError, ValueError) as error:
        raise PackageRefused("bad_yaml", expected=f"{name} in YAML", came=" ".join(str(error).split())) from error
    if value is None:
        return {}
    return _mapping(name, value)


def _refuse_tricks(text: str) -> None:
    """Looks at the events, which the parser makes without recursion, before anything is built of them."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not taken")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_YAML_DEPTH:
            raise yaml.YAMLError(f"more than {MAX_YAML_DEPTH} levels are not taken")


def _mapping(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise PackageRefused("bad_yaml", expected=f"{where} to be a mapping by names", came=shown(value))
    return value


def nested(where: str, settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The mapping under a key, empty if the key is not there."""
    return _mapping(f"{where}: {key}", settings[key]) if key in settings else {}


def refuse_unknown(where: str, settings: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuses keys that the format does not have."""
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        raise PackageRefused("unknown_key", expected=f"{where} with keys of {sorted(known)}", came=repr(unknown))
