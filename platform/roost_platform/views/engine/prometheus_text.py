"""Prometheus text, as vLLM and others write it, as sums and quantiles."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

QUANTILES = (0.5, 0.95, 0.99)
Samples = list[tuple[Mapping[str, str], float]]


@dataclass(frozen=True, slots=True)
class Families:
    """Samples by name."""

    samples: Mapping[str, Samples]

    @classmethod
    def parse(cls, text: str) -> "Families":
        """The samples of a text; raises ValueError if it is not Prometheus text."""
        samples: dict[str, Samples] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name].append((sample.labels, sample.value))
        return cls(samples)

    def value(self, name: str) -> float | None:
        """A gauge, summed over labels; None if it is missing."""
        samples = self.samples.get(name)
        return sum(value for _, value in samples) if samples else None

    def total(self, name: str) -> float | None:
        """A counter, summed over labels."""
        return self.value(f"{name}_total")

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """A counter by one label whose values are numbers."""
        totals: dict[str, float] = defaultdict(float)
        for labels, value in self.samples.get(f"{name}_total", ()):
            if labels.get(label, "").isdecimal():
                totals[labels[label]] += value
        return totals

    def quantiles_ms(self, name: str) -> tuple[float | None, ...]:
        """QUANTILES of a histogram in seconds, in milliseconds; linear within a bucket."""
        buckets: dict[float, float] = defaultdict(float)
        for labels, value in self.samples.get(f"{name}_bucket", ()):
            buckets[float(labels["le"])] += value
        bounds = sorted(buckets)
        if not bounds or buckets[bounds[-1]] == 0:
            return (None,) * len(QUANTILES)
        return tuple(_quantile(bounds, buckets, share) * 1000 for share in QUANTILES)


def _quantile(bounds: list[float], buckets: Mapping[float, float], share: float) -> float:
    wanted, low, below = buckets[bounds[-1]] * share, 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= wanted:
            if bound == float("inf") or count == below:
                return low
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low
