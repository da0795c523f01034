"""OpenTelemetry spans of the gateway's calls, by the names of GenAI; content is never in them."""

import hashlib
from collections.abc import Mapping
from functools import singledispatchmethod
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from roost_platform.gateway.observing.facts import CallEnded, Fact
from roost_platform.telemetry.spans import Attributes, Spans

OPERATIONS: Final[Mapping[str, str]] = {
    "chat": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
_propagator = TraceContextTextMapPropagator()


class CallSpans:
    """Makes the span of each client's call. It belongs to the client's trace where the request has
    a `traceparent`, else it is a trace of its own.

    servers: (host, port) by the name of the provider.
    """

    def __init__(self, spans: Spans, servers: Mapping[str, tuple[str, int]]) -> None:
        self._spans = spans
        self._servers = servers

    @singledispatchmethod
    def take(self, fact: Fact) -> None:
        """Make the span of a fact; only calls have one."""

    @take.register
    def _(self, fact: CallEnded) -> None:
        if fact.agent:  # its turn's trace has the span of the call
            return
        spent = fact.spent
        operation = OPERATIONS[fact.family]
        digest = hashlib.sha256(spent.call_id.encode()).digest()
        self._spans.make(
            f"{operation} {fact.model}",
            client_context(fact.traceparent),
            (int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1),
            (fact.ended_at - spent.duration_ms / 1000, fact.ended_at),
            self._attributes(fact, operation),
            kind=SpanKind.CLIENT,
            error=(spent.error_code or spent.outcome) if spent.outcome == "failed" else "",
        )

    def _attributes(self, fact: CallEnded, operation: str) -> Attributes:
        spent = fact.spent
        provider, _, model = spent.target.partition("/")
        found: dict[str, str | int | float] = {
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": fact.model,
            "gen_ai.usage.input_tokens": spent.input_tokens,
            "gen_ai.usage.output_tokens": spent.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": spent.cached_tokens,
            "roost.outcome": spent.outcome,
            "roost.gateway.call": spent.call_id,
            "roost.gateway.tries": len(spent.tries),
        }
        if provider:
            found["gen_ai.provider.name"] = provider
            found["gen_ai.response.model"] = model or fact.model
        if provider in self._servers:
            found["server.address"], found["server.port"] = self._servers[provider]
        if spent.ttft_ms is not None:
            found["gen_ai.response.time_to_first_chunk"] = spent.ttft_ms / 1000
        return found


def client_context(traceparent: str) -> Context:
    """The client's trace as the parent; an empty context for none, or one that is not valid."""
    context = _propagator.extract({"traceparent": traceparent}, Context())
    return context if get_current_span(context).get_span_context().is_valid else Context()
