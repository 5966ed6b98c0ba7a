"""`python -m deploy.local.launch <engine> <state folder> <cache folder>`: heals, prepares and becomes one engine.

The supervisor starts engines only through here, so that a start after any kind of death is the same as the first.
This process is replaced by the engine (exec): the supervisor's child is the engine itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local import docker_engine, kafka_engine, postgres_engine
from deploy.local.folders import Folders, StackRefused
from deploy.local.ports import read_ports

ENGINES = ("kafka", "postgres", "docker")


def engine_argv(engine: str, folders: Folders, cache: Path) -> Sequence[str]:
    """Prepares `engine` for a start and gives its argv.

    Raises:
        StackRefused: it cannot start here.
    """
    ports = read_ports(folders.ports_file)
    match engine:
        case "kafka":
            return kafka_engine.prepare(folders, cache, port=ports["kafka"], controller_port=ports["kafka_controller"])
        case "postgres":
            return postgres_engine.prepare(folders, port=ports["postgres"])
        case "docker":
            return docker_engine.prepare(folders)
        case _:
            raise StackRefused(f"expected one of {', '.join(ENGINES)}, got {engine!r}", advice="see `assize logs`")


def main() -> int:
    """Becomes the engine; returns an exit code only for one that cannot start."""
    engine, state, cache = sys.argv[1:]
    try:
        argv = engine_argv(engine, Folders(state=Path(state)), Path(cache))
    except StackRefused as refusal:
        sys.stderr.write(f"{engine}: {refusal.reason}\n  what to do: {refusal.advice}\n")
        return 2
    sys.stdout.flush()
    os.chdir("/")
    # Replaces this process; from here on the supervisor's child is the engine.
    return os.execv(argv[0] if "/" in argv[0] else f"/usr/bin/{argv[0]}", list(argv))  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
