"""What is counted and shown at `/metrics`."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Observation

from services.chassis.telemetry import meter
from services.scheduler.core.state import CellState


class SchedulerMetrics:
    """Counters of one process; made once, after telemetry was configured."""

    def __init__(self) -> None:
        self._states: dict[int, CellState] = {}
        made = meter()
        self.inputs = made.create_counter("assize_scheduler_inputs", description="Records read, by topic")
        self.parked = made.create_counter("assize_scheduler_parked", description="Records parked, by reason")
        self.decisions = made.create_counter("assize_scheduler_decisions", description="Decisions written, by type")
        self.batch_seconds = made.create_histogram(
            "assize_scheduler_batch_seconds",
            unit="s",
            description="From the first input of a batch taken to its decisions committed",
            explicit_bucket_boundaries_advisory=(0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 1.0),
        )
        made.create_observable_gauge(
            "assize_scheduler_waiting", callbacks=[self._waiting], description="Judgements that wait, by language"
        )
        made.create_observable_gauge(
            "assize_scheduler_leased", callbacks=[self._leased], description="Judgements that are leased, by language"
        )
        made.create_observable_gauge(
            "assize_scheduler_executors", callbacks=[self._executors], description="Executors that report capacity"
        )
        made.create_observable_counter(
            "assize_scheduler_ignored", callbacks=[self._ignored], description="Inputs that changed nothing, by reason"
        )

    def show(self, state: CellState) -> None:
        self._states[state.cell] = state

    def hide(self, cell: int) -> None:
        self._states.pop(cell, None)

    def _waiting(self, _options: CallbackOptions) -> Iterable[Observation]:
        for cell, state in tuple(self._states.items()):
            for language, waiting in tuple(state.waiting.items()):
                yield Observation(len(waiting), {"cell": cell, "language": language})

    def _leased(self, _options: CallbackOptions) -> Iterable[Observation]:
        for cell, state in tuple(self._states.items()):
            for language, running in tuple(state.running.items()):
                yield Observation(running, {"cell": cell, "language": language})

    def _executors(self, _options: CallbackOptions) -> Iterable[Observation]:
        for cell, state in tuple(self._states.items()):
            yield Observation(len(state.executors), {"cell": cell})

    def _ignored(self, _options: CallbackOptions) -> Iterable[Observation]:
        for cell, state in tuple(self._states.items()):
            for reason, count in tuple(state.counts.items()):
                yield Observation(count, {"cell": cell, "reason": reason})
