"""Whether a tier is used at the moment: failures take it out for a while, longer each time."""

import logging
from collections.abc import Callable

BACK_OFF_S_MIN = 1.0
BACK_OFF_S_MAX = 60.0

log = logging.getLogger(__name__)


class Health:
    """One warning when a tier goes, one line when it is back; calls are serialised by the store."""

    def __init__(self, tier: str, clock: Callable[[], float]) -> None:
        self.failures = 0
        self.problem: str | None = None
        self._tier = tier
        self._clock = clock
        self._until = 0.0

    @property
    def available(self) -> bool:
        """Whether the tier may be used now."""
        return self._clock() >= self._until

    def failed(self, reason: str) -> None:
        """Take the tier out for a while, longer with each failure in a row."""
        if self.failures == 0:
            log.warning("The KV tier %r is not used for now: %s", self._tier, reason)
        self.failures += 1
        self.problem = reason
        pause_s = min(BACK_OFF_S_MAX, BACK_OFF_S_MIN * 2.0 ** min(self.failures - 1, 10))
        self._until = self._clock() + pause_s

    def worked(self) -> None:
        """The tier works: use it again at once."""
        if self.failures:
            log.info("The KV tier %r works again", self._tier)
        self.failures = 0
        self.problem = None
        self._until = 0.0
