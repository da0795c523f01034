"""Logs: readable on a terminal, JSON lines elsewhere, secrets masked, repeated errors counted."""

import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TextIO

import structlog

from roost_platform.masking import SECRET_KEYS, mask

# One client that hangs up without end, or a full table of descriptors, would else rotate away the
# lines that say what happened.
LINES_MAX = 30  # of one place in the code in one span
SPAN_S = 60.0
PLACES_MAX = 500  # remembered; beyond that the one that was silent longest is forgotten
DEPTH_MAX = 8  # of lists and tables in a line; what lies deeper is left out
# Loggers that write a line for every request or every poll.
QUIET = (
    *("uvicorn.access", "httpx2", "httpcore2", "sqlalchemy", "asyncio", "aiogram"),
    *("alembic.runtime.plugins", "alembic.runtime.migration"),
)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: masks values under secret-looking keys, and secrets in any text."""
    for key, value in event.items():
        event[key] = "***" if SECRET_KEYS.search(key) and value else _masked(value)
    return event


def _masked(value: Any, depth: int = 0) -> Any:
    """The value without secrets, also where texts lie in lists and tables."""
    if isinstance(value, str):
        return mask(value)
    if depth >= DEPTH_MAX:
        return "…" if isinstance(value, dict | list | tuple) else value
    if isinstance(value, dict):
        return {
            key: "***" if SECRET_KEYS.search(str(key)) and one else _masked(one, depth + 1)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(one, depth + 1) for one in value]
    return value


def name_part(
    part: str, _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """structlog processor: add the name of the process."""
    event["part"] = part
    return event


def drop_doubles(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """structlog processor: drop uvicorn's second copy of its line, which is made for terminals."""
    event.pop("color_message", None)
    return event


def configure(
    part: str, *, level: str = "info", json_lines: bool | None = None, stream: TextIO | None = None
) -> None:
    """Send structlog and the standard library's logging through one renderer.

    part: the name of this process. json_lines: None: JSON unless the stream is a terminal.
    """
    out = stream or sys.stderr
    as_json = not out.isatty() if json_lines is None else json_lines
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        partial(name_part, part),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        drop_doubles,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last = (
        structlog.processors.JSONRenderer(default=str)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    # Tracebacks become text first: they may quote what must be masked.
    renderer: list[Any] = [structlog.processors.format_exc_info, redact, last]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


@dataclass(slots=True)
class _Place:
    began: float
    written: int = 0
    left_out: int = 0


class RepeatFilter(logging.Filter):
    """Lets LINES_MAX warnings or errors of one place in the code through in SPAN_S.

    The next line of that place then says how many were left out. What is below a warning passes:
    it tells what happened to each message, and there is one line for each.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._places: OrderedDict[tuple[str, str, int], _Place] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; changes it to tell what was left out before."""
        if record.levelno < logging.WARNING:
            return True
        now = self._clock()
        key = (record.name, record.pathname, record.lineno)
        place = self._places.setdefault(key, _Place(now))
        self._places.move_to_end(key)
        if len(self._places) > PLACES_MAX:
            self._places.popitem(last=False)
        if now - place.began >= SPAN_S:
            if place.left_out:
                record.left_out = place.left_out
            self._places[key] = place = _Place(now)
        place.written += 1
        if place.written <= LINES_MAX:
            if place.written == LINES_MAX:
                record.repeats = f"more of these in the next {SPAN_S:.0f} s are only counted"
            return True
        place.left_out += 1
        return False
