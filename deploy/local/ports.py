"""Loopback ports of a stack: picked free once, then kept in `run/ports.json` for as long as nobody else took them.

They are picked below the kernel's ephemeral range (32768 up by default). Inside it, a client that reconnects to a
server that is just being restarted can be given that very port as its own end, and the server never gets it back.
"""

from __future__ import annotations

import json
import socket
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from deploy.local.files import write_atomically

_LOWEST: Final = 21_000
_COUNT: Final = 9_000


def keep_ports(path: Path, names: Collection[str]) -> Mapping[str, int]:
    """The port of each name: the one kept in `path` while it is free to bind, else a fresh one.

    Call it only while nothing of the stack listens: a port in use counts as somebody else's.
    """
    kept = read_ports(path)
    fresh = _candidates(path)
    taken: dict[str, int] = {}
    held: list[socket.socket] = []
    try:
        for name in sorted(names):
            listener = _bind(kept[name]) if name in kept else None
            if listener is not None:
                held.append(listener)
                taken[name] = kept[name]
        # Only now, when all that can be kept is held: a fresh port must not be another's kept one.
        for name in sorted(set(names) - taken.keys()):
            listener = next((bound for port in fresh if (bound := _bind(port)) is not None), None)
            if listener is None:
                raise OSError(f"expected a free loopback port from {_LOWEST} to {_LOWEST + _COUNT - 1}, found none")
            held.append(listener)
            taken[name] = int(listener.getsockname()[1])
    finally:
        for listener in held:
            listener.close()
    write_atomically(path, json.dumps(taken, indent=1, sort_keys=True) + "\n", mode=0o644)
    return taken


def read_ports(path: Path) -> Mapping[str, int]:
    """The ports kept in `path`; none if the file is missing or torn."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {str(name): port for name, port in content.items() if isinstance(port, int) and 0 < port < 65536}


def _candidates(path: Path) -> Iterator[int]:
    # Stacks of different folders start at different places, so that they seldom meet.
    start = zlib.crc32(str(path).encode())
    return (_LOWEST + (start + step) % _COUNT for step in range(_COUNT))


def _bind(port: int) -> socket.socket | None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # As the servers themselves do: without it a port in TIME_WAIT would count as taken.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(1)
    except OSError:
        listener.close()
        return None
    return listener
