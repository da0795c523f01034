"""Warnings and errors that repeat are written a few times a minute, then counted.

One client that hangs up without end, or a full table of descriptors, would else rotate away the
lines that say what happened.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

LINES_MAX = 30  # of one place in the code in one span
SPAN_S = 60.0
PLACES_MAX = 500  # remembered; beyond that the one that was silent longest is forgotten


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
