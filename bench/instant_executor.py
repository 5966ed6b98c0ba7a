"""The executor process with a double behind its isolation port: everything is real but the programs.

Run by `bench.pipeline`: `python -m bench.instant_executor`, settings as for the executor.
"""

from __future__ import annotations

import asyncio
import sys

from bench.instant_isolation import InstantInputs, InstantIsolation, prove_nothing
from services.chassis.blobs import BlobStore
from services.chassis.lifecycle import run_service
from services.executor.adapters.process import Backend, live
from services.executor.config import ExecutorSettings


def instant_backend(_settings: ExecutorSettings, blobs: BlobStore, _incarnation: str) -> Backend:
    return Backend(isolation=InstantIsolation(), inputs=InstantInputs(blobs), prove=prove_nothing)


async def main(settings: ExecutorSettings, stopping: asyncio.Event) -> None:
    await live(settings, stopping, instant_backend)


if __name__ == "__main__":
    sys.exit(run_service(ExecutorSettings, main))
