"""Settings of an executor: `ASSIZE_EXECUTOR_*`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from pydantic import Field, model_validator

from services.chassis.settings import CommonSettings
from services.executor.core.plan import MEBIBYTE, Requirement
from services.executor.core.pool import IDLE_SANDBOX_BYTES, PoolBounds
from services.executor.core.ports import DEFAULT_FOLDER_LIMITS, FolderLimits


class ExecutorSettings(CommonSettings):
    """What an executor reads; related limits are checked together."""

    service: ClassVar[str] = "EXECUTOR"

    name: str = Field(default="local", pattern=r"[a-z0-9][a-z0-9-]{0,62}")
    """Names its key `executor-<name>.key` and its sandboxes; unique among the executors of one log."""
    cell: int = Field(default=0, ge=0)
    docker_host: str = "unix:///var/run/docker.sock"
    images_file: Path | None = None
    """Which image stands for which language; `images.json` in the state folder by default."""
    slots: int | None = Field(default=None, ge=1, le=1024)
    """Judgements at once; all CPUs but one by default, at least one."""
    pin_cpus: bool = True
    """Binds each slot to a CPU of its own. Without it times are worth little."""
    min_warm: int = Field(default=2, ge=0, le=256)
    """Warm sandboxes of each language that are always wanted."""
    max_warm: int = Field(default=4, ge=0, le=256)
    """Most warm sandboxes of each language."""
    warm_memory_mb: int = Field(default=512, ge=0)
    """Memory of all idle sandboxes together, MiB."""
    sandbox_memory_mb: int = Field(default=2048, ge=64)
    """What a warm sandbox as a whole may hold, MiB; a judgement that needs more is given one made for it."""
    sandbox_max_memory_mb: int = Field(default=8192, ge=64)
    """A judgement that needs more than this, MiB, is refused."""
    sandbox_processes: int = Field(default=512, ge=16, le=32768)
    """Processes and threads of a warm sandbox as a whole."""
    workdir_bytes: int = Field(default=DEFAULT_FOLDER_LIMITS.work_bytes, ge=4096)
    """Working folder of a warm sandbox; a spec that says otherwise is given one made for it."""
    workdir_inodes: int = Field(default=DEFAULT_FOLDER_LIMITS.work_inodes, ge=16)
    input_cache_mb: int = Field(default=512, ge=1)
    """Test inputs that are held in memory, MiB."""
    answer_cache_mb: int = Field(default=256, ge=1)
    """Expected answers that are held in memory, MiB."""
    drain_seconds: int = Field(default=10, ge=0, le=3600)
    """How long running judgements may go on after SIGTERM; what is left then is given back."""
    http_port: int = Field(default=8733, ge=1, le=65535)

    @model_validator(mode="after")
    def _related(self) -> ExecutorSettings:
        if self.cell >= self.cell_count:
            raise ValueError(
                f"expected ASSIZE_EXECUTOR_CELL below ASSIZE_CELL_COUNT={self.cell_count}, came {self.cell}"
            )
        if self.min_warm > self.max_warm:
            raise ValueError(f"expected min_warm to be at most max_warm={self.max_warm}, came {self.min_warm}")
        if self.sandbox_memory_mb > self.sandbox_max_memory_mb:
            raise ValueError(
                f"expected sandbox_memory_mb to be at most sandbox_max_memory_mb={self.sandbox_max_memory_mb}, "
                f"came {self.sandbox_memory_mb}"
            )
        cpus = len(os.sched_getaffinity(0))
        if self.pin_cpus and self.slots is not None and self.slots > cpus:
            raise ValueError(f"expected at most {cpus} slots, one for each CPU, came {self.slots}")
        if self.warm_memory_mb * MEBIBYTE < self.min_warm * IDLE_SANDBOX_BYTES:
            raise ValueError(f"expected warm_memory_mb to hold {self.min_warm} sandboxes, came {self.warm_memory_mb}")
        return self

    @property
    def images_path(self) -> Path:
        return self.images_file or self.state_dir / "images.json"

    @property
    def key_path(self) -> Path:
        return self.keys_dir / f"executor-{self.name}.key"

    def slot_cpus(self) -> tuple[int | None, ...]:
        """The CPU of each slot. The first CPU is left to the services as long as there are others."""
        cpus = sorted(os.sched_getaffinity(0))
        count = self.slots if self.slots is not None else max(1, len(cpus) - 1)
        return tuple(cpus[-count:]) if self.pin_cpus else (None,) * count

    def spare_cpu(self) -> int | None:
        """A CPU that no slot has, for work that must not disturb a judgement; None when there is none."""
        taken = set(self.slot_cpus())
        return next((cpu for cpu in sorted(os.sched_getaffinity(0)) if self.pin_cpus and cpu not in taken), None)

    def bounds(self) -> PoolBounds:
        return PoolBounds(
            min_warm=self.min_warm,
            max_warm=self.max_warm,
            memory_budget_bytes=self.warm_memory_mb * MEBIBYTE,
        )

    def warm_shape(self, image_digest: str) -> Requirement:
        """What a warm sandbox of an image is made with."""
        return Requirement(
            image_digest=image_digest,
            memory_limit_bytes=self.sandbox_memory_mb * MEBIBYTE,
            process_limit=self.sandbox_processes,
            folders=FolderLimits(
                artifact_bytes=DEFAULT_FOLDER_LIMITS.artifact_bytes,
                artifact_inodes=DEFAULT_FOLDER_LIMITS.artifact_inodes,
                work_bytes=self.workdir_bytes,
                work_inodes=self.workdir_inodes,
            ),
        )
