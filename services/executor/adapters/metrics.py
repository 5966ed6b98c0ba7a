"""What an executor counts, for `/metrics`."""

from __future__ import annotations

from schemas.events import Verdict
from services.chassis.telemetry import meter


class Metrics:
    """The instruments of one executor process."""

    def __init__(self) -> None:
        made = meter()
        self._judged = made.create_counter("assize_executor_judgements", description="Judgements that ended")
        self._faults = made.create_counter("assize_executor_faults", description="Judgements that faulted, by stage")
        self._refusals = made.create_counter("assize_executor_refusals", description="Assignments refused, by code")
        self._claims = made.create_counter("assize_executor_claims", description="Sandboxes claimed, warm or cold")
        self._poison = made.create_counter("assize_executor_ignored_records", description="Records nobody can believe")
        self._seconds = made.create_histogram(
            "assize_executor_judgement_seconds", unit="s", description="From the slot's start to the verdict"
        )

    def judged(self, verdict: Verdict, language: str, elapsed_ns: int) -> None:
        labels = {"verdict": verdict.value, "language": language}
        self._judged.add(1, labels)
        self._seconds.record(elapsed_ns / 1_000_000_000, labels)

    def faulted(self, stage: str) -> None:
        self._faults.add(1, {"stage": stage})

    def refused(self, code: str) -> None:
        self._refusals.add(1, {"code": code})

    def claimed(self, *, warm: bool) -> None:
        self._claims.add(1, {"kind": "warm" if warm else "cold"})

    def poisoned(self, code: str) -> None:
        self._poison.add(1, {"code": code})
