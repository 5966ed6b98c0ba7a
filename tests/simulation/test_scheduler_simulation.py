"""Tens of thousands of submissions through a simulated cell, audited record by record."""

from __future__ import annotations

from collections import Counter

import pytest

from schemas.events import Verdict
from tests.simulation.scheduler_world import SimulatedCell, SimulatedExecutor
from tests.unit.scheduler.builders import LANGUAGES, policy, rules


def floor() -> list[SimulatedExecutor]:
    """Executors of different sizes; all serve all languages, which is what reserves over a cell ask for."""
    return [SimulatedExecutor(name=f"host{number}", slots=2 + number % 4, languages=LANGUAGES) for number in range(8)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("seed", "submissions"), [(1, 12_000), (2, 4_000), (3, 4_000), (4, 2_000)])
def test_every_submission_is_concluded_exactly_once(seed: int, submissions: int) -> None:
    given = rules(
        pools=(policy("java", reserved=4, max_slots=10), policy("c", reserved=2)),
        interruptions_max=1000,
    )
    world = SimulatedCell(seed=seed, submissions=submissions, rules=given, executors=floor())
    world.run()
    assert len(world.auditor.concluded) == submissions
    assert not world.state.judgements
    assert not world.state.leased
    verdicts = Counter(world.auditor.concluded.values())
    assert set(verdicts) >= {Verdict.AC, Verdict.WA, Verdict.CE, Verdict.JE}
    # The run is worth nothing unless the bad things happened.
    assert set(world.auditor.reasons) >= {"EXECUTOR_LOST", "FAULTED", "REFUSED", "sent again"}
    assert world.restarts > 0
    assert world.state.counts["late_results"] > 0


def test_the_same_seed_is_the_same_run() -> None:
    logs = []
    for _ in range(2):
        world = SimulatedCell(seed=5, submissions=300, rules=rules(), executors=floor())
        world.run()
        logs.append(world.log)
    assert logs[0] == logs[1]
