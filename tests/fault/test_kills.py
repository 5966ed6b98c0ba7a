"""`kill -9` of each part in the middle of work: every accepted submission gets exactly one current verdict."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.conftest import FullStack
from tests.pipeline import EXAMPLES, Doors, recorded_verdicts

SUBMISSIONS = 50
KILL_AFTER = 15
PROGRAMS = (
    ("addition/AC/sum.py", "python3", "AC"),
    ("addition/AC/sum.c", "c", "AC"),
    ("addition/AC/sum.py", "python3", "AC"),
)


@pytest.fixture(scope="module")
def doors(full_stack: FullStack) -> Doors:
    doors = Doors(full_stack=full_stack)
    doors.publish("addition")
    return doors


@pytest.mark.timeout(400)
@pytest.mark.parametrize("program", ["scheduler", "executor", "verdicts", "ingest", "kafka", "postgres"])
def test_hard_stop_in_the_middle_loses_and_doubles_nothing(
    program: str,
    doors: Doors,
    full_stack: FullStack,
    assize: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    expected = {}
    for number in range(SUBMISSIONS):
        path, language, verdict = PROGRAMS[number % len(PROGRAMS)]
        if number == KILL_AFTER:
            doors.stop_hard(program)
        submission = doors.submit_until_taken(
            EXAMPLES / "submissions" / path, language=language, key=f"{program}-{number}-{time.time_ns()}"
        )
        expected[submission] = verdict
    assert len(expected) == SUBMISSIONS

    assert doors.await_verdicts(list(expected), deadline_seconds=240) == expected

    records = list(asyncio.run(recorded_verdicts(full_stack)))
    cursors = [record.cursor for record in records]
    assert cursors == sorted(set(cursors)), "expected each cursor once and in order"
    ours = Counter(record.submission_id for record in records if record.submission_id in expected)
    assert ours == Counter(dict.fromkeys(expected, 1))

    rebuilt = assize("rebuild", "--json", timeout_seconds=120)
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
    assert json.loads(rebuilt.stdout)["equal"] is True
