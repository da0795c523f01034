"""What was handed over, how long it took, and why it was not, for the metrics and /health."""

import threading
from collections import Counter
from typing import Any

from roost_inference.kv.figures import Histogram
from roost_inference.kv.handover.fetch import PromptFetch


class HandoverFigures:
    """Written by any thread, read by any.

    tokens: that arrived, by transport. failures: by reason; of one prompt each reason once.
    used_tokens: of prompts that went on with KV of another engine. offers: leases that were opened,
    and refusals by reason.
    """

    def __init__(self) -> None:
        self.tokens: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.offers: Counter[str] = Counter()
        self.used_tokens = 0
        self.seconds = Histogram()
        self._lock = threading.Lock()

    def fetched(self, fetch: PromptFetch, *, is_search: bool = False) -> None:
        """A fetch has ended. is_search: nobody had offered anything, so nothing is missing."""
        with self._lock:
            self.tokens.update(fetch.tokens)
            if fetch.tokens:
                self.seconds.observe(fetch.seconds)
            self.failures.update(set(fetch.failures) - ({"missing"} if is_search else set()))

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
