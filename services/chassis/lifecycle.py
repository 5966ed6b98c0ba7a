"""How a service process lives: settings, logs, telemetry, one main coroutine, signals, exit codes.

The one place with a broad `except`: whatever escapes the main coroutine is logged and ends the process, and the
supervisor starts it again. Exit codes: 0 stopped as told, 2 start refused (a person must act), 70 crashed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

from services.chassis.faults import StartRefused
from services.chassis.logs import configure_logs, logger
from services.chassis.settings import CommonSettings, print_settings
from services.chassis.telemetry import configure_telemetry

S = TypeVar("S", bound=CommonSettings)
EXIT_REFUSED = 2
EXIT_CRASHED = 70


def run_service(settings_type: type[S], main: Callable[[S, asyncio.Event], Awaitable[None]]) -> int:
    """Runs `main(settings, stopping)` until it returns; SIGTERM and SIGINT set `stopping`.

    `--check-config` prints the settings and leaves. Returns the exit code.
    """
    service = settings_type.service.lower()
    try:
        settings = settings_type.from_environment()
    except StartRefused as error:
        configure_logs(service=service, level="info")
        logger().error("start_refused", reason=str(error))
        return EXIT_REFUSED
    if "--check-config" in sys.argv[1:]:
        print_settings(settings)
        return 0
    configure_logs(service=service, level=settings.log_level)
    configure_telemetry(service=service, otlp_endpoint=settings.otlp_endpoint)
    try:
        uvloop.run(_live(settings, main))
    except StartRefused as error:
        logger().error("start_refused", reason=str(error))
        return EXIT_REFUSED
    except Exception:  # noqa: BLE001  the lifecycle is the one home of a broad except
        logger().exception("crashed")
        return EXIT_CRASHED
    logger().info("stopped")
    return 0


async def _live(settings: S, main: Callable[[S, asyncio.Event], Awaitable[None]]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    logger().info("started")
    await main(settings, stopping)
