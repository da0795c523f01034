"""Prometheus figures of paging and of token-exact sessions, read when scraped."""

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from roost_inference.kv.hit_rate_bound import HitRateBound
from roost_inference.kv.store import BlockStore
from roost_inference.prompt.exact_tokens import SessionMemory


class KvCollector(Collector):
    """`store`, `memory` and `bound` are None where an engine has none."""

    def __init__(
        self,
        model: str,
        store: BlockStore | None,
        memory: SessionMemory | None,
        bound: HitRateBound | None,
    ) -> None:
        self._model = model
        self._bound = bound
        self._store = store
        self._memory = memory

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        if self._store is not None:
            yield from self._tiers(self._store)
            yield from self._flows(self._store)
        counters: list[tuple[str, str, float]] = []
        if self._bound is not None:
            figures = self._bound.figures()
            counters += [
                ("roost_kv_ceiling_queries", "Prompt tokens looked up in a cache without end",
                 figures.prompt_tokens),
                ("roost_kv_ceiling_hits", "Prompt tokens that such a cache would have had",
                 figures.seen_tokens),
            ]  # fmt: skip
        if self._memory is not None:
            counters += [
                ("roost_kv_divergences", "Prompts that left their session's last turn",
                 self._memory.divergences_total),
                ("roost_kv_divergent_tokens", "Tokens such prompts could not reuse",
                 self._memory.lost_tokens_total),
                ("roost_kv_spliced_answers", "Assistant messages given their own tokens again",
                 self._memory.spliced_total),
            ]  # fmt: skip
        for name, text, value in counters:
            counter = CounterMetricFamily(name, text, labels=["model_name"])
            counter.add_metric([self._model], value)
            yield counter

    def _tiers(self, store: BlockStore) -> Iterator[Metric]:
        labels = ["model_name", "tier"]
        size = GaugeMetricFamily("roost_kv_bytes", "Bytes of KV blocks by tier", labels=labels)
        count = GaugeMetricFamily("roost_kv_blocks", "KV blocks by tier", labels=labels)
        up = GaugeMetricFamily("roost_kv_tier_up", "Whether the tier works", labels=labels)
        for tier, (held, blocks, problem) in store.usage().items():
            size.add_metric([self._model, tier], held)
            count.add_metric([self._model, tier], blocks)
            up.add_metric([self._model, tier], 0 if problem else 1)
        yield from (size, count, up)

    def _flows(self, store: BlockStore) -> Iterator[Metric]:
        figures = store.figures
        lookups = CounterMetricFamily(
            "roost_kv_lookups",
            "Prompts looked up below the device, by what came of it",
            labels=["model_name", "tier", "result"],
        )
        for (tier, result), number in sorted(figures.lookups.copy().items()):
            lookups.add_metric([self._model, tier, result], number)
        moves = CounterMetricFamily(
            "roost_kv_moves", "Blocks moved", labels=["model_name", "from", "to"]
        )
        for (source, target), number in sorted(figures.moves.copy().items()):
            moves.add_metric([self._model, source, target], number)
        restore = HistogramMetricFamily(
            "roost_kv_restore_seconds", "Time to bring a block up", labels=["model_name", "tier"]
        )
        for tier, histogram in sorted(figures.restore.copy().items()):
            restore.add_metric([self._model, tier], histogram.buckets(), histogram.sum_s)
        bad = CounterMetricFamily(
            "roost_kv_bad_blocks", "Blocks dropped because damaged", labels=["model_name"]
        )
        bad.add_metric([self._model], figures.corrupt)
        yield from (lookups, moves, restore, bad)
