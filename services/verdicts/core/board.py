"""Executors, pools and queues as they last reported: what the page and `/v1/pools` show. Nothing of it is stored."""

from __future__ import annotations

from schemas.events import CapacityReported, PoolReport, QueueReported

FORGOTTEN_AFTER_US = 10 * 60 * 1_000_000
"""An executor that is silent for so long is no longer shown."""
MOST_EXECUTORS = 4096


class Board:
    """The newest report of each executor and cell. Time comes in as an argument."""

    def __init__(self, *, silent_after_us: int) -> None:
        self._silent_after_us = silent_after_us
        self._executors: dict[str, CapacityReported] = {}
        self._queues: dict[int, QueueReported] = {}

    def take_capacity(self, report: CapacityReported) -> bool:
        """Keeps a report when it is newer than the one there is; says whether what is shown changed."""
        before = self._executors.get(report.executor)
        if before is not None and before.incarnation == report.incarnation and report.sequence <= before.sequence:
            return False
        if before is not None and before.incarnation != report.incarnation and report.at_us < before.at_us:
            return False
        if before is None and len(self._executors) >= MOST_EXECUTORS:
            return False
        self._executors[report.executor] = report
        return before is None or _shown(before) != _shown(report)

    def take_queue(self, report: QueueReported) -> bool:
        """The same for the queue of a cell."""
        before = self._queues.get(report.cell)
        if before is not None and report.at_us < before.at_us:
            return False
        self._queues[report.cell] = report
        return before is None or (before.queued, before.running, before.depths) != (
            report.queued,
            report.running,
            report.depths,
        )

    def silent(self, now_us: int) -> frozenset[str]:
        """Executors whose last report is too old."""
        return frozenset(
            name for name, report in self._executors.items() if now_us - report.at_us > self._silent_after_us
        )

    def snapshot(self, now_us: int) -> dict[str, object]:
        """The answer of `/v1/pools`."""
        for name in [n for n, report in self._executors.items() if now_us - report.at_us > FORGOTTEN_AFTER_US]:
            del self._executors[name]
        silent = self.silent(now_us)
        executors = [self._executor(self._executors[name], name in silent) for name in sorted(self._executors)]
        return {"executors": executors, "queue": self._queue(), "languages": self._languages(silent)}

    def _executor(self, report: CapacityReported, silent: bool) -> dict[str, object]:  # noqa: FBT001  private
        return {
            "executor": report.executor,
            "incarnation": report.incarnation,
            "cell": report.cell,
            "reported_at_us": report.at_us,
            "silent": silent,
            "draining": report.draining,
            "health": report.health,
            "slots": report.slots,
            "running": [
                {"judgement_id": entry.judgement_id, "lease_epoch": entry.lease_epoch, "slot": entry.slot}
                for entry in report.running
            ],
            "pools": [_pool(pool) for pool in report.pools],
        }

    def _queue(self) -> list[dict[str, object]]:
        return [
            {
                "cell": report.cell,
                "reported_at_us": report.at_us,
                "queued": report.queued,
                "running": report.running,
                "bound": report.bound,
                "oldest_wait_ns": report.oldest_wait_ns,
                "languages": [
                    {
                        "language": depth.language,
                        "queued": depth.queued,
                        "running": depth.running,
                        "held": depth.held,
                        "held_reason": depth.held_reason,
                    }
                    for depth in report.depths
                ],
            }
            for _, report in sorted(self._queues.items())
        ]

    def _languages(self, silent: frozenset[str]) -> list[dict[str, object]]:
        """Warm sandboxes and serving pools summed over the executors that report."""
        sums: dict[str, dict[str, int]] = {}
        for name, report in self._executors.items():
            for pool in () if name in silent else report.pools:
                entry = sums.setdefault(pool.language, {"pools": 0, "serving": 0, "warm": 0})
                entry["pools"] += 1
                entry["serving"] += int(pool.serving)
                entry["warm"] += pool.warm
        return [{"language": language, **sums[language]} for language in sorted(sums)]


def _pool(pool: PoolReport) -> dict[str, object]:
    return {
        "language": pool.language,
        "image": pool.image,
        "image_digest": pool.image_digest,
        "isolation": pool.isolation,
        "serving": pool.serving,
        "reason": pool.reason,
        "warm": pool.warm,
        "min_warm": pool.min_warm,
        "max_warm": pool.max_warm,
    }


def _shown(report: CapacityReported) -> tuple[object, ...]:
    return (report.incarnation, report.slots, report.running, report.pools, report.draining, report.health)
