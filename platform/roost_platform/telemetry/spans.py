"""OpenTelemetry spans of what was committed. Imported only where a collector is configured.

A turn is a trace: its id is the turn's, and the ids of spans follow from what they stand for. So
processes agree on them without handing anything on. Content is never in a span.
"""

import hashlib
import threading
from collections.abc import Mapping
from functools import singledispatchmethod
from typing import Final
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from roost_platform.db.base.committed.facts import (
    DeliveryEnded,
    Fact,
    MessageAccepted,
    ModelCalled,
    SendAttempted,
    ToolCalled,
    TurnEnded,
)

QUEUE_MAX: Final = 2048  # spans that wait for the collector; more are dropped
BATCH_MAX: Final = 256
EVERY_MS: Final = 2000.0
EXPORT_TIMEOUT_S: Final = 5.0
CLOSE_S: Final = 2.0
TURN: Final = "turn"
ERRORS: Final = frozenset({"failed", "error", "unknown"})

Attributes = Mapping[str, str | int | float]


class _GivenIds(IdGenerator):
    """Gives the ids that were set just before."""

    trace_id = 1
    span_id = 1

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


def trace_id_of(turn_id: str) -> int:
    """The trace of a turn: its id as a number."""
    return UUID(turn_id).int


def span_id_of(turn_id: str, *what: object) -> int:
    """The span of a step of a turn."""
    name = ":".join([turn_id, *map(str, what)])
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) or 1


class Spans:
    """Turns facts into spans, and hands them to an exporter through a bounded queue.

    A collector that fails, stalls or is away costs spans and nothing else.
    """

    def __init__(self, exporter: SpanExporter, part: str, version: str) -> None:
        self._ids = _GivenIds()
        self._lock = threading.Lock()
        self._batches = BatchSpanProcessor(
            exporter,
            max_queue_size=QUEUE_MAX,
            max_export_batch_size=BATCH_MAX,
            schedule_delay_millis=EVERY_MS,
        )
        resource = Resource.create(
            {"service.name": "roost", "service.version": version, "roost.part": part}
        )
        provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(self._batches)
        self._tracer = provider.get_tracer("roost", version)

    def close(self) -> None:
        """Send what waits, for at most CLOSE_S; a collector that stalls delays no stop."""
        sending = threading.Thread(target=self._batches.force_flush, daemon=True)
        sending.start()
        sending.join(CLOSE_S)

    @singledispatchmethod
    def take(self, fact: Fact) -> None:
        """Make the span of a fact."""
        raise TypeError(type(fact).__name__)

    @take.register
    def _(self, fact: MessageAccepted) -> None:
        """It belongs to no turn yet; the turn's span begins when its first message came."""

    @take.register
    def _(self, fact: SendAttempted) -> None:
        """A delivery is one span, with all its tries."""

    @take.register
    def _(self, fact: TurnEnded) -> None:
        self._span(
            f"invoke_agent {fact.agent}",
            fact.turn_id,
            (TURN,),
            (fact.queued_at, fact.finished_at),
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": fact.agent,
                "gen_ai.conversation.id": fact.conversation_id,
                "roost.outcome": fact.outcome,
            },
            error=(fact.reason or fact.outcome) if fact.outcome in ERRORS else "",
        )
        self._span(
            "message accepted",
            fact.turn_id,
            ("accepted",),
            (fact.queued_at, fact.started_at),
            {"gen_ai.conversation.id": fact.conversation_id},
            kind=SpanKind.CONSUMER,
        )

    @take.register
    def _(self, fact: ModelCalled) -> None:
        attributes: dict[str, str | int | float] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "roost",
            "gen_ai.request.model": fact.model,
            "gen_ai.response.model": fact.model,
            "gen_ai.conversation.id": fact.conversation_id,
            "gen_ai.usage.input_tokens": fact.prompt_tokens,
            "gen_ai.usage.output_tokens": fact.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": fact.cached_tokens,
            "roost.finish": fact.finish,
        }
        if fact.first_token_s is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = fact.first_token_s
        self._span(
            f"chat {fact.model}",
            fact.turn_id,
            ("model", fact.step),
            (fact.started_at, fact.started_at + fact.duration_s),
            attributes,
            kind=SpanKind.CLIENT,
        )

    @take.register
    def _(self, fact: ToolCalled) -> None:
        self._span(
            f"execute_tool {fact.name}",
            fact.turn_id,
            ("tool", fact.step, fact.call_id),
            (fact.started_at, fact.finished_at),
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": fact.name,
                "gen_ai.tool.type": "function",
                "gen_ai.tool.call.id": fact.call_id,
                "gen_ai.conversation.id": fact.conversation_id,
                "roost.outcome": fact.status,
            },
            error=fact.status if fact.status in ERRORS else "",
        )

    @take.register
    def _(self, fact: DeliveryEnded) -> None:
        if fact.turn_id is None:  # a notice, or an operator's words
            return
        self._span(
            f"deliver {fact.channel}",
            fact.turn_id,
            ("delivery", fact.outbox_id),
            (fact.created_at, fact.finished_at),
            {
                "messaging.system": fact.channel,
                "messaging.operation.type": "send",
                "messaging.message.id": fact.outbox_id,
                "gen_ai.conversation.id": fact.conversation_id,
                "roost.outcome": fact.state,
            },
            kind=SpanKind.PRODUCER,
            error=fact.state if fact.state in ERRORS else "",
        )

    def _span(
        self,
        name: str,
        turn_id: str,
        what: tuple[object, ...],
        times: tuple[float, float],
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        error: str = "",
    ) -> None:
        """Make one span. `what` names it within its turn; all but the turn's hang below that."""
        parent = Context() if what == (TURN,) else _below_turn(turn_id)
        ids = trace_id_of(turn_id), span_id_of(turn_id, *what)
        self.make(name, parent, ids, times, attributes, kind=kind, error=error)

    def make(
        self,
        name: str,
        parent: Context,
        ids: tuple[int, int],
        times: tuple[float, float],
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        error: str = "",
    ) -> None:
        """Make a span with these ids of trace and span; the trace's counts where `parent` is empty.
        times: its begin and end, in seconds since the epoch.
        """
        begin, end = (int(at * 1e9) for at in times)
        with self._lock:
            self._ids.trace_id, self._ids.span_id = ids
            span = self._tracer.start_span(
                name, parent, kind=kind, attributes=dict(attributes), start_time=begin
            )
        if error:
            span.set_attribute("error.type", error)
            span.set_status(StatusCode.ERROR)
        span.end(max(begin, end))


def _below_turn(turn_id: str) -> Context:
    parent = SpanContext(
        trace_id_of(turn_id), span_id_of(turn_id, TURN), True, TraceFlags(TraceFlags.SAMPLED)
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())


def otlp_exporter(endpoint: str, headers: Mapping[str, str]) -> OTLPSpanExporter:
    """Return an exporter to a collector's base URL, by OTLP over HTTP."""
    url = endpoint.rstrip("/")
    return OTLPSpanExporter(
        endpoint=url if url.endswith("/v1/traces") else f"{url}/v1/traces",
        headers=dict(headers),
        timeout=EXPORT_TIMEOUT_S,
    )
