"""Telling a person what goes on: what, how far, how long. Lines without a terminal, a living line on one.

Long steps report from the thread that does them; a ticking thread redraws the elapsed time, so that a step that hangs
is seen to hang.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

_REDRAW_SECONDS: Final = 0.5
_REMIND_SECONDS: Final = 15.0

Report = Callable[[str], None]
"""Tells how far the current step is, in a few words."""


class Progress:
    """Writes the steps of one command to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        """Writes a line of its own."""
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    @contextmanager
    def step(self, name: str) -> Iterator[Report]:
        """Shows a step while the body runs, and how long it took; a failing body says so and raises on."""
        began = time.monotonic()
        detail = [""]
        over = threading.Event()
        ticking = threading.Thread(target=self._tick, args=(name, began, detail, over), daemon=True)
        ticking.start()
        outcome = "failed after"
        try:
            yield lambda words: detail.__setitem__(0, words)
            outcome = "done in"
        finally:
            over.set()
            ticking.join()
            clear = "\r\x1b[K" if self._stream.isatty() else ""
            told = f" ({detail[0]})" if detail[0] else ""
            self.say(f"{clear}{name}: {outcome} {time.monotonic() - began:.1f} s{told}")

    def _tick(self, name: str, began: float, detail: list[str], over: threading.Event) -> None:
        living = self._stream.isatty()
        while not over.wait(_REDRAW_SECONDS if living else _REMIND_SECONDS):
            line = f"{name} … {time.monotonic() - began:.0f} s  {detail[0]}"
            if living:
                with self._lock:
                    self._stream.write("\r\x1b[K" + line[:118])
                    self._stream.flush()
            else:
                self.say(line)
