"""The health of one target: failures in a row, a cooldown, and one probe after it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from roost_inference.errors import (
    EngineError,
    EngineRefused,
    EngineUnavailable,
    InvalidRequest,
    QueueFull,
    UnknownModel,
)

RETRY_AFTER_S_MAX = 300.0
REFUSED_COOLDOWN_S = 60.0  # of a target that refuses our key: only a person can mend it
JITTER = 0.2  # of a cooldown, so that not all processes ask again at the same moment
ERROR_CHARACTERS_MAX = 200

State = Literal["up", "cooling", "probing"]


@dataclass(slots=True, eq=False)
class TargetHealth:
    """Closed (in use), open (cooling down) or half open (one call probes it).

    clock: seconds, monotonic. failures_max: in a row, before it cools down. tries, answers: calls
    that were begun, and those with a first byte. cooldowns counts them: what a call that began
    before a cooldown says of the target does not end it. failed_at: when the last error came.
    """

    clock: Callable[[], float]
    failures_max: int
    cooldown_s: float
    chance: random.Random = field(default_factory=random.Random)
    failures: int = 0
    cooling_until: float = 0.0
    cooldowns: int = 0
    is_suspect: bool = False
    probe: "Attempt | None" = None
    last_error: str = ""
    failed_at: float | None = None
    tries: int = 0
    answers: int = 0
    in_flight: int = 0

    @property
    def state(self) -> State:
        """`up`, `cooling` or `probing`."""
        if self.probe is not None:
            return "probing"
        return "cooling" if self.cooling_s > 0 else "up"

    @property
    def cooling_s(self) -> float:
        """How long the cooldown still lasts, in seconds."""
        return max(0.0, self.cooling_until - self.clock())

    def begin(self) -> "Attempt | None":
        """Take this target for a call; None while it cools down or another call probes it."""
        if self.probe is not None or self.clock() < self.cooling_until:
            return None
        attempt = self.attempt()
        if self.is_suspect:
            self.probe = attempt
        return attempt

    def attempt(self) -> "Attempt":
        """Take this target whatever its state, as an operator's trial does."""
        self.tries += 1
        self.in_flight += 1
        return Attempt(self, self.cooldowns)

    def cool(self, seconds: float) -> None:
        """Pass this target over for so long; a longer cooldown that runs stays."""
        self.cooldowns += 1
        self.cooling_until = max(self.cooling_until, self.clock() + seconds)


@dataclass(slots=True, eq=False)
class Attempt:
    """One call to a target. Its health learns by it what becomes of the call; `leave` ends it."""

    health: TargetHealth
    cooldowns: int
    has_left: bool = False

    def answered(self) -> None:
        """The first byte has come: whoever waits for this probe may go on."""
        health = self.health
        health.answers += 1
        if not self._is_late:
            health.is_suspect, health.cooling_until = False, 0.0
            if health.probe is self:  # one more failure, and it cools down again
                health.probe, health.failures = None, health.failures_max - 1

    def completed(self) -> None:
        """The answer has come to its end."""
        if not self._is_late:
            self.health.failures = 0

    def failed(self, error: EngineError) -> None:
        """The target has failed in this way."""
        health = self.health
        if isinstance(error, InvalidRequest) and not isinstance(error, UnknownModel):
            return  # the request's fault
        health.last_error = f"{error.code}: {error.message[:ERROR_CHARACTERS_MAX]}"
        health.failed_at = health.clock()
        if isinstance(error, QueueFull):
            health.cool(min(max(error.retry_after_s, 0.0), RETRY_AFTER_S_MAX))
        elif isinstance(error, EngineRefused | UnknownModel):
            health.is_suspect = True
            health.cool(REFUSED_COOLDOWN_S)
        elif isinstance(error, EngineUnavailable) and error.retry_after_s is not None:
            health.failures += 1
            health.cool(min(error.retry_after_s, RETRY_AFTER_S_MAX))
        elif not self._is_late:
            health.failures += 1
            is_probe = health.probe is self
            if (is_probe or health.failures >= health.failures_max) and health.cooldown_s > 0:
                health.is_suspect = True
                spread = health.chance.uniform(1 - JITTER, 1 + JITTER)
                health.cool(health.cooldown_s * spread)

    def leave(self) -> None:
        """The call is over, in whatever way. Doing it twice changes nothing."""
        if self.has_left:
            return
        self.has_left = True
        self.health.in_flight -= 1
        if self.health.probe is self:
            self.health.probe = None

    @property
    def _is_late(self) -> bool:
        """Whether a cooldown has begun since this call did."""
        return self.cooldowns != self.health.cooldowns
