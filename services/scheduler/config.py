"""Settings of the scheduler, and the two files it reads: the images of the languages and their capacity rules."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from schemas.events import IdleReserveRule, PoolPolicy
from services.chassis.faults import StartRefused
from services.chassis.settings import CommonSettings
from services.scheduler.core.rules import UNBOUNDED_SLOTS, Image, Rules


class SchedulerSettings(CommonSettings):
    """Read once from the environment; names ASSIZE_SCHEDULER_…."""

    service: ClassVar[str] = "SCHEDULER"

    http_port: int = Field(default=18082, ge=1, le=65535)
    images_file: Path | None = None
    """{language: {image, digest}}; images.json in the state folder by default."""
    policy_file: Path | None = None
    """{language: {reserved, max, idle_reserve}} in TOML or JSON; none by default."""
    isolation: str = "container"
    executor_silence_ms: int = Field(default=3000, ge=1000, le=600_000)
    lease_margin_ms: int = Field(default=30_000, ge=1000, le=3_600_000)
    queue_bound: int = Field(default=10_000, ge=1, le=1_000_000)
    tick_ms: int = Field(default=100, ge=20, le=250)
    snapshot_every: int = Field(default=10_000, ge=100, le=1_000_000)
    """Records of the log between two snapshots."""
    instance: str = Field(default="1", pattern=r"^[a-z0-9-]{1,32}$")
    """Static member of the consumer group: the same one starts again without a rebalance."""

    def rules(self, cell: int, images: Mapping[str, Image]) -> Rules:
        """The rules of one cell.

        Raises:
            StartRefused: the policy file cannot be followed.
        """
        try:
            return Rules(
                cell=cell,
                images=images,
                pools=() if self.policy_file is None else read_policy(self.policy_file),
                isolation=self.isolation,
                executor_silence_us=self.executor_silence_ms * 1000,
                lease_margin_us=self.lease_margin_ms * 1000,
                queue_bound=self.queue_bound,
            )
        except ValueError as error:
            raise StartRefused(str(error)) from error


def read_images(path: Path) -> Mapping[str, Image]:
    """The images of the languages; none while the file does not exist, so that their submissions are held.

    Raises:
        StartRefused: the file is there and is not what it must be.
    """
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text())
        return {language: Image(image=entry["image"], digest=entry["digest"]) for language, entry in value.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartRefused(f"expected {{language: {{image, digest}}}} in {path}, came {error!r}") from error


def read_policy(path: Path) -> tuple[PoolPolicy, ...]:
    """The capacity rules of a file.

    Raises:
        StartRefused: it cannot be read.
    """
    try:
        text = path.read_text()
        value: dict[str, Any] = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        return tuple(_pool(language, dict(entry)) for language, entry in sorted(value.items()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StartRefused(f"expected {{language: {{reserved, max, idle_reserve}}}} in {path}, came {error}") from error


def _pool(language: str, entry: dict[str, Any]) -> PoolPolicy:
    reserved, bound = entry.pop("reserved", 0), entry.pop("max", UNBOUNDED_SLOTS)
    rule = IdleReserveRule(entry.pop("idle_reserve", "HARD"))
    if entry:
        raise ValueError(f"unknown keys {sorted(entry)} of {language}; known are reserved, max, idle_reserve")
    if type(reserved) is not int or type(bound) is not int:
        raise TypeError(f"expected whole numbers of slots for {language}, came {reserved!r} and {bound!r}")
    return PoolPolicy(language=language, reserved=reserved, max_slots=bound, idle_reserve=rule, paused=False)
