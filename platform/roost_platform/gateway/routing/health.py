"""The health of one target: failures in a row, a cooldown, and one probe after it."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from roost_inference.errors import (
    EngineError,
    EngineRefused,
    InvalidRequest,
    QueueFull,
    UnknownModel,
)

RETRY_AFTER_S_MAX = 300.0
REFUSED_COOLDOWN_S = 60.0  # of a target that refuses our key: only a person can mend it


@dataclass(slots=True)
class TargetHealth:
    """Closed (in use), open (cooling down) or half open (one call probes it).

    clock: seconds, monotonic. failures_max: in a row, before it cools down. cooldowns: so far.
    """

    clock: Callable[[], float]
    failures_max: int
    cooldown_s: float
    failures: int = 0
    cooling_until: float = 0.0
    is_probing: bool = False
    last_error: str = ""
    cooldowns: int = 0

    @property
    def state(self) -> str:
        """`up`, `cooling` or `probing`."""
        if self.is_probing:
            return "probing"
        return "cooling" if self.clock() < self.cooling_until else "up"

    @property
    def cooling_s(self) -> float:
        """How long the cooldown still lasts, in seconds."""
        return max(0.0, self.cooling_until - self.clock())

    def begin(self) -> bool:
        """Take this target for a call; False while it cools down or another call probes it."""
        if self.is_probing or self.clock() < self.cooling_until:
            return False
        self.is_probing = self.failures >= self.failures_max or self.cooling_until > 0
        return True

    def succeed(self) -> None:
        """The target has answered."""
        self.failures, self.cooling_until, self.is_probing = 0, 0.0, False
        self.last_error = ""

    def leave(self) -> None:
        """The call ended without saying anything of the target, such as by its client's leaving."""
        self.is_probing = False

    def fail(self, error: EngineError) -> None:
        """The target has failed in this way."""
        was_probing, self.is_probing = self.is_probing, False
        if isinstance(error, InvalidRequest) and not isinstance(error, UnknownModel):
            return  # the request's fault
        self.last_error = f"{error.code}: {error.message[:200]}"
        if isinstance(error, QueueFull):
            self._cool(min(error.retry_after_s, RETRY_AFTER_S_MAX))
            return
        if isinstance(error, EngineRefused | UnknownModel):
            self._cool(REFUSED_COOLDOWN_S)
            return
        self.failures += 1
        if was_probing or self.failures >= self.failures_max:
            self._cool(self.cooldown_s * random.uniform(0.8, 1.2))

    def _cool(self, seconds: float) -> None:
        self.cooldowns += self.clock() >= self.cooling_until
        self.cooling_until = max(self.cooling_until, self.clock() + seconds)
