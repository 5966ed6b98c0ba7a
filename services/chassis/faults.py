"""Why a process refuses to start or to go on. Only the lifecycle catches these broadly."""

from __future__ import annotations


class StartRefused(Exception):
    """A setting, key or peer is not as it must be. The message names what was expected and what came."""
