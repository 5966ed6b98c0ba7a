"""`assize problem add` and `assize problem list`."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

import click

from services.cli.client import open_client, segment
from services.cli.terminal import cell, console, mebibytes, milliseconds, print_json, table

_GENERATOR: Final = "generate.py"
_UPLOAD_SECONDS: Final = 300.0
_EARLIEST_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
_REGULAR_0644: Final = 0o100644 << 16


@click.group("problem")
def problem() -> None:
    """Add and list problem packages (Kattis/ICPC format)."""


@problem.command("add")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--id", "problem_id", metavar="ID", help="Problem id; by default the name of the folder or zip.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def add(*, path: Path, problem_id: str | None, as_json: bool) -> None:
    """Publish the package in PATH, a folder or a zip. The same content again changes nothing.

    Exit codes: 0 published, 1 refused, 2 wrong usage, 3 no stack to talk to.
    """
    path = path.resolve()
    archive = pack_folder(path) if path.is_dir() else path.read_bytes()
    name = problem_id or (path.name if path.is_dir() else path.stem)
    with open_client() as client:
        view = client.ingest(
            "PUT",
            f"/v1/problems/{segment(name)}",
            content=archive,
            headers={"content-type": "application/zip"},
            timeout=_UPLOAD_SECONDS,
        )
    if as_json:
        print_json(view)
    else:
        console().print(
            cell(f"{view['id']}: {view['name']}, {view['test_count']} tests, version {view['version'][:19]}…")
        )


@problem.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def list_problems(*, as_json: bool) -> None:
    """The problems of your tenant in their current version."""
    with open_client() as client:
        views = client.ingest("GET", "/v1/problems")
    if as_json:
        print_json({"problems": views})
        return
    lines = table("problem", "name", "tests", "time", "memory", "version", right=("tests", "time", "memory"))
    for view in views:
        lines.add_row(
            cell(view["id"]),
            cell(view["name"]),
            str(view["test_count"]),
            milliseconds(view["cpu_time_limit_ns"]),
            mebibytes(view["memory_limit_bytes"]),
            view["version"][:19] + "…",
        )
    console().print(lines)


def pack_folder(folder: Path) -> bytes:
    """The package of a folder; equal folders give equal bytes. Links and hidden files stay out.

    A folder whose tests are made by a `generate.py` is packed as the examples are, which runs that program.

    Raises:
        click.UsageError: there is no problem.yaml in it.
    """
    if not (folder / "problem.yaml").is_file():
        raise click.UsageError(f"expected problem.yaml in {folder}, came none")
    if (folder / _GENERATOR).is_file():
        from examples.pack import pack_problem

        return pack_problem(folder)
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name, date_time=_EARLIEST_ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = _REGULAR_0644
            archive.writestr(entry, (folder / name).read_bytes())
    return out.getvalue()
