"""Results files: what was measured, on what, with which command, against which limit."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "results"


def write_results(name: str, *, command: str, figures: Mapping[str, Any], limits: Mapping[str, str]) -> None:
    """Writes `results/<name>.json` and prints it."""
    content = {
        "command": command,
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "limits": dict(limits),
        "figures": dict(figures),
    }
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    _FOLDER.mkdir(exist_ok=True)
    (_FOLDER / f"{name}.json").write_text(text)
    sys.stdout.write(f"{name}\n{text}")


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
