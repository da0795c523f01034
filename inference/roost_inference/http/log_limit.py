"""Keeps a log from filling with one line that strangers can cause at will."""

import logging
import time
from collections.abc import Callable

REPEATS_MAX = 10
WINDOW_S = 60.0
TEMPLATES_MAX = 200


class RepeatLimit(logging.Filter):
    """Lets each message template pass REPEATS_MAX times a minute; then counts.

    The first line of the next minute says how many were left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        now, template = self._clock(), str(record.msg)[:TEMPLATES_MAX]
        since, count = self._seen.get(template, (now, 0))
        left_out = 0
        if now - since >= WINDOW_S:
            left_out, since, count = max(0, count - REPEATS_MAX), now, 0
        if len(self._seen) >= TEMPLATES_MAX and template not in self._seen:
            self._seen.clear()
        self._seen[template] = since, count + 1
        if left_out:
            record.msg = f"{record.msg} (and {left_out} more like this)"
        return count < REPEATS_MAX


def limit_repeats(*names: str) -> None:
    """Limit these loggers' repeated lines, once per logger."""
    for name in names:
        logger = logging.getLogger(name)
        if not any(isinstance(one, RepeatLimit) for one in logger.filters):
            logger.addFilter(RepeatLimit())
