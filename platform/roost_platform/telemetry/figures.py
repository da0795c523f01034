"""A process's figures for Prometheus: counted as transactions commit, queues read when scraped."""

from collections.abc import Mapping
from functools import singledispatchmethod
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest

from roost_platform.db.base.committed.facts import (
    DeliveryEnded,
    Fact,
    MessageAccepted,
    ModelCalled,
    SendAttempted,
    ToolCalled,
    TurnEnded,
)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
# Labels have few values each: no person, conversation, model or tool is one.
QUEUES: Final[Mapping[str, str]] = {
    "inbox_pending": "Messages that wait for a turn",
    "inbox_held": "Messages of people who are not let in yet",
    "turns_running": "Turns under way",
    "outbox_pending": "Messages to chats that are not finished",
    "outbox_lanes": "Chats with such messages",
    "outbox_uncertain": "Parts whose outcome is unknown",
    "outbox_oldest_seconds": "Age of the oldest message that is not finished",
}


class Figures:
    """One registry for one process. Thread-safe."""

    def __init__(self, part: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge("roost_up", "The part", ["part"], registry=self.registry).labels(part).set(1)
        self._accepted = self._counter("messages_accepted", "Events stored", "channel", "state")
        self._turns = self._counter("turns", "Turns that ended", "outcome", "reason")
        self._turn_s = self._histogram("turn_seconds", "From the message to the end", "outcome")
        self._wait_s = self._histogram("turn_wait_seconds", "From the message to the begin")
        self._calls = self._counter("model_calls", "Model calls", "finish")
        self._call_s = self._histogram("model_call_seconds", "Duration of a model call")
        self._first_s = self._histogram("model_first_token_seconds", "Until the first token")
        self._tokens = self._counter("model_tokens", "Tokens of model calls", "kind")
        self._tools = self._counter("tool_calls", "Tool calls that ended", "outcome")
        self._tool_s = self._histogram("tool_seconds", "Duration of a tool call", "outcome")
        self._attempts = self._counter("delivery_attempts", "Tries to send a part", "outcome")
        self._sent = self._counter("deliveries", "Messages to chats", "channel", "outcome")
        self._sent_s = self._histogram("delivery_seconds", "From queued to finished", "channel")
        self._queues: dict[str, Gauge] = {}

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"roost_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"roost_{name}", text, labels, buckets=BUCKETS_S, registry=self.registry)

    def set_queues(self, depths: Mapping[str, float]) -> None:
        """Set the queues' figures, by the names of QUEUES."""
        for name, value in depths.items():
            if name not in self._queues:
                self._queues[name] = Gauge(f"roost_{name}", QUEUES[name], registry=self.registry)
            self._queues[name].set(value)

    def exposition(self) -> bytes:
        """The figures in Prometheus's text format."""
        return generate_latest(self.registry)

    @singledispatchmethod
    def take(self, fact: Fact) -> None:
        """Count what was committed."""
        raise TypeError(type(fact).__name__)

    @take.register
    def _(self, fact: MessageAccepted) -> None:
        self._accepted.labels(fact.channel, fact.state).inc()

    @take.register
    def _(self, fact: TurnEnded) -> None:
        self._turns.labels(fact.outcome, fact.reason).inc()
        self._turn_s.labels(fact.outcome).observe(fact.finished_at - fact.queued_at)
        self._wait_s.observe(fact.started_at - fact.queued_at)

    @take.register
    def _(self, fact: ModelCalled) -> None:
        self._calls.labels(fact.finish).inc()
        self._call_s.observe(fact.duration_s)
        if fact.first_token_s is not None:
            self._first_s.observe(fact.first_token_s)
        for kind, tokens in (
            ("prompt", fact.prompt_tokens),
            ("cached", fact.cached_tokens),
            ("completion", fact.completion_tokens),
        ):
            self._tokens.labels(kind).inc(tokens)

    @take.register
    def _(self, fact: ToolCalled) -> None:
        self._tools.labels(fact.status).inc()
        self._tool_s.labels(fact.status).observe(fact.finished_at - fact.started_at)

    @take.register
    def _(self, fact: SendAttempted) -> None:
        self._attempts.labels(fact.outcome).inc()

    @take.register
    def _(self, fact: DeliveryEnded) -> None:
        self._sent.labels(fact.channel, fact.state).inc()
        self._sent_s.labels(fact.channel).observe(fact.finished_at - fact.created_at)
