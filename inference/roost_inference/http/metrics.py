"""Prometheus figures of the engine: vLLM's names where the meaning is the same, else our own."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from roost_inference.http.engine_port import EnginePort
from roost_inference.http.handover.metrics import HandoverCollector
from roost_inference.http.kv_metrics import KvCollector
from roost_inference.kv.hit_rate_bound import HitRateBound
from roost_inference.prompt.exact_tokens import SessionMemory
from roost_inference.request import EngineStats, FinishEvent, ServiceClass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FIRST_TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
INTER_TOKEN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
REQUEST_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

SPECULATION_COUNTERS = {
    "drafts": "Drafts verified",
    "draft_tokens": "Tokens of these drafts",
    "accepted_tokens": "Of these tokens, those accepted",
}


class EngineMetrics:
    """One registry for one engine: counters and gauges are read from its stats when scraped,
    latencies observed as requests end. Thread-safe."""

    def __init__(
        self,
        engine: EnginePort,
        memory: SessionMemory | None = None,
        bound: HitRateBound | None = None,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._model = engine.model.name
        self.registry.register(_StatsCollector(engine))
        self.registry.register(KvCollector(self._model, engine.store, memory, bound))
        self.registry.register(HandoverCollector(engine))
        self._first_token = [
            self._histogram("vllm:time_to_first_token_seconds", FIRST_TOKEN_BUCKETS_S),
            self._histogram("roost_engine_ttft_seconds", FIRST_TOKEN_BUCKETS_S),
        ]
        self._inter_token = [
            self._histogram("vllm:inter_token_latency_seconds", INTER_TOKEN_BUCKETS_S),
            self._histogram("roost_engine_itl_seconds", INTER_TOKEN_BUCKETS_S),
        ]
        self._end_to_end = self._histogram("vllm:e2e_request_latency_seconds", REQUEST_BUCKETS_S)
        self._queue = self._histogram("vllm:request_queue_time_seconds", REQUEST_BUCKETS_S)

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        text = name.split(":")[-1].removeprefix("roost_engine_").replace("_", " ")
        family = Histogram(name, text, ["model_name"], buckets=buckets, registry=self.registry)
        return family.labels(self._model)

    def finished(self, event: FinishEvent) -> None:
        """Observe a request that has ended, however it did. The inter-token time is its mean."""
        timings, tokens = event.timings, event.usage.completion_tokens
        self._end_to_end.observe(timings.total_s)
        self._queue.observe(timings.queue_s)
        if timings.first_token_s is None:
            return
        for histogram in self._first_token:
            histogram.observe(timings.first_token_s)
        if tokens > 1:
            mean_s = max(timings.total_s - timings.first_token_s, 0.0) / (tokens - 1)
            for histogram in self._inter_token:
                histogram.observe(mean_s)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _StatsCollector(Collector):
    def __init__(self, engine: EnginePort) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        stats, label = self._engine.stats(), self._engine.model.name
        used = stats.cells_used / stats.cells_total if stats.cells_total else 0.0
        for name, help_text, value in (
            ("vllm:num_requests_running", "Requests being computed", stats.running),
            ("vllm:num_requests_waiting", "Requests in the queue", stats.waiting),
            ("vllm:kv_cache_usage_perc", "Part of the KV cells in use, 0 to 1", used),
            ("roost_engine_queue_depth", "Requests in the queue", stats.waiting),
            ("roost_engine_batch_size", "Requests being computed", stats.running),
            (
                "roost_engine_resident_sessions",
                "Sessions with KV on the device",
                stats.resident_sessions,
            ),
            (
                "roost_engine_tokens_per_second",
                "Tokens generated a second, lately",
                stats.tokens_per_second,
            ),
            ("roost_engine_tenants", "Accounts of tenants, one in each class", stats.tenants),
        ):
            gauge = GaugeMetricFamily(name, help_text, labels=["model_name"])
            gauge.add_metric([label], value)
            yield gauge
        yield from _counters(stats, label)
        yield from _classes(stats, label)


def _classes(stats: EngineStats, label: str) -> Iterator[Metric]:
    """The queue by class; tenants are not a label, because there may be any number of them."""
    waiting = GaugeMetricFamily(
        "roost_engine_waiting", "Requests in the queue, by class", labels=["model_name", "class"]
    )
    refused = CounterMetricFamily(
        "roost_engine_refused",
        "Requests refused as the queue was full, by class",
        labels=["model_name", "class"],
    )
    for service in ServiceClass:
        name = service.name.lower()
        waiting.add_metric([label, name], stats.waiting_by_class.get(name, 0))
        refused.add_metric([label, name], stats.refused_by_class.get(name, 0))
    yield waiting
    yield refused


def _counters(stats: EngineStats, label: str) -> Iterator[Metric]:
    prompt, cached = stats.prompt_tokens_total, stats.cached_tokens_total
    for name, help_text, value in (
        ("vllm:prompt_tokens", "Prompt tokens, cached ones included", prompt),
        ("vllm:generation_tokens", "Tokens generated", stats.completion_tokens_total),
        ("vllm:prefix_cache_queries", "Prompt tokens looked up in the KV", prompt),
        ("vllm:prefix_cache_hits", "Prompt tokens whose KV was reused", cached),
        ("roost_engine_steps", "Steps computed", stats.steps_total),
        ("vllm:num_preemptions", "Sequences that gave up their place", stats.preemptions_total),
    ):
        counter = CounterMetricFamily(name, help_text, labels=["model_name"])
        counter.add_metric([label], value)
        yield counter
    tokens = CounterMetricFamily(
        "roost_engine_tokens", "Tokens by kind", labels=["model_name", "kind"]
    )
    tokens.add_metric([label, "prompt"], prompt - cached)
    tokens.add_metric([label, "cached"], cached)
    tokens.add_metric([label, "decode"], stats.completion_tokens_total)
    yield tokens
    ended = CounterMetricFamily(
        "vllm:request_success",
        "Requests ended, by reason",
        labels=["model_name", "finished_reason"],
    )
    for reason, count in sorted(stats.requests_total.items()):
        ended.add_metric([label, reason], count)
    yield ended
    yield from _speculation(stats, label)


def _speculation(stats: EngineStats, label: str) -> Iterator[Metric]:
    """Drafts as vLLM counts them, and the same by drafter under our own names."""
    total: Counter[str] = Counter()
    by_position: Counter[int] = Counter()
    ours = {
        name: CounterMetricFamily(f"roost_spec_{name}", text, labels=["model_name", "drafter"])
        for name, text in SPECULATION_COUNTERS.items()
    }
    ours_by_position = CounterMetricFamily(
        "roost_spec_accepted_tokens_per_pos",
        "Drafted tokens accepted, by drafter and position",
        labels=["model_name", "drafter", "position"],
    )
    for drafter, figures in sorted(stats.speculation.items()):
        for name in SPECULATION_COUNTERS:
            total[name] += getattr(figures, name)
            ours[name].add_metric([label, drafter], getattr(figures, name))
        for position, accepted in enumerate(figures.accepted_by_position):
            by_position[position] += accepted
            ours_by_position.add_metric([label, drafter, str(position)], accepted)
    for name, text in SPECULATION_COUNTERS.items():
        counter = CounterMetricFamily(f"vllm:spec_decode_num_{name}", text, labels=["model_name"])
        counter.add_metric([label], total[name])
        yield counter
        yield ours[name]
    positions = CounterMetricFamily(
        "vllm:spec_decode_num_accepted_tokens_per_pos",
        "Drafted tokens accepted, by position",
        labels=["model_name", "position"],
    )
    for position, accepted in sorted(by_position.items()):
        positions.add_metric([label, str(position)], accepted)
    yield positions
    yield ours_by_position
