"""The command line against the whole stack: waiting on pushed verdicts, showing and watching them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.integration.ingest_world import package

Assize = Callable[..., "CompletedProcess[str]"]
RIGHT = "print(sum(map(int, input().split())))\n"


@pytest.fixture(scope="module")
def problem(assize: Assize, tmp_path_factory: pytest.TempPathFactory) -> str:
    name = f"cli-{uuid.uuid4().hex[:8]}"
    archive = tmp_path_factory.mktemp("zip") / f"{name}.zip"
    archive.write_bytes(package())
    done = assize("problem", "add", str(archive))
    assert done.returncode == 0, done.stderr
    return name


def source(folder: Path, text: str, name: str = "sum.py") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_wait_gives_the_verdict_and_its_runs(assize, problem, tmp_path):
    done = assize("submit", source(tmp_path, RIGHT), "--problem", problem, "--wait", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] == "AC"
    assert told["status"] == "judged"
    assert [(run["test"], run["verdict"]) for run in told["runs"]] == [("sample/1", "AC"), ("secret/1", "AC")]
    assert all(run["cpu_time_ns"] > 0 and run["memory_peak_bytes"] > 0 for run in told["runs"])
    shown = assize("show", told["submission_id"], "--json")
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["runs"] == told["runs"]
    words = assize("show", told["submission_id"], "--source")
    assert "JudgementConcluded" in words.stdout
    assert RIGHT.strip() in words.stdout
    assert "\x1b" not in words.stdout


def test_expect_is_what_a_script_asks(assize, problem, tmp_path):
    wrong = source(tmp_path, "print(0)\n", "wrong.py")
    assert assize("submit", wrong, "--problem", problem, "--expect", "WA").returncode == 0
    other = assize("submit", wrong, "--problem", problem, "--expect", "AC")
    assert other.returncode == 1
    assert "expected AC, came WA" in other.stderr


def test_compiler_output_is_shown_and_never_interpreted(assize, problem, tmp_path):
    broken = source(tmp_path, '#error "\x1b[2J\x1b]0;gone\x07"\n', "broken.c")
    done = assize("submit", broken, "--problem", problem, "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("CE")
    assert "\x1b" not in done.stdout


def test_too_late_is_exit_4(assize, problem, tmp_path):
    began = time.monotonic()
    done = assize("submit", source(tmp_path, RIGHT), "--problem", problem, "--wait", "--timeout", "0.1", "--json")
    assert done.returncode == 4
    assert time.monotonic() - began < 30
    assert json.loads(done.stdout)["verdict"] is None


def test_watch_shows_what_is_pushed_from_a_cursor_on(assize, problem, tmp_path):
    team = f"team-{uuid.uuid4().hex[:8]}"
    for _ in range(2):
        assert assize("submit", source(tmp_path, RIGHT), "--problem", problem, "--team", team, "--wait").returncode == 0
    done = assize("watch", "--after", "0", "--team", team, "--count", "2", "--json")
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["team"], line["verdict"]) for line in lines] == [(team, "AC")] * 2
    assert lines[0]["cursor"] < lines[1]["cursor"]
    words = assize("watch", "--after", "0", "--team", team, "--count", "1")
    assert " AC " in words.stdout


def test_unknown_submission_and_pools(assize):
    unknown = assize("show", str(uuid.uuid4()))
    assert unknown.returncode == 1
    assert "expected a submission of your tenant" in unknown.stderr
    assert assize("show", "../../x").returncode == 1
    pools = json.loads(assize("pools", "--json").stdout)
    assert pools["executors"]
    words = assize("pools").stdout
    assert "python3" in words
    assert "cell 0" in words
