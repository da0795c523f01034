"""Logs: readable on a terminal, JSON lines elsewhere, secrets and phone numbers masked."""

import logging
import re
import sys
from collections.abc import MutableMapping
from functools import partial
from typing import Any, TextIO

import structlog

# Loggers that write a line for every request or every poll.
QUIET = (
    *("uvicorn.access", "httpx2", "httpcore2", "sqlalchemy", "asyncio", "aiogram"),
    *("alembic.runtime.plugins", "alembic.runtime.migration"),
)
SECRET_KEYS = re.compile(r"(token|secret|password|authorization|api_key|cookie)", re.IGNORECASE)
SECRET_TEXT = (
    (
        re.compile(r"(?<!\d)(\d{2,}):[A-Za-z0-9_-]{20,}"),
        r"\1:***",
    ),  # a token that follows its account's number
    (re.compile(r"(?i)(bearer\s+)\S+"), r"\1***"),
    (re.compile(r"(://[^:/@\s]+:)[^@/\s]+@"), r"\1***@"),  # a password in a URL
    (re.compile(r"(#token=)[\w-]+"), r"\1***"),
    (re.compile(r"\+\d{5,13}(\d{2})\b"), r"+***\1"),  # a phone number
)


def mask(text: str) -> str:
    """The text without secrets and phone numbers."""
    for pattern, replacement in SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: masks values under secret-looking keys, and secrets in any text."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = "***" if SECRET_KEYS.search(key) and value else mask(value)
    return event


def name_part(
    part: str, _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """structlog processor: add the name of the process."""
    event["part"] = part
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
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Any] = (
        [structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer()]
        if as_json
        else [redact, structlog.dev.ConsoleRenderer(colors=out.isatty())]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
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
