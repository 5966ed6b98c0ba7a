"""Settings of the verdict store."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import CommonSettings


class VerdictsSettings(CommonSettings):
    """Read once from the environment; see `services.chassis.settings` for the names."""

    service: ClassVar[str] = "VERDICTS"

    postgres_dsn: str = Field(min_length=1)
    """postgresql://… of a database whose schema `schema_name` is ours."""
    http_port: int = Field(default=8082, ge=1, le=65535)
    schema_name: str = Field(default="assize", pattern=r"^[a-z][a-z0-9_]{0,40}$")
    batch_records: int = Field(default=500, ge=1, le=5000)
    """Most records that move in one transaction."""
    stream_queue_messages: int = Field(default=1000, ge=1, le=100_000)
    """Most messages that wait for one WebSocket client before it is closed as too slow."""
    stream_clients: int = Field(default=1000, ge=1, le=100_000)
    """Most WebSocket clients at once."""
    silent_after_ms: int = Field(default=5_000, ge=1_000)
    """An executor that has not reported for so long is shown as silent."""
