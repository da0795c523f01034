"""The gateway's figures for Prometheus: vLLM's names where meanings agree, else our own."""

from collections.abc import Callable, Iterator
from functools import singledispatchmethod
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from roost_platform.gateway.config import BUNDLED, Models
from roost_platform.gateway.observing.facts import (
    CallEnded,
    Fact,
    LiveFigures,
    RequestRefused,
    RequestRouted,
)

FIRST_TOKEN_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
CALL_BUCKETS_S: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
CODES_MAX: Final = 64  # different codes of errors, which providers may make up
OTHER: Final = "other"
PASSED_OVER: Final = frozenset({"busy", "cooling"})  # a target that was not asked at all
BUDGETS: Final = ("budget_exhausted", "rate_limit_exceeded")
LABELS: Final = ("model", "target", "outcome")

Live = Callable[[], LiveFigures]


class Labels:
    """Keeps labels few: names that are not in the settings become one. Clients may name any model
    of a provider, and providers may answer with any code.
    """

    def __init__(self, models: Models) -> None:
        self._models = frozenset({BUNDLED, "default", *models})
        names = (one for config in models.values() for one in config.targets)
        self._targets = frozenset(f"{one.provider}/{one.model}" for one in names)
        self._providers = frozenset(name.partition("/")[0] for name in self._targets) | {BUNDLED}
        self._codes: set[str] = set()

    def model(self, name: str) -> str:
        """A model's label; every name of the engine's own model is one."""
        name = BUNDLED if name.startswith(f"{BUNDLED}/") else name
        return name if name in self._models else OTHER

    def target(self, name: str) -> str:
        """A target's label; empty where none answered."""
        if not name or name in self._targets:
            return name
        provider = name.partition("/")[0]
        return f"{provider}/{OTHER}" if provider in self._providers else OTHER

    def code(self, code: str) -> str:
        """The label of an error's code."""
        if code not in self._codes and len(self._codes) < CODES_MAX:
            self._codes.add(code)
        return code if code in self._codes else OTHER


class GatewayFigures:
    """Figures of this process's calls. live: what is true now, in the process with the gateway."""

    def __init__(self, registry: CollectorRegistry, models: Models, live: Live | None) -> None:
        self._labels = Labels(models)
        self._registry = registry
        first, whole = FIRST_TOKEN_BUCKETS_S, CALL_BUCKETS_S
        self._first_s = self._histogram("time_to_first_token_seconds", "First token", first)
        self._call_s = self._histogram("e2e_request_latency_seconds", "Whole call", whole)
        self._prompt = self._counter("vllm:prompt_tokens", "Tokens of prompts", *LABELS)
        self._output = self._counter("vllm:generation_tokens", "Tokens of answers", *LABELS)
        self._cached = self._counter("roost_gateway_cached_tokens", "From a cache", *LABELS)
        self._calls = self._counter("roost_gateway_calls", "Calls that ended", *LABELS)
        self._cost = self._counter("roost_gateway_cost_dollars", "Cost", "model", "target")
        self._retries = self._counter("roost_gateway_retries", "Further tries", "model")
        self._failures = self._counter(
            "roost_gateway_target_failures", "Tries that failed", "target", "code"
        )
        self._refused = self._counter("roost_gateway_refused", "Requests refused", "code")
        self._routed = self._counter(
            "roost_engine_requests", "Steps of requests over several engines", "engine", "step"
        )
        self._saved = self._counter("roost_gateway_saved_tokens", "By compression", "model")
        for code in BUDGETS:  # so that a rate exists before the first one
            self._refused.labels(self._labels.code(code))
        if live is not None:
            registry.register(_LiveCollector(live))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"vllm:{name}", text, LABELS, buckets=buckets, registry=self._registry)

    @singledispatchmethod
    def take(self, fact: Fact) -> None:
        """Count what happened."""
        raise TypeError(type(fact).__name__)

    @take.register
    def _(self, fact: CallEnded) -> None:
        spent = fact.spent
        model, target = self._labels.model(fact.model), self._labels.target(spent.target)
        labels = (model, target, spent.outcome)
        self._calls.labels(*labels).inc()
        self._call_s.labels(*labels).observe(spent.duration_ms / 1000)
        if spent.ttft_ms is not None:
            self._first_s.labels(*labels).observe(spent.ttft_ms / 1000)
        self._prompt.labels(*labels).inc(spent.input_tokens)
        self._output.labels(*labels).inc(spent.output_tokens)
        self._cached.labels(*labels).inc(spent.cached_tokens)
        self._saved.labels(model).inc(spent.saved_tokens)
        self._cost.labels(model, target).inc(spent.cost_microusd / 1e6)
        asked = [(name, code) for name, code in spent.tries if code not in PASSED_OVER]
        for name, code in asked:
            self._failures.labels(self._labels.target(name), self._labels.code(code)).inc()
        has_answered = spent.target != "" and spent.outcome != "failed"
        self._retries.labels(model).inc(max(0, len(asked) - (not has_answered)))

    @take.register
    def _(self, fact: RequestRefused) -> None:
        self._refused.labels(self._labels.code(fact.code)).inc()

    @take.register
    def _(self, fact: RequestRouted) -> None:
        self._routed.labels(fact.engine, fact.step.replace(" ", "_")).inc()


class _LiveCollector(Collector):
    """Reads what is true now when it is scraped."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """The families."""
        live = self._live()
        name, text = "vllm:num_requests_running", "Calls that a provider answers"
        running = GaugeMetricFamily(name, text, labels=["provider"])
        for provider, count in live.running.items():
            running.add_metric([provider], count)
        yield running
        name, text = "vllm:num_requests_waiting", "Calls that no provider answers yet"
        yield GaugeMetricFamily(name, text, value=live.waiting)
        name, text = "roost_gateway_target_cooling_seconds", "Left of a target's cooldown"
        cooling = GaugeMetricFamily(name, text, labels=["target"])
        for target, seconds in live.cooling_s.items():
            cooling.add_metric([target], seconds)
        yield cooling
        cooldowns = CounterMetricFamily(
            "roost_gateway_cooldowns", "Cooldowns that began", labels=["target"]
        )
        for target, count in live.cooldowns.items():
            cooldowns.add_metric([target], count)
        yield cooldowns
