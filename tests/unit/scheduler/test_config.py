"""The files and settings of the scheduler: what is taken, and what is refused with what was expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.errors import PoisonEvent
from schemas.events import CapacityReported, IdleReserveRule, SchedulerSnapshotTaken
from schemas.identity import digest
from services.chassis.faults import StartRefused
from services.scheduler.config import SchedulerSettings, read_images, read_policy
from services.scheduler.core.rules import Image
from services.scheduler.core.snapshot import restore, take_snapshot
from tests.unit.scheduler.builders import Desk, capacity, policy, rules


def settings(**values: str) -> SchedulerSettings:
    given = {"ASSIZE_KAFKA_BOOTSTRAP": "127.0.0.1:1", **values}
    return SchedulerSettings.from_environment(given)


def test_a_missing_images_file_is_no_images_yet(tmp_path: Path) -> None:
    assert read_images(tmp_path / "images.json") == {}


def test_images_are_read(tmp_path: Path) -> None:
    path = tmp_path / "images.json"
    path.write_text(json.dumps({"cpp": {"image": "assize/cpp", "digest": digest(b"cpp")}}))
    assert read_images(path) == {"cpp": Image(image="assize/cpp", digest=digest(b"cpp"))}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"cpp": "x"}', '{"cpp": {"image": "x"}}', '{"cpp": {"image": "x", "digest": "1"}}']
)
def test_a_broken_images_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "images.json"
    path.write_text(text)
    with pytest.raises(StartRefused, match="expected"):
        read_images(path)


def test_a_policy_is_read_from_toml_and_json(tmp_path: Path) -> None:
    toml, plain = tmp_path / "policy.toml", tmp_path / "policy.json"
    toml.write_text('[java]\nreserved = 2\nmax = 4\nidle_reserve = "LENT"\n')
    plain.write_text(json.dumps({"java": {"reserved": 2, "max": 4, "idle_reserve": "LENT"}}))
    (pool,) = read_policy(toml)
    assert (pool.language, pool.reserved, pool.max_slots, pool.idle_reserve) == ("java", 2, 4, IdleReserveRule.LENT)
    assert read_policy(plain) == (pool,)


@pytest.mark.parametrize(
    "entry", ["reserved = 5\nmax = 4", "reserved = -1", 'reserved = "2"', "slots = 2", 'idle_reserve = "SOFT"']
)
def test_a_policy_that_cannot_be_followed_refuses_the_start(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f"[java]\n{entry}\n")
    with pytest.raises(StartRefused):
        settings(ASSIZE_SCHEDULER_POLICY_FILE=str(path)).rules(0, {})


def test_settings_become_rules() -> None:
    given = settings(ASSIZE_SCHEDULER_EXECUTOR_SILENCE_MS="5000", ASSIZE_SCHEDULER_QUEUE_BOUND="7").rules(3, {})
    assert (given.cell, given.executor_silence_us, given.queue_bound) == (3, 5_000_000, 7)


def test_rules_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="attempts_max"):
        rules(attempts_max=0)
    with pytest.raises(ValueError, match="empty"):
        rules(pools=(policy(""),))
    with pytest.raises(ValueError, match="sha256"):
        Image(image="x", digest="latest")


def test_a_snapshot_of_another_format_or_damaged_is_refused() -> None:
    desk = Desk()
    taken = take_snapshot(desk.state, now_us=1).event
    assert isinstance(taken, SchedulerSnapshotTaken)
    for changes, code in (({"format": 2}, "snapshot_format"), ({"state": b"damage"}, "bad_snapshot")):
        fields = {name: getattr(taken, name) for name in SchedulerSnapshotTaken.__dataclass_fields__}
        with pytest.raises(PoisonEvent) as raised:
            restore(SchedulerSnapshotTaken(**fields | changes), concluded_kept=1)
        assert raised.value.code == code


def test_a_report_of_another_cell_is_not_heard() -> None:
    desk = Desk(rules(cell=0))
    report = capacity("alpha", 1)
    fields = {name: getattr(report, name) for name in CapacityReported.__dataclass_fields__}
    assert desk.take(CapacityReported(**fields | {"cell": 1})) == []
    assert desk.state.counts["foreign_reports"] == 1
