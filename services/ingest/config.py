"""Settings of ingest, read once from the environment (`ASSIZE_INGEST_<NAME>_<UNIT>`)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from services.chassis.settings import CommonSettings

_MEBIBYTE = 1024 * 1024


class IngestSettings(CommonSettings):
    """Every bound has a default that fits one machine and a contest of thousands of teams."""

    service: ClassVar[str] = "INGEST"

    http_port: int = Field(ge=1, le=65535)
    connections_limit: int = Field(default=512, ge=1)
    """Connections served at once; more are answered 503."""
    source_limit_bytes: int = Field(default=256 * 1024, ge=1, le=4 * _MEBIBYTE)
    """All files of a submission together."""
    files_limit: int = Field(default=32, ge=1, le=256)
    body_limit_bytes: int = Field(default=2 * _MEBIBYTE, ge=1024)
    """Body of a submission or a contest."""
    package_limit_bytes: int = Field(default=128 * _MEBIBYTE, ge=1024)
    """Zipped problem package."""
    body_timeout_ms: int = Field(default=30_000, ge=100)
    """Most time for the body of a submission to come."""
    package_timeout_ms: int = Field(default=300_000, ge=100)
    publish_timeout_ms: int = Field(default=8_000, ge=100)
    """Most time that a request waits for the brokers before it is told 503."""
    pending_limit: int = Field(default=2_000, ge=1)
    """Submissions that wait for the brokers at once; more are told 503 without being sent."""
    remembered_requests: int = Field(default=1_000_000, ge=1)
    """Idempotency keys kept in memory, about 250 bytes each."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        # Base64 makes four bytes of three, and the JSON around it needs some room.
        if self.body_limit_bytes < self.source_limit_bytes * 4 // 3 + 4096:
            raise ValueError(
                f"expected ASSIZE_INGEST_BODY_LIMIT_BYTES to hold {self.source_limit_bytes} bytes of source in base64, "
                f"came {self.body_limit_bytes}"
            )
        return self

    @property
    def tokens_file(self) -> Path:
        return self.state_dir / "tokens.json"

    @property
    def contests_dir(self) -> Path:
        return self.state_dir / "contests.d"
