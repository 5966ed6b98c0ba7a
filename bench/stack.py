"""The one-machine stack at rest: how long its start takes when all is cached, what it holds, how busy it is.

python -m bench.stack
"""

from __future__ import annotations

import sys
import time

import psutil

from bench.results import write_results
from deploy.local.folders import SERVICES, StackSettings
from deploy.local.progress import Progress
from deploy.local.stack import down, up
from deploy.local.supervision import Supervisor

STATE = "/var/lib/assize/bench"
SETTLE_SECONDS = 20
OBSERVED_SECONDS = 30
WARM_SANDBOXES = {"ASSIZE_EXECUTOR_MIN_WARM": "4", "ASSIZE_EXECUTOR_MAX_WARM": "4"}


def main() -> int:
    settings = StackSettings.from_environment({"ASSIZE_STATE_DIR": STATE} | WARM_SANDBOXES)
    progress = Progress(sys.stderr)
    up(settings, progress, services=SERVICES)
    down(settings, progress)
    started = time.monotonic()
    up(settings, progress, services=SERVICES)
    start_seconds = time.monotonic() - started
    try:
        time.sleep(SETTLE_SECONDS)
        supervisor = psutil.Process(Supervisor(settings.folders).pid())
        before = _cpu_seconds(settings, supervisor)
        time.sleep(OBSERVED_SECONDS)
        after = _cpu_seconds(settings, supervisor)
        busy = {part: (after[part] - before[part]) / OBSERVED_SECONDS for part in before}
        resident = _resident_bytes(supervisor)
    finally:
        down(settings, progress)
    write_results(
        "stack",
        command="python -m bench.stack",
        figures={
            "cached_start_seconds": round(start_seconds, 1),
            "idle_resident_mib": round(resident / 2**20),
            "idle_cpu_of_one_core": round(sum(busy.values()), 3),
            "idle_cpu_by_part": {part: round(share, 4) for part, share in busy.items()},
            "warm_sandboxes_per_language": 4,
        },
        limits={
            "cached_start_seconds": "<= 30",
            "idle_resident_mib": "<= 2048",
            "idle_cpu_of_one_core": "<= 0.05",
        },
    )
    return 0


def _family(root: psutil.Process) -> list[psutil.Process]:
    """The supervisor, everything below it, and the sandboxes (which are below containerd)."""
    return [root, *root.children(recursive=True)]


def _cpu_seconds(settings: StackSettings, supervisor: psutil.Process) -> dict[str, float]:
    """CPU time so far of each part with its children, and of the supervisor alone."""
    spent = {"supervisor": _own_cpu_seconds(supervisor)}
    for name, status in Supervisor(settings.folders).status().items():
        if status.pid is not None:
            spent[name] = sum(_own_cpu_seconds(process) for process in _family(psutil.Process(status.pid)))
    return spent


def _own_cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def _resident_bytes(root: psutil.Process) -> int:
    """Proportional set size: shared pages are counted once over all who share them."""
    total = 0
    for process in _family(root):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


if __name__ == "__main__":
    sys.exit(main())
