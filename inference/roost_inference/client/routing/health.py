"""Whether requests go to an engine: failures take it out, a probe and a request bring it back."""

import logging
from collections.abc import Callable
from typing import Final, Literal

BACK_OFF_S_MIN: Final = 1.0
BACK_OFF_S_MAX: Final = 60.0

State = Literal["up", "down", "trial"]

log = logging.getLogger(__name__)


class EngineHealth:
    """Up, down, or on trial: its probe was answered, and one request is let through."""

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.problem = ""
        self.until = 0.0
        self._name = name
        self._clock = clock
        self._failures = 0
        self._is_proved = False
        self._is_tried = False

    @property
    def state(self) -> State:
        """`up`, `down` or `trial`."""
        if not self._failures:
            return "up"
        return "trial" if self._is_proved else "down"

    @property
    def is_open(self) -> bool:
        """Whether a request may go there now."""
        return not self._failures or (self._is_proved and not self._is_tried)

    @property
    def wants_probe(self) -> bool:
        """Whether it is time to see if the engine is back."""
        return bool(self._failures) and not self._is_proved and self._clock() >= self.until

    def begin(self) -> None:
        """A request goes there."""
        self._is_tried = bool(self._failures)

    def left(self) -> None:
        """The request has ended and says nothing of the engine."""
        self._is_tried = False

    def probed(self) -> None:
        """The engine answers again: the next request tries it."""
        self._is_proved = bool(self._failures)

    def worked(self) -> None:
        """The engine has answered a request."""
        if self._failures:
            log.info("the engine %s answers again", self._name)
        self._failures, self.problem, self.until = 0, "", 0.0
        self._is_proved = self._is_tried = False

    def failed(self, reason: str) -> None:
        """Leave the engine alone for a while, longer with each failure in a row. Of requests that
        fail at once only the first one counts."""
        if self.state == "down" and self._clock() < self.until:
            return
        if not self._failures:
            log.warning("the engine %s fails: %s", self._name, reason)
        self._failures += 1
        self.problem = reason
        pause_s = min(BACK_OFF_S_MAX, BACK_OFF_S_MIN * 2.0 ** min(self._failures - 1, 10))
        self.until = self._clock() + pause_s
        self._is_proved = self._is_tried = False
