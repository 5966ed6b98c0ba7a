"""Our fault: why the executor could not judge. Never raised for anything that a contestant's program did."""

from __future__ import annotations


class JudgeFault(Exception):
    """The judging host failed at `stage`; retriable where another sandbox or executor may well succeed.

    The message names what was expected and what came; it never carries program output or source.
    """

    def __init__(self, message: str, *, stage: str, retriable: bool) -> None:
        super().__init__(message)
        self.message = message
        self.stage = stage
        """A snake_case name of the step that failed: `sandbox_create`, `run`, `seal`, `compare`, …"""
        self.retriable = retriable

    def __str__(self) -> str:
        return f"{self.stage}: {self.message}"
