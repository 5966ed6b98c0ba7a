"""What ingest counts; read at `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, Observation

from services.chassis.telemetry import meter


class Counters:
    """The counters of one process."""

    def __init__(self) -> None:
        kinds = meter()
        self._submissions = kinds.create_counter(
            "assize_ingest_submissions", description="Submissions by door and outcome (accepted, repeated, or a code)"
        )
        self._source = kinds.create_counter(
            "assize_ingest_source", unit="By", description="Bytes of source of accepted submissions"
        )
        self._intake = kinds.create_counter(
            "assize_ingest_intake_records", description="Records read from intake topics by outcome"
        )
        self._refusals = kinds.create_counter(
            "assize_ingest_http_refusals", description="HTTP requests refused, by code"
        )
        self._poison = kinds.create_counter(
            "assize_ingest_poison_records", description="Records of our own topics that could not be read"
        )

    def submission(self, *, door: str, outcome: str) -> None:
        self._submissions.add(1, {"door": door, "outcome": outcome})

    def accepted_bytes(self, size_bytes: int, *, door: str) -> None:
        self._source.add(size_bytes, {"door": door})

    def intake(self, *, outcome: str) -> None:
        self._intake.add(1, {"outcome": outcome})

    def refusal(self, *, code: str) -> None:
        self._refusals.add(1, {"code": code})

    def poison(self, *, topic: str) -> None:
        self._poison.add(1, {"topic": topic})


def observe(name: str, description: str, read: Callable[[], Iterable[tuple[int, dict[str, str | int]]]]) -> None:
    """Publishes a gauge that is read when somebody looks."""

    def callback(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, attributes) for value, attributes in read()]

    meter().create_observable_gauge(name, [callback], description=description)
