"""Preflight's table: a limit holds only when it was seen to hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.executor.core.ports import Ending, Kept, Limit, RunOutcome
from services.executor.core.preflight import (
    EXCEEDINGS,
    LIMITS,
    Exceeding,
    Finding,
    PreflightReport,
    emptiness,
    report_document,
    tried,
    untried,
)

WELL = RunOutcome(
    ending=Ending.EXITED,
    exit_code=0,
    signal=None,
    limit_expired=Limit.NONE,
    cpu_time_ns=1_000_000,
    wall_time_ns=1_000_000,
    memory_peak_bytes=0,
    stdout=b"",
    stdout_length_bytes=0,
    stderr=Kept(head=b"", tail=b"", length_bytes=0),
    stopped_processes=0,
    runnable_wait_ns=0,
    refused_calls=0,
)
PRIVILEGES = (
    b"uids 10001 10001 10001 groups 0\nCapInh:\t0\nCapPrm:\t0\nCapEff:\t0\nCapBnd:\tc1\nCapAmb:\t0\nNoNewPrivs:\t1\n"
    b"Seccomp:\t2\n"
)
HELD: dict[str, dict[str, object]] = {
    "memory": {"limit_expired": Limit.MEMORY, "ending": Ending.STOPPED_BY_LIMIT, "memory_peak_bytes": 32 << 20},
    "processes": {"stdout": b"15\n"},
    "work_bytes": {"stdout": b"4194304 No space left on device\n"},
    "work_inodes": {"stdout": b"63 No space left on device\n"},
    "temporary_bytes": {"stdout": b"4194304 No space left on device\n"},
    "temporary_inodes": {"stdout": b"63 No space left on device\n"},
    "output": {"limit_expired": Limit.OUTPUT, "stdout": b"x" * LIMITS.output_limit_bytes},
    "cpu_time": {"limit_expired": Limit.CPU_TIME, "ending": Ending.STOPPED_BY_LIMIT, "cpu_time_ns": 300_100_000},
    "wall_time": {"limit_expired": Limit.WALL_TIME, "ending": Ending.STOPPED_BY_LIMIT, "wall_time_ns": 200_100_000},
    "network": {"stdout": b"interface:lo \n"},
    "system_calls": {"stdout": b"\n"},
    "file_system": {"stdout": b"/work\n/tmp\n"},
    "privileges": {"stdout": PRIVILEGES},
    "descriptors": {"stdout": b"0 1 2 \n"},
    "leftovers": {"stopped_processes": 1},
    "fresh_run": {"stdout": b"\n"},
}
BROKEN: list[tuple[str, dict[str, object]]] = [
    ("memory", {"stdout": b"held 67108864\n"}),
    ("memory", {**HELD["memory"], "memory_peak_bytes": 64 << 20}),
    ("memory", {**HELD["memory"], "memory_peak_bytes": 0}),
    ("processes", {"stdout": b"32\n"}),
    ("processes", {"stdout": b"14\n"}),
    ("work_bytes", {"stdout": b"8388608 written\n"}),
    ("work_bytes", {"stdout": b"0 Permission denied\n"}),
    ("work_inodes", {"stdout": b"128 made\n"}),
    ("output", {"stdout": b"x" * LIMITS.output_limit_bytes}),
    ("cpu_time", {**HELD["cpu_time"], "cpu_time_ns": 1_900_000_000}),
    ("cpu_time", {**HELD["cpu_time"], "limit_expired": Limit.WALL_TIME}),
    ("wall_time", {**HELD["wall_time"], "wall_time_ns": 100_000_000}),
    ("network", {"stdout": b"unix interface:lo \n"}),
    ("network", {"stdout": b"interface:lo interface:eth0 \n"}),
    ("system_calls", {"stdout": b"io_uring_setup \n"}),
    ("system_calls", {"stdout": b"ptrace:untried \n"}),
    ("file_system", {"stdout": b"/work\n/tmp\n/dev/shm\n"}),
    ("file_system", {"stdout": b""}),
    ("privileges", {"stdout": PRIVILEGES.replace(b"CapEff:\t0", b"CapEff:\t1")}),
    ("privileges", {"stdout": PRIVILEGES.replace(b"10001", b"0")}),
    ("privileges", {"stdout": PRIVILEGES.replace(b"Seccomp:\t2", b"Seccomp:\t0")}),
    ("privileges", {"stdout": PRIVILEGES.replace(b"groups 0", b"groups 1")}),
    ("privileges", {"stdout": b""}),
    ("descriptors", {"stdout": b"0 1 2 30 \n"}),
    ("leftovers", {}),
    ("fresh_run", {"stdout": b"process:7 \n"}),
    ("fresh_run", {"stdout": b"", "exit_code": 1}),
]


def exceeding(limit: str) -> Exceeding:
    return next(each for each in EXCEEDINGS if each.limit == limit)


def findings(**changes: Finding) -> tuple[Finding, ...]:
    held = [tried(each, replace(WELL, **HELD[each.limit]), elapsed_ms=1.0) for each in EXCEEDINGS]
    return tuple(changes.get(each.limit, each) for each in [*held, emptiness(1, elapsed_ms=0.0)])


def report(**changes: Finding) -> PreflightReport:
    return PreflightReport(image_digest="sha256:0", isolation="container", findings=findings(**changes))


@pytest.mark.parametrize("limit", HELD)
def test_limit_that_was_seen_to_hold_holds(limit: str) -> None:
    found = tried(exceeding(limit), replace(WELL, **HELD[limit]), elapsed_ms=1.0)
    assert found.held, found.seen


@pytest.mark.parametrize(("limit", "outcome"), BROKEN)
def test_anything_else_does_not_hold(limit: str, outcome: dict[str, object]) -> None:
    found = tried(exceeding(limit), replace(WELL, **outcome), elapsed_ms=1.0)
    assert not found.held
    assert found.seen


@pytest.mark.parametrize("limit", HELD)
def test_no_limit_holds_by_a_run_that_was_not_started(limit: str) -> None:
    lost = replace(WELL, ending=Ending.NOT_STARTED, exit_code=None)
    assert not tried(exceeding(limit), lost, elapsed_ms=1.0).held


def test_report_holds_when_every_limit_was_tried_and_held() -> None:
    assert report().holds
    assert report().reason == ""
    assert report_document(report())["holds"] is True


def test_report_with_one_broken_limit_does_not_hold_and_names_it() -> None:
    broken = report(memory=untried(exceeding("memory"), "the runner ended", elapsed_ms=1.0))
    assert not broken.holds
    assert broken.reason == "memory: expected MEMORY at the limit, saw the runner ended"


def test_report_that_left_out_a_limit_does_not_hold() -> None:
    short = replace(report(), findings=findings()[:-1])
    assert not short.holds
    assert short.reason == "not every limit was tried"
    assert not report(emptiness=emptiness(2, elapsed_ms=0.0)).holds


def test_digest_names_what_was_seen_and_not_how_long_it_took() -> None:
    slower = replace(report(), findings=tuple(replace(each, elapsed_ms=99.0) for each in findings()))
    assert slower.digest == report().digest
    assert report(emptiness=emptiness(2, elapsed_ms=0.0)).digest != report().digest
