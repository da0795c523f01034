"""Prometheus figures of KV that is handed over, read when scraped."""

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from roost_inference.http.engine_port import EnginePort
from roost_inference.kv.handover.handover import Handover


class HandoverCollector(Collector):
    """Nothing for an engine that hands nothing over."""

    def __init__(self, engine: EnginePort) -> None:
        self._engine = engine
        self._model = engine.model.name

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        handover = self._engine.handover
        if handover is None:
            return
        yield self._by_source(handover)
        figures = handover.figures
        for name, text, label, values in (
            ("tokens", "Tokens whose KV arrived, by transport", "source", figures.tokens),
            ("failures", "Prompts not fetched whole, by reason", "reason", figures.failures),
            ("offers", "Prompts offered, or why not", "result", figures.offers),
        ):
            family = CounterMetricFamily(
                f"roost_kv_handover_{name}", text, labels=["model_name", label]
            )
            for value, count in sorted(values.copy().items()):
                family.add_metric([self._model, value], count)
            yield family
        seconds = HistogramMetricFamily(
            "roost_kv_handover_seconds", "Time to fetch a prompt's KV", labels=["model_name"]
        )
        histogram = figures.seconds
        seconds.add_metric([self._model], histogram.buckets(), histogram.sum_s)
        yield seconds
        yield from self._leases(handover)

    def _by_source(self, handover: Handover) -> Metric:
        """vLLM's name: where the KV of prompts came from."""
        stats, fetched = self._engine.stats(), handover.figures.used_tokens
        family = CounterMetricFamily(
            "vllm:prompt_tokens_by_source",
            "Prompt tokens by where their KV came from",
            labels=["model_name", "source"],
        )
        prompt, cached = stats.prompt_tokens_total, stats.cached_tokens_total
        family.add_metric([self._model, "local_compute"], prompt - cached)
        family.add_metric([self._model, "local_cache_hit"], max(cached - fetched, 0))
        family.add_metric([self._model, "external_kv_transfer"], fetched)
        return family

    def _leases(self, handover: Handover) -> Iterator[Metric]:
        labels = ["model_name"]
        for name, text, value in (
            ("roost_kv_leases", "Leases that are open", handover.offers.open()),
            ("roost_kv_leased_bytes", "Bytes under them", handover.offers.leased_bytes()),
        ):
            gauge = GaugeMetricFamily(name, text, labels=labels)
            gauge.add_metric([self._model], value)
            yield gauge
        ended = CounterMetricFamily(
            "roost_kv_leases_ended", "Leases that have ended, by state", labels=[*labels, "state"]
        )
        for state, count in sorted(handover.offers.ended().items()):
            ended.add_metric([self._model, state], count)
        yield ended
