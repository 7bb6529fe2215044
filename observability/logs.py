"""The log of the process on stderr, in the same format as the request lines."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any, Literal

import structlog

from observability.screen import has_colors

LogFormat = Literal["json", "text", "off"]


def configure_logging(log: LogFormat) -> None:
    """Configures logging, once at the start of a process. `off` still logs warnings and errors."""
    # Without the values of variables, which structlog would show: they include callers' keys and prompts.
    console = structlog.dev.ConsoleRenderer(
        colors=has_colors(sys.stderr), exception_formatter=structlog.dev.plain_traceback
    )
    rendering: list[structlog.typing.Processor] = [console]
    if log == "json":
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        rendering = [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    level = logging.WARNING if log == "off" else logging.INFO
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Stderr,
        cache_logger_on_first_use=False,
    )


class _Stderr(structlog.PrintLogger):
    """Ignores errors of writing the log, such as a full disk, so that the logged work continues."""

    def __init__(self, *_: Any) -> None:
        super().__init__(sys.stderr)

    def msg(self, message: str) -> None:
        """Writes a line."""
        with contextlib.suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg
