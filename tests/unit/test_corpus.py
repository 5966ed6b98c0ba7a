"""The corpus and the examples keep their own rules: an attack that nothing is expected of would prove nothing."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from examples.pack import PackError, pack_problem, problem_files
from tests import corpus as corpus_module
from tests.corpus import PROBLEMS, VERDICTS, CorpusError, corpus, read_program

EXAMPLES = PROBLEMS.parent
ROWS = {f"A{row}" for row in range(1, 15)} | {f"C{row}" for row in range(1, 5)}


def test_every_verdict_and_every_row_of_attacks_has_programs():
    programs = corpus()
    harmless = Counter(next(iter(program.expected)) for program in programs if not program.row)
    assert set(harmless) == VERDICTS
    assert min(harmless.values()) >= 6
    hostile = [program for program in programs if program.row]
    assert len(hostile) >= 25
    assert {program.row for program in hostile} == ROWS


def test_every_language_is_in_every_harmless_folder():
    seen = {(program.path.parent.name, program.language) for program in corpus() if not program.row}
    assert seen == {(verdict, language) for verdict in VERDICTS for language in ("c", "cpp", "python3", "java")}


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("hostile/bare.c", "int main(void) {}\n", "expect: <verdict>"),
        ("hostile/unknown.c", "// expect: YES, row: A1\n", "expect: <verdict>"),
        ("hostile/rowless.c", "// expect: WA\n", "row: A1"),
        ("AC/plain.rs", "fn main() {}\n", "suffix"),
        ("AC/twice.py", "# expect: WA, row: A1\n", "the folder alone"),
        ("AC/other.py", "# problem: nowhere\n", "examples/problems"),
        ("MAYBE/plain.c", "int main(void) {}\n", "a folder of"),
    ],
)
def test_a_program_without_an_oracle_is_an_error(tmp_path, monkeypatch, name, source, said):
    monkeypatch.setattr(corpus_module, "SUBMISSIONS", tmp_path)
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(source)
    with pytest.raises(CorpusError, match=said):
        read_program(path)


def test_examples_and_their_manifest_name_the_same_programs():
    entries = tomllib.loads((EXAMPLES / "expected.toml").read_text())["program"]
    submissions = EXAMPLES / "submissions"
    on_disk = {path.relative_to(submissions).as_posix() for path in submissions.rglob("*") if path.is_file()}
    assert {entry["file"] for entry in entries} == on_disk
    assert len(entries) == len(on_disk)
    for entry in entries:
        folder = Path(entry["file"]).parts[1]
        assert set(entry["expected"]) <= VERDICTS
        assert folder == "hostile" or entry["expected"] == [folder]
        assert ("row" in entry) == (folder == "hostile")
    assert Counter(entry["door"] for entry in entries).keys() == {"http", "intake"}


@pytest.mark.parametrize("problem", ["addition", "circle", "heavysum"])
def test_a_problem_packs_to_the_same_bytes_and_every_input_has_its_answer(problem):
    folder = PROBLEMS / problem
    assert pack_problem(folder) == pack_problem(folder)
    files = problem_files(folder)
    inputs = {name.removesuffix(".in") for name in files if name.endswith(".in")}
    assert inputs == {name.removesuffix(".ans") for name in files if name.endswith(".ans")}
    assert "generate.py" not in files
    assert {name.split("/")[1] for name in inputs} == {"sample", "secret"}


def test_a_folder_without_a_problem_is_not_packed(tmp_path):
    with pytest.raises(PackError, match=r"problem\.yaml"):
        pack_problem(tmp_path)


def test_a_generator_may_not_leave_the_package(tmp_path):
    (tmp_path / "problem.yaml").write_text("name: x\n")
    (tmp_path / "generate.py").write_text('def generate():\n    return {"../out": b""}\n')
    with pytest.raises(PackError, match="relative paths"):
        pack_problem(tmp_path)
