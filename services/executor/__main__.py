"""Composition root of the executor: an executor process on containers of this host."""

from __future__ import annotations

import asyncio
import sys

from services.chassis.lifecycle import run_service
from services.executor.adapters.engine import container_backend
from services.executor.adapters.process import live
from services.executor.config import ExecutorSettings


async def main(settings: ExecutorSettings, stopping: asyncio.Event) -> None:
    """Runs until it is told to stop."""
    await live(settings, stopping, container_backend)


if __name__ == "__main__":
    sys.exit(run_service(ExecutorSettings, main))
