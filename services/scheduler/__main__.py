"""The scheduler's process: settings, keys, cells, HTTP. `python -m services.scheduler`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import faust
from fastapi import FastAPI

from services.chassis.clock import SystemClock
from services.chassis.faults import StartRefused
from services.chassis.http import serve, serve_health, serve_problems
from services.chassis.lifecycle import EXIT_CRASHED, EXIT_REFUSED, run_service
from services.chassis.logs import logger
from services.scheduler.adapters.app import build_app, watch
from services.scheduler.adapters.keys import KeyFollower, load_signer
from services.scheduler.adapters.metrics import SchedulerMetrics
from services.scheduler.adapters.office import Office
from services.scheduler.config import SchedulerSettings

_STOP_SECONDS = 8.0


async def main(settings: SchedulerSettings, stopping: asyncio.Event) -> None:
    """Runs until it is told to stop; whatever fails ends the process."""
    signer = load_signer(settings.keys_dir)
    keys = KeyFollower(settings.kafka_bootstrap, settings.keys_dir)
    office = Office(settings, signer=signer, keys=keys, clock=SystemClock(), metrics=SchedulerMetrics())
    settings.rules(0, {})  # A policy that cannot be followed refuses the start, before any cell is taken over.
    app = build_app(
        bootstrap=settings.kafka_bootstrap,
        instance=settings.instance,
        data_dir=settings.state_dir / "run" / "scheduler",
        positions=office.positions,
        revoked=office.give_up_all,
        deliver=office.deliver,
    )
    caught_up = asyncio.Event()
    work: list[Coroutine[Any, Any, None]] = [
        keys.run(caught_up),
        office.follow_images(),
        serve(_http(office), host=settings.http_host, port=settings.http_port, stopping=stopping),
        _cells(app, caught_up),
    ]
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    told = asyncio.create_task(_told(stopping))
    done, _ = await asyncio.wait({*tasks, told, office.failed}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.is_set():
        _crash(next(iter(done)).exception() or RuntimeError("a part of the scheduler ended by itself"))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await _stop(app, office)


def _crash(error: BaseException) -> NoReturn:
    """Ends the process where it stands: what is not committed never happened, and the next start reads the rest.

    Nothing is stopped in order. The state in memory is no longer what the log says, and Faust's threads, which are no
    daemons, would keep the process (seen when a cell was fenced while Faust was still starting).
    """
    code = EXIT_REFUSED if isinstance(error, StartRefused) else EXIT_CRASHED
    logger().error("start_refused" if code == EXIT_REFUSED else "crashed", exc_info=error)
    _leave(code)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _cells(app: faust.App, caught_up: asyncio.Event) -> None:
    await caught_up.wait()
    await app.start()
    await watch(app)


async def _told(stopping: asyncio.Event) -> None:
    await stopping.wait()


async def _stop(app: faust.App, office: Office) -> None:
    """Leaves the group and closes the log, if that can still be done."""
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await office.give_up_all()
            await app.stop()
    except TimeoutError:
        logger().warning("stop_cut_short", seconds=_STOP_SECONDS)
        _leave(0)


def _http(office: Office) -> FastAPI:
    app = FastAPI(title="Assize scheduler", docs_url=None, redoc_url=None, openapi_url=None)
    serve_problems(app)

    async def ready() -> dict[str, Any]:
        return {"ready": bool(office.cells), "cells": office.describe()}

    serve_health(app, ready)
    return app


if __name__ == "__main__":
    _leave(run_service(SchedulerSettings, main))
