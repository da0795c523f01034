"""Counters of paging for the metrics, and measured costs that decide between load and recompute."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

RESTORE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
SMOOTHING = 0.3
# The first guess of what an import from RAM to the device costs.
IMPORT_MS_PER_MIB = 0.3


@dataclass(frozen=True, slots=True)
class ReadCost:
    """The first guess of what a tier's reads cost, until they are measured: milliseconds until the
    first byte, and per MiB."""

    latency_ms: float
    ms_per_mib: float


class Histogram:
    """Counts per bucket, in Prometheus' form; the last one is infinite."""

    def __init__(self) -> None:
        self.counts = [0] * (len(RESTORE_BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(RESTORE_BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound."""
        total, cumulative = 0, []
        for bound, count in zip((*RESTORE_BUCKETS_S, "+Inf"), self.counts, strict=True):
            total += count
            cumulative.append((str(bound), float(total)))
        return cumulative


class PagingFigures:
    """Written by the engine thread and the tiers' threads, read by any.

    read_costs: the first guess for each lower tier, until its reads are measured.
    """

    def __init__(self, read_costs: Mapping[str, ReadCost]) -> None:
        self.moves: Counter[tuple[str, str]] = Counter()
        self.lookups: Counter[tuple[str, str]] = Counter()
        self.restore: dict[str, Histogram] = {}
        self.refused = 0
        self.corrupt = 0
        self._lock = threading.Lock()
        self._latency_ms = {tier: cost.latency_ms for tier, cost in read_costs.items()}
        self._read_ms_per_mib = {tier: cost.ms_per_mib for tier, cost in read_costs.items()}
        self._import_ms_per_mib = IMPORT_MS_PER_MIB

    def moved(self, source: str, target: str) -> None:
        """A block went from one tier to another, or was dropped (`gone`)."""
        with self._lock:
            self.moves[source, target] += 1

    def looked_up(self, tier: str, result: str) -> None:
        """A prompt was looked up: `hit`, `miss`, or `recompute` where computing is cheaper."""
        with self._lock:
            self.lookups[tier, result] += 1

    def read(self, tier: str, seconds: float, size: int) -> None:
        """A block came from a lower tier to RAM."""
        per_mib = max(seconds * 1000 - self.latency_ms(tier), 0.01) * 2**20 / max(size, 1)
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
        """Expected time to bring this many bytes to the device, without the first latency."""
        mib = size / 2**20
        return mib * (self._import_ms_per_mib + self._read_ms_per_mib.get(tier, 0.0))

    def latency_ms(self, tier: str) -> float:
        """Expected time until the first byte of a read; 0 for RAM."""
        return self._latency_ms.get(tier, 0.0)
