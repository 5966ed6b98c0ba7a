"""The command line's own manners: help, unknown names, and what a script can rely on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.cli.__main__ import main


def test_help_names_every_command_without_importing_any() -> None:
    program = "import sys; from services.cli.__main__ import main\n"
    program += "try: main(['--help'])\nexcept SystemExit: pass\n"
    program += "print([name for name in sys.modules if name.startswith('services.cli.commands.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")
    for name in ("up", "down", "status", "logs", "doctor", "submit", "demo"):
        assert f"\n  {name} " in done.stdout


def test_every_command_of_the_table_is_there_and_explains_itself() -> None:
    import click

    assert isinstance(main, click.Group)
    for name in main.list_commands(click.Context(main)):
        shown = CliRunner().invoke(main, [name, "--help"])
        assert shown.exit_code == 0, (name, shown.output)
        assert "Usage:" in shown.output


def test_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["nope"]).exit_code == 2


@pytest.mark.parametrize("command", [["status"], ["logs", "kafka"]])
def test_without_a_stack_a_command_says_what_to_do(tmp_path: Path, command: list[str]) -> None:
    shown = CliRunner().invoke(main, command, env={"ASSIZE_STATE_DIR": str(tmp_path)})
    assert shown.exit_code == 1
    assert "what to do:" in shown.output
    assert "assize up" in shown.output


def test_wrong_setting_is_explained(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["status"], env={"ASSIZE_STATE_DIR": str(tmp_path), "ASSIZE_CELL_COUNT": "NaN"})
    assert shown.exit_code == 1
    assert "ASSIZE_CELL_COUNT must be a number from 1 to 1024, got 'NaN'" in shown.output


def test_down_where_nothing_was_ever_started_is_quiet_success(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["down"], env={"ASSIZE_STATE_DIR": str(tmp_path / "never")})
    assert shown.exit_code == 0
    assert shown.output == "stopped\n"
