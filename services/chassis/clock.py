"""The clock of a process: the one home of time and randomness. Cores get both as arguments."""

from __future__ import annotations

import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """Wall time for facts, monotonic time for waiting."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""

    def monotonic_ns(self) -> int: ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


def random_id() -> str:
    """A random UUID, for what must differ at each start (an incarnation)."""
    return str(uuid.uuid4())
