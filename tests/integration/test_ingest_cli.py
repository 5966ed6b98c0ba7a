"""The command line against ingest alone: what scripts rely on, exit codes above all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.identity import submission_id
from tests.integration.ingest_world import ROOT, TENANT, IngestWorld, own_world, package

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PROGRAM = "print(sum(map(int, input().split())))\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngestWorld]:
    with own_world(tmp_path_factory.mktemp("cli")) as made:
        yield made


@pytest.fixture(scope="module")
def run(world: IngestWorld) -> Iterator[Run]:
    with world.ingest() as service:

        def run(*arguments: str, token: str = "operator", **environment: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "services.cli", *arguments],
                env={
                    "PATH": "/usr/bin:/bin",
                    "PYTHONPATH": str(ROOT),
                    "ASSIZE_STATE_DIR": str(world.folders.state),
                    "ASSIZE_URL": service.url,
                    "ASSIZE_VERDICTS_URL": service.url,
                    "ASSIZE_TOKEN": world.tokens[token],
                    **environment,
                },
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        yield run


@pytest.fixture(scope="module")
def problem(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    archive = tmp_path_factory.mktemp("zip") / "addition.zip"
    archive.write_bytes(package())
    done = run("problem", "add", str(archive), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == "addition"
    return "addition"


def only_object(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def source(folder: Path, name: str = "sum.py", text: str = PROGRAM) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_a_submission_is_told_by_one_object(run, problem, tmp_path):
    done = run("submit", source(tmp_path), "--problem", problem, "--key", "k-1", "--json")
    assert done.returncode == 0, done.stderr
    told = only_object(done)
    assert told["submission_id"] == submission_id(TENANT, "k-1")
    assert told["verdict"] is None
    assert told["runs"] == []
    again = only_object(run("submit", source(tmp_path), "--problem", problem, "--key", "k-1", "--json"))
    assert again["submission_id"] == told["submission_id"]
    assert again["duplicate"]


def test_people_get_words_without_colour_when_it_is_no_terminal(run, problem, tmp_path):
    done = run("submit", source(tmp_path), "--problem", problem)
    assert done.returncode == 0
    assert done.stdout.startswith("submission ")
    assert "\x1b" not in done.stdout


def test_a_refusal_is_exit_1_and_says_both_sides(run, problem, tmp_path):
    done = run("submit", source(tmp_path), "--problem", "nowhere", "--json")
    assert done.returncode == 1
    told = only_object(done)
    assert (told["submission_id"], told["verdict"], told["runs"]) == (None, None, [])
    assert told["refused"]["code"] == "unknown_problem"
    assert "expected a published problem, came 'nowhere'" in done.stderr
    odd = run("submit", source(tmp_path, name="a b.py"), "--problem", problem)
    assert odd.returncode == 1
    assert "bad_file_name" in odd.stderr
    conflict = run("submit", source(tmp_path, text="other"), "--problem", problem, "--key", "k-1")
    run("submit", source(tmp_path), "--problem", problem, "--key", "k-2")
    conflict = run("submit", source(tmp_path, text="other"), "--problem", problem, "--key", "k-2")
    assert conflict.returncode == 1
    assert "conflict" in conflict.stderr
    scope = run("submit", source(tmp_path), "--problem", problem, token="reader")
    assert scope.returncode == 1
    assert "scope submit" in scope.stderr


def test_wrong_usage_is_exit_2(run, tmp_path):
    assert run("submit", source(tmp_path)).returncode == 2
    assert run("submit", str(tmp_path / "missing.py"), "--problem", "x").returncode == 2
    unknown = run("submit", source(tmp_path, name="notes.txt"), "--problem", "x")
    assert unknown.returncode == 2
    assert "--language" in unknown.stderr
    both = run("submit", source(tmp_path, name="a.c"), source(tmp_path, name="b.py"), "--problem", "x")
    assert both.returncode == 2
    assert "c and python3" in both.stderr


def test_no_stack_is_exit_3(run, tmp_path):
    gone = run("submit", source(tmp_path), "--problem", "x", ASSIZE_URL="http://127.0.0.1:9")
    assert gone.returncode == 3
    assert "127.0.0.1:9" in gone.stderr
    nowhere = {
        "ASSIZE_URL": "",
        "ASSIZE_VERDICTS_URL": "",
        "ASSIZE_TOKEN": "",
        "ASSIZE_STATE_DIR": str(tmp_path / "no"),
    }
    none = run("show", "x", **nowhere)
    assert none.returncode == 3
    assert "assize up" in none.stderr


def test_problems_are_added_from_folders_and_listed(run, tmp_path):
    folder = tmp_path / "square"
    (folder / "data/secret").mkdir(parents=True)
    (folder / "data/sample").mkdir()
    (folder / "problem.yaml").write_text("problem_format_version: 2025-09\nname: Square\nlimits:\n  time_limit: 2.0\n")
    for group, number in (("sample", 2), ("secret", 3)):
        (folder / f"data/{group}/1.in").write_text(f"{number}\n")
        (folder / f"data/{group}/1.ans").write_text(f"{number**2}\n")
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("secret")
    (folder / "link").symlink_to("/etc/passwd")
    first = only_object(run("problem", "add", str(folder), "--json"))
    again = only_object(run("problem", "add", f"{folder}/", "--json"))
    assert first == again
    assert (first["id"], first["test_count"]) == ("square", 2)
    listed = only_object(run("problem", "list", "--json"))["problems"]
    assert "square" in {view["id"] for view in listed}
    assert "Square" in run("problem", "list").stdout
    (folder / "problem.yaml").write_text("problem_format_version: 2025-09\nname: x\nlimits:\n  time_limit: .nan\n")
    refused = run("problem", "add", str(folder), "--id", "other")
    assert refused.returncode == 1
    assert "bad_limit" in refused.stderr
    assert run("problem", "add", str(tmp_path)).returncode == 2
    assert run("problem", "add", str(folder), "--id", "../../x").returncode == 1


def test_contests_are_registered_and_listed(run):
    times = ("--starts", "2026-01-01T00:00:00Z", "--ends", "2026-01-02T00:00:00Z")
    made = only_object(run("contest", "add", "spring", "--name", "Spring", "--class", "final", *times, "--json"))
    assert (made["id"], made["priority_class"]) == ("spring", "CONTEST_FINAL")
    assert "Spring" in run("contest", "list").stdout
    assert run("contest", "add", "x", "--starts", "now", "--ends", "2026-01-02T00:00:00Z").returncode == 1
    assert run("contest", "add", "x", "--class", "urgent", *times).returncode == 2


def test_languages_are_listed(run):
    views = only_object(run("languages", "--json"))["languages"]
    assert {"c", "cpp", "java", "python3"} <= {view["id"] for view in views}
    assert ".py" in run("languages").stdout


def test_a_token_works_at_once_and_only_its_hash_is_kept(run, world):
    made = only_object(
        run("token", "create", "script", "--tenant", TENANT, "--scope", "submit", "--scope", "read", "--json")
    )
    assert made["scopes"] == ["read", "submit"]
    assert run("languages", ASSIZE_TOKEN=made["token"]).returncode == 0
    assert made["token"] not in world.folders.tokens_file.read_text()
    listed = run("token", "list", "--json")
    assert {"name": "script", "tenant": TENANT, "scopes": ["read", "submit"]} in only_object(listed)["tokens"]
    assert "sha256" not in listed.stdout
    assert run("token", "create", "script", "--tenant", "../x", "--scope", "read").returncode == 2
    assert run("token", "create", "script", "--scope", "everything").returncode == 2
    assert run("languages", ASSIZE_TOKEN="assize_wrong").returncode == 1


def test_completion_is_offered(run):
    done = run(_ASSIZE_COMPLETE="bash_complete", COMP_WORDS="assize sub", COMP_CWORD="1")
    assert "submit" in done.stdout
