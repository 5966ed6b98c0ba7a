"""Settings: read once from the environment, frozen, refused when unknown.

A service's `config.py` subclasses `CommonSettings`. Names are `ASSIZE_<SERVICE>_<NAME>_<UNIT>`; common ones have no
service in them. This module is the only reader of the environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from services.chassis.faults import StartRefused

SERVICE_NAMES = ("INGEST", "SCHEDULER", "EXECUTOR", "VERDICTS")
_STACK_NAMES = frozenset({"ASSIZE_CACHE_DIR", "ASSIZE_TOKEN", "ASSIZE_URL", "ASSIZE_VERDICTS_URL"})


class CommonSettings(BaseModel):
    """What every service reads. A field `name` is the variable ASSIZE_NAME, or DOCKER_HOST for `docker_host`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    service: ClassVar[str]

    kafka_bootstrap: str
    """host:port[,host:port] of the brokers."""
    state_dir: Path = Path("/var/lib/assize/local")
    cell_count: int = Field(default=1, ge=1, le=1024)
    otlp_endpoint: str | None = None
    """OTLP/HTTP base address; nothing is exported without it."""
    log_level: str = "info"
    http_host: str = "127.0.0.1"

    @property
    def keys_dir(self) -> Path:
        return self.state_dir / "keys"

    @property
    def blobs_dir(self) -> Path:
        return self.state_dir / "blobs"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Parses the environment (the process's own by default).

        Raises:
            StartRefused: an unknown ASSIZE_ name for this service, a missing or a bad value.
        """
        source = os.environ if environment is None else environment
        names = {_variable(cls.service, field): field for field in cls.model_fields}
        foreign = tuple(f"ASSIZE_{other}_" for other in SERVICE_NAMES if other != cls.service)
        common = {_variable(cls.service, field) for field in CommonSettings.model_fields} | {"ASSIZE_POSTGRES_DSN"}
        unknown = [
            key
            for key in source
            if key.startswith("ASSIZE_")
            and key not in names
            and key not in common
            and key not in _STACK_NAMES
            and not key.startswith(foreign)
        ]
        if unknown:
            raise StartRefused(f"unknown settings {sorted(unknown)}; known are {sorted(names)}")
        try:
            return cls(**{field: source[key] for key, field in names.items() if source.get(key, "") != ""})
        except ValidationError as error:
            raise StartRefused(_explain(error.errors(include_url=False), names)) from error


_UNPREFIXED = {
    "kafka_bootstrap": "ASSIZE_KAFKA_BOOTSTRAP",
    "postgres_dsn": "ASSIZE_POSTGRES_DSN",
    "docker_host": "DOCKER_HOST",
    "state_dir": "ASSIZE_STATE_DIR",
    "cell_count": "ASSIZE_CELL_COUNT",
    "otlp_endpoint": "ASSIZE_OTLP_ENDPOINT",
    "log_level": "ASSIZE_LOG_LEVEL",
    "http_host": "ASSIZE_HTTP_HOST",
}


def _variable(service: str, field: str) -> str:
    return _UNPREFIXED.get(field, f"ASSIZE_{service}_{field.upper()}")


def _explain(errors: Iterable[Mapping[str, object]], names: Mapping[str, str]) -> str:
    variables = {field: key for key, field in names.items()}
    lines = []
    for error in errors:
        location = error["loc"]
        field = str(location[0]) if isinstance(location, tuple) and location else "settings"
        lines.append(f"{variables.get(field, field)}: {error['msg']}")
    return "; ".join(lines)


def print_settings(settings: CommonSettings) -> None:
    """`--check-config`: the settings as JSON, secrets hidden."""
    shown = {
        field: "**" if isinstance(value, SecretStr) else str(value)
        for field, value in ((name, getattr(settings, name)) for name in type(settings).model_fields)
    }
    sys.stdout.write(json.dumps(shown, indent=2, sort_keys=True) + "\n")
