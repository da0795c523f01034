"""What paging did and what it costs: counters for the metrics, costs for load-or-recompute."""

import threading
from bisect import bisect_left
from collections import Counter

RESTORE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SMOOTHING = 0.3
# First guesses until a tier was measured: milliseconds per MiB read, and until the first byte.
READ_MS_PER_MIB = {"disk": 1.0, "object": 15.0}
READ_LATENCY_MS = {"disk": 2.0, "object": 25.0}
IMPORT_MS_PER_MIB = 0.3


class Histogram:
    """Counts per bucket, as Prometheus wants them; the last one is infinite."""

    def __init__(self) -> None:
        self.counts = [0] * (len(RESTORE_BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(RESTORE_BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound."""
        total, found = 0, []
        for bound, count in zip((*RESTORE_BUCKETS_S, "+Inf"), self.counts, strict=True):
            total += count
            found.append((str(bound), float(total)))
        return found


class Figures:
    """Written by the engine thread and the tiers' threads, read by any."""

    def __init__(self) -> None:
        self.moves: Counter[tuple[str, str]] = Counter()
        self.lookups: Counter[tuple[str, str]] = Counter()
        self.restore: dict[str, Histogram] = {}
        self.refused = 0
        self.corrupt = 0
        self._lock = threading.Lock()
        self._read_ms_per_mib = dict(READ_MS_PER_MIB)
        self._import_ms_per_mib = IMPORT_MS_PER_MIB

    def moved(self, source: str, target: str) -> None:
        with self._lock:
            self.moves[source, target] += 1

    def looked_up(self, tier: str, result: str) -> None:
        with self._lock:
            self.lookups[tier, result] += 1

    def read(self, tier: str, seconds: float, size: int) -> None:
        """A block came from a lower tier to RAM."""
        per_mib = max(seconds * 1000 - READ_LATENCY_MS.get(tier, 0.0), 0.01) * 2**20 / max(size, 1)
        with self._lock:
            old = self._read_ms_per_mib.get(tier, per_mib)
            self._read_ms_per_mib[tier] = old + SMOOTHING * (per_mib - old)
            self.restore.setdefault(tier, Histogram()).observe(seconds)

    def imported(self, seconds: float, size: int) -> None:
        """A block came from RAM to the device."""
        per_mib = seconds * 1000 * 2**20 / max(size, 1)
        with self._lock:
            self._import_ms_per_mib += SMOOTHING * (per_mib - self._import_ms_per_mib)
            self.restore.setdefault("ram", Histogram()).observe(seconds)

    def load_ms(self, tier: str, size: int) -> float:
        """Expected time to bring so many bytes to the device, without the first latency."""
        mib = size / 2**20
        return mib * (self._import_ms_per_mib + self._read_ms_per_mib.get(tier, 0.0))

    def latency_ms(self, tier: str) -> float:
        return READ_LATENCY_MS.get(tier, 0.0)
