"""Logs: one JSON object per line on standard error, `action` is a snake_case fact, ids are fields.

Never source code, program output or secrets. info: the state changed; warning: it healed itself; error: a person
must act.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logs(*, service: str, level: str) -> None:
    """Sets up this process's logs; libraries' records take the same form."""
    numeric = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _add_service(service),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.EventRenamer("action"), structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.EventRenamer("action"),
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(numeric, logging.WARNING))


def _add_service(service: str) -> structlog.typing.Processor:
    def add(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add


def logger() -> structlog.stdlib.BoundLogger:
    """The process's logger: `logger().info("submission_received", submission_id=…)`."""
    bound: structlog.stdlib.BoundLogger = structlog.get_logger()
    return bound
