"""Packs a problem folder into the zip that the problem door takes; equal folders give equal bytes.

Equal bytes matter because a problem version is named by its content: packing twice must not make a second version.
So names are sorted, times and modes are fixed, and nothing of the machine goes in. A folder may hold `generate.py`
with `generate() -> dict[str, bytes]`, which makes tests too large for a repository; the file itself stays out.
"""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

GENERATOR: Final = "generate.py"
_EARLIEST_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
_REGULAR_0644: Final = 0o100644 << 16
_UNIX: Final = 3
_COMPRESSION_LEVEL: Final = 6


class PackError(ValueError):
    """The folder is no problem that could be packed."""


def pack_problem(folder: Path) -> bytes:
    """The problem package of a folder as a zip file.

    Raises:
        PackError: no `problem.yaml`, or a generator that does not keep its contract.
    """
    files = problem_files(folder)
    if "problem.yaml" not in files:
        raise PackError(f"expected {folder} to hold problem.yaml, came {sorted(files)[:10]}")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, date_time=_EARLIEST_ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = _REGULAR_0644
            info.create_system = _UNIX
            package.writestr(info, files[name], compresslevel=_COMPRESSION_LEVEL)
    return out.getvalue()


def problem_files(folder: Path) -> dict[str, bytes]:
    """Every file of the package by its path in it, generated ones included.

    Raises:
        PackError: the generator does not keep its contract.
    """
    if not folder.is_dir():
        raise PackError(f"expected a problem folder, came {folder}")
    written = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path != folder / GENERATOR and "__pycache__" not in path.parts
    }
    if not (folder / GENERATOR).exists():
        return written
    generated = _generated(folder / GENERATOR)
    twice = written.keys() & generated.keys()
    if twice:
        raise PackError(f"expected {GENERATOR} to make new files only, came also {sorted(twice)}")
    return written | generated


def _generated(generator: Path) -> dict[str, bytes]:
    module_spec = importlib.util.spec_from_file_location(f"problem_generator_{generator.parent.name}", generator)
    if module_spec is None or module_spec.loader is None:
        raise PackError(f"expected a Python module, came {generator}")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    generate: Callable[[], dict[str, bytes]] | None = getattr(module, "generate", None)
    if generate is None:
        raise PackError(f"expected {generator} to define generate(), came a module without it")
    files = generate()
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not isinstance(content, bytes):
            raise PackError(
                f"expected relative paths and bytes of {generator}, came {name!r}: {type(content).__name__}"
            )
    return files
