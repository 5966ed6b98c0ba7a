"""What can be wrong with bytes that come from a topic or a peer."""

from __future__ import annotations


class PoisonEvent(Exception):
    """Input that cannot be decoded, verified or believed. It is parked with its offset and this reason.

    The message names what was expected and what came. `code` is stable and machine-readable.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
