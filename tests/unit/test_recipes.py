"""Recipes: what is read, what is refused, and the argv they give."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.images.recipe import (
    MEBIBYTE,
    RecipeError,
    compile_argv,
    entry_objection,
    load_recipes,
    parse_recipe,
    recipe_digest,
    run_argv,
    source_names,
)

SMALL = """
id = "x"
name = "X"
suffixes = [".x"]
packages = ["x-compiler"]
version_probe = ["/usr/bin/x", "--version"]
[compile]
argv = ["/usr/bin/x", "-o", "/box/program", "{sources}"]
cpu_time_limit_ms = 1000
wall_time_limit_ms = 2000
memory_limit_mib = 256
process_limit = 4
output_limit_kib = 64
[run]
argv = ["/box/program", "--heap={memory_mib}"]
extra_memory_mib = 10
"""


def test_four_languages_are_there_by_their_ccs_ids() -> None:
    assert list(load_recipes()) == ["c", "cpp", "java", "python3"]


def test_units_are_converted() -> None:
    recipe = parse_recipe("x", SMALL)
    assert recipe.compile.cpu_time_limit_ns == 1_000_000_000
    assert recipe.compile.memory_limit_bytes == 256 * MEBIBYTE
    assert recipe.extra_memory_bytes == 10 * MEBIBYTE
    assert recipe.sandbox_memory_bytes(100) == 100 + 10 * MEBIBYTE
    assert recipe.sandbox_processes(3) == 3


def test_environment_is_complete_and_sorted() -> None:
    environment = dict(load_recipes()["python3"].environment)
    assert environment["PYTHONHASHSEED"] == "0"
    assert {"PATH", "HOME", "LANG"} <= environment.keys()
    assert list(load_recipes()["python3"].environment) == sorted(environment.items())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id = "x"', 'id = "y"', r"id must be the file's stem 'x', not 'y'"),
        ('id = "x"', "", r"id is missing"),
        ('name = "X"', 'name = "X"\ncolour = "red"', r"unknown colour; known here: .*suffixes"),
        ('[".x"]', "[]", r"suffixes must be a list of at least one string, got \[\]"),
        ('[".x"]', '["x"]', r"suffixes must match .*, got 'x'"),
        ('["x-compiler"]', '["x; rm -rf /"]', r"packages must match"),
        ('["/usr/bin/x", "--version"]', '["x"]', r"version_probe: the program must be an absolute path, got 'x'"),
        ("1000", "0", r"cpu_time_limit_ms must be an integer from 100 to 600000, got 0"),
        ("1000", "nan", r"cpu_time_limit_ms must be an integer .*, got nan"),
        ("1000", "true", r"cpu_time_limit_ms must be an integer .*, got True"),
        ("= 256", "= -1", r"memory_limit_mib must be an integer"),
        ('"{sources}"]', '"a{sources}"]', r"\{sources\} must be an argument on its own"),
        (', "{sources}"]', "]", r"expected the argument '\{sources\}' on its own"),
        ("{memory_mib}", "{memory}", r"may use only \['entry', 'entry_class', 'memory_mib'\]"),
        ("{memory_mib}", "{", r"may use only"),
        ("extra_memory_mib = 10", "out_of_memory_signal = 99", r"out_of_memory_signal must be an integer from 1 to"),
        ('name = "X"', 'name = "X"\nentry_pattern = "("', r"entry_pattern must be a regular expression"),
        ("[run]", "[run.environment]\nlower = '1'\n[run]", r"expected a name like LANG, got 'lower'|expected TOML"),
        ("[compile]", "[compile", r"expected TOML"),
    ],
)
def test_wrong_recipe_is_refused_by_name(old: str, new: str, message: str) -> None:
    assert old in SMALL
    with pytest.raises(RecipeError, match=message):
        parse_recipe("x", SMALL.replace(old, new, 1))


def test_sources_are_absolute_so_that_no_name_is_an_option() -> None:
    argv = compile_argv(load_recipes()["c"], file_names=["-o.c", "@x.c", "data.txt"], entry="@x.c")
    assert "/box/-o.c" in argv
    assert "/box/@x.c" in argv
    assert not any("data.txt" in part for part in argv)


def test_a_file_named_like_a_placeholder_is_not_filled_again() -> None:
    recipe = load_recipes()["python3"]
    assert run_argv(recipe, entry="{memory_mib}.py", memory_limit_bytes=1 << 30)[-1] == "/box/{memory_mib}.py"


def test_java_runs_the_class_of_its_entry_with_the_problems_memory_as_heap() -> None:
    recipe = load_recipes()["java"]
    argv = run_argv(recipe, entry="Solution.java", memory_limit_bytes=recipe.sandbox_memory_bytes(512 * MEBIBYTE))
    assert argv[-1] == "Solution"
    assert "-Xmx512m" in argv


@pytest.mark.parametrize("entry", ["-version.java", "a/B.java", "Main.jar", "Main", "", "Ma in.java", "Main.java\n"])
def test_entry_that_java_would_take_for_something_else_is_refused(entry: str) -> None:
    recipe = load_recipes()["java"]
    assert entry_objection(recipe, entry) is not None
    with pytest.raises(RecipeError, match="must match"):
        run_argv(recipe, entry=entry, memory_limit_bytes=1 << 30)


def test_memory_below_what_the_runtime_needs_is_refused() -> None:
    recipe = load_recipes()["java"]
    with pytest.raises(RecipeError, match=r"expected a memory limit above \d+ bytes"):
        run_argv(recipe, entry="Main.java", memory_limit_bytes=recipe.extra_memory_bytes)


def test_submission_without_a_source_of_the_language_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"expected a file ending in \.c, got \['main\.py'\]"):
        source_names(load_recipes()["c"], ["main.py"])


def test_digest_follows_what_lies_in_the_image_and_nothing_else() -> None:
    recipe = parse_recipe("x", SMALL)
    assert recipe_digest(recipe) == recipe_digest(parse_recipe("x", SMALL.replace("= 1000", "= 1001")))
    assert recipe_digest(recipe) != recipe_digest(parse_recipe("x", SMALL.replace("x-compiler", "y-compiler")))


@given(st.text(min_size=1, max_size=40))
def test_every_argument_of_any_accepted_entry_is_one_argument(stem: str) -> None:
    for recipe in load_recipes().values():
        entry = stem + recipe.suffixes[0]
        if entry_objection(recipe, entry) is not None:
            continue
        assert "/" not in entry
        assert "\x00" not in entry
        argv = compile_argv(recipe, file_names=[entry], entry=entry)
        assert len(argv) == len(recipe.compile.argv)
        assert argv.count(f"/box/{entry}") == 1
        assert len(run_argv(recipe, entry=entry, memory_limit_bytes=1 << 30)) == len(recipe.run_argv)


def test_every_program_is_absolute() -> None:
    for recipe in load_recipes().values():
        for argv in (recipe.compile.argv, recipe.run_argv, recipe.version_probe):
            assert re.fullmatch(r"/[\w./+-]+", argv[0])
