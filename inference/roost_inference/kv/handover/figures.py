"""What was handed over, how long it took, and why it was not, for the metrics and /health."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from roost_inference.kv.figures import Histogram
from roost_inference.kv.handover.fetch import PromptFetch

RATE_TOKENS_MIN: Final = 256  # a shorter prompt tells more of the set-up than of the way
RATE_WEIGHT: Final = 0.3  # of the newest prompt
# A way that was slow once is tried again after this time, as if it had never been measured.
RATE_S_MAX: Final = 600.0


class HandoverFigures:
    """Written by any thread, read by any.

    tokens: that arrived, by transport. failures: by reason; of one prompt each reason once.
    used_tokens: of prompts that went on with KV of another engine. offers: leases that were opened,
    and refusals by reason.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.tokens: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.offers: Counter[str] = Counter()
        self.used_tokens = 0
        self.seconds = Histogram()
        self._lock = threading.Lock()
        self._clock = clock
        self._ms_per_token = 0.0
        self._measured_at = -RATE_S_MAX

    def fetched(self, fetch: PromptFetch, *, is_search: bool = False) -> None:
        """A fetch has ended. is_search: nobody had offered anything, so nothing is missing."""
        with self._lock:
            self.tokens.update(fetch.tokens)
            if fetch.tokens:
                self.seconds.observe(fetch.seconds)
            if not is_search:
                self._measure(fetch.tokens.total(), fetch.seconds)
            self.failures.update(set(fetch.failures) - ({"missing"} if is_search else set()))

    def ms_per_token(self) -> float | None:
        """What a token cost on its way here; None where that was not measured lately."""
        with self._lock:
            return self._ms_per_token if self._is_recent() else None

    def _measure(self, tokens: int, seconds: float) -> None:
        if tokens < RATE_TOKENS_MIN:
            return
        told = 1000 * seconds / tokens
        weight = RATE_WEIGHT if self._is_recent() else 1.0
        self._ms_per_token += weight * (told - self._ms_per_token)
        self._measured_at = self._clock()

    def _is_recent(self) -> bool:
        return self._clock() - self._measured_at < RATE_S_MAX

    def failed(self, reason: str) -> None:
        """A prompt was not fetched at all."""
        with self._lock:
            self.failures[reason] += 1

    def offered(self, result: str) -> None:
        """A prompt was offered ("leased") or not, for this reason."""
        with self._lock:
            self.offers[result] += 1

    def used(self, tokens: int) -> None:
        """A prompt goes on with so many tokens of another engine."""
        with self._lock:
            self.used_tokens += tokens

    def report(self) -> dict[str, Any]:
        """For /health."""
        with self._lock:
            return {
                "tokens": dict(self.tokens),
                "used_tokens": self.used_tokens,
                "failures": dict(self.failures),
                "offers": dict(self.offers),
            }
