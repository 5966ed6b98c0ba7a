"""The corpus: the folder is the oracle for honest programs, the first line for hostile ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import FullStack
from tests.corpus import CorpusProgram, corpus
from tests.pipeline import EXAMPLES, Doors

PROGRAMS = [pytest.param(program, id=f"{program.path.parent.name}/{program.path.name}") for program in corpus()]


@pytest.fixture(scope="module")
def doors(full_stack: FullStack) -> Doors:
    doors = Doors(full_stack=full_stack)
    for problem in ("addition", "circle"):
        doors.publish(problem)
    return doors


@pytest.fixture(scope="module")
def submitted(doors: Doors) -> dict[CorpusProgram, str]:
    """Everything goes in at once; the queue is the pipeline's business."""
    taken = {}
    for program in corpus():
        response = doors.submit(program.path, problem=program.problem, language=program.language)
        assert response.status_code == 202, f"{program.path.name}: {response.text}"
        taken[program] = response.json()["submission_id"]
    return taken


@pytest.mark.timeout(900)
@pytest.mark.parametrize("program", PROGRAMS)
def test_program_gets_its_verdict(program: CorpusProgram, submitted: dict[CorpusProgram, str], doors: Doors) -> None:
    verdict = doors.await_verdicts([submitted[program]], deadline_seconds=600)[submitted[program]]
    found = doors.read(submitted[program])
    assert found is not None
    assert verdict in program.expected, found["judgements"]
    if program.row:
        assert verdict != "JE"


@pytest.mark.timeout(900)
def test_nothing_of_the_corpus_lives_on(
    submitted: dict[CorpusProgram, str], doors: Doors, full_stack: FullStack
) -> None:
    """After the last verdict no process of a submission runs in any sandbox of this stack."""
    doors.await_verdicts(list(submitted.values()), deadline_seconds=600)
    assert [line for line in _command_lines(full_stack.folders.tag) if "/box/" in line] == []


def _command_lines(tag: str) -> list[str]:
    """What runs in the stack's control groups."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"/{tag}" in (process / "cgroup").read_text():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.timeout(120)
def test_the_next_submission_after_a_bomb_is_judged(doors: Doors) -> None:
    bomb = doors.submit(EXAMPLES / "submissions/addition/hostile/fork_bomb.c", language="c").json()["submission_id"]
    after = doors.submit(EXAMPLES / "submissions/addition/AC/sum.cpp", language="cpp").json()["submission_id"]
    verdicts = doors.await_verdicts([bomb, after], deadline_seconds=100)
    assert verdicts[after] == "AC"
    assert verdicts[bomb] in {"TLE", "RTE", "WA"}
