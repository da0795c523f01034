"""Figures and spans: what a committed exchange leaves at a scrape and at a collector."""

import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from roost_channels.rendering.parts import RenderedPart
from roost_inference.http.listener import bind, listening, url_of
from roost_platform.db.base.committed import facts
from roost_platform.db.base.committed.facts import TurnEnded
from roost_platform.errors import ConfigError, PortInUse
from roost_platform.settings.config import load_settings
from roost_platform.telemetry import spans as spans_module
from roost_platform.telemetry.measuring import measured
from roost_platform.testing import free_port
from roost_platform.testing.chats import Person
from roost_platform.testing.contracts import StoredChat, stored_chat
from roost_workflows.ports import PlannedCall

SECRET = "the moon is made of cheese"


class Collector:
    """An OTLP receiver; answer: the status that it gives."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: set[tuple[str, str]] = set()
        self.headers: list[str] = []
        self.raw = b""
        self.answer = 200
        self.app = Starlette(routes=[Route("/v1/traces", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        self.headers.append(request.headers.get("x-key", ""))
        if self.answer == 200:
            self.raw += body
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for pair in resource.resource.attributes:
                    self.resources.add((pair.key, pair.value.string_value))
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
        return Response(status_code=self.answer, media_type="application/x-protobuf")


@pytest.fixture
async def chat(database_url: str) -> AsyncIterator[StoredChat]:
    async with stored_chat(database_url) as opened:
        assert isinstance(opened, StoredChat)
        yield opened


async def exchange(chat: StoredChat) -> str:
    """A message, a tool call that fails, an answer, and its delivery at the second try."""
    ada: Person = chat.person
    await ada.says(SECRET)
    turn = await ada.turn()
    chat.clock.advance(1.0)
    calls = [PlannedCall("c1", "look", f'{{"for": "{SECRET}"}}', "pure")]
    await ada.agent_says(turn, 1, SECRET, finish="tools", calls=calls)
    await ada.stores.turns.begin_call(turn.turn_id, 1, "c1")
    chat.clock.advance(2.0)
    await ada.stores.turns.finish_call(turn.turn_id, 1, "c1", status="error", result=SECRET)
    await ada.stores.turns.close_group(turn.turn_id, 1)
    await ada.agent_says(turn, 2, SECRET)
    head = await chat.outbox.next_entry(chat.address)
    assert head is not None
    [part] = await chat.outbox.plan(head[0].id, [RenderedPart(SECRET, (), 0, len(SECRET))])
    await chat.outbox.sending(part.id, "me", 60.0)
    chat.clock.advance(3.0)
    await chat.outbox.sent(part.id, "m1")
    return turn.turn_id


def test_off_loads_no_library_of_telemetry() -> None:
    code = (
        "import asyncio, sys\n"
        "from roost_platform.settings.config import load_settings\n"
        "from roost_platform.telemetry.measuring import measured\n"
        "async def main():\n"
        "    async with measured(load_settings(environ={}), 'courier', None): pass\n"
        "asyncio.run(main())\n"
        "print([m for m in ('opentelemetry.sdk', 'prometheus_client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
    assert not facts._listeners


async def test_an_exchange_is_one_trace_without_a_word_of_it(chat: StoredChat) -> None:
    collector = Collector()
    async with listening(collector.app) as url:
        settings = load_settings(
            environ={
                "ROOST_TELEMETRY__OTLP_ENDPOINT": url,
                "ROOST_TELEMETRY__OTLP_HEADERS": '{"x-key": "k1"}',
            }
        )
        async with measured(settings, "worker", chat.person.stores.database):
            turn_id = await exchange(chat)
    by_name = {span.name.split()[0]: span for span in collector.spans}
    names = sorted(span.name for span in collector.spans)
    assert names == [
        "chat test",
        "chat test",
        "deliver telegram",
        "execute_tool look",
        f"invoke_agent {(await chat.person.stores.turns.get(turn_id)).agent}",
        "message accepted",
    ]
    assert {span.trace_id.hex() for span in collector.spans} == {turn_id.replace("-", "")}
    root = by_name["invoke_agent"]
    assert not root.parent_span_id
    assert {s.parent_span_id for s in collector.spans if s is not root} == {root.span_id}
    tool = by_name["execute_tool"]
    assert (tool.end_time_unix_nano - tool.start_time_unix_nano) == 2_000_000_000
    assert {a.key: a.value.string_value for a in tool.attributes}["error.type"] == "error"
    used = {a.key: a.value.int_value for a in by_name["chat"].attributes}
    assert (used["gen_ai.usage.input_tokens"], used["gen_ai.usage.output_tokens"]) == (10, 5)
    assert {("service.name", "roost"), ("roost.part", "worker")} <= collector.resources
    assert set(collector.headers) == {"k1"}
    assert SECRET.encode() not in collector.raw


@pytest.mark.parametrize("fault", ["refuses", "away", "stalls"])
async def test_a_collector_that_fails_disturbs_nothing(chat: StoredChat, fault: str) -> None:
    collector = Collector()
    collector.answer = 400
    stalled = bind("127.0.0.1", 0)  # connections wait in it, and nobody takes them
    async with listening(collector.app) as url:
        away = f"http://127.0.0.1:{free_port()}"
        endpoint = {"refuses": url, "away": away, "stalls": url_of(stalled)}[fault]
        settings = load_settings(environ={"ROOST_TELEMETRY__OTLP_ENDPOINT": endpoint})
        async with measured(settings, "worker", chat.person.stores.database):
            turn_id = await exchange(chat)
        assert (await chat.person.stores.turns.get(turn_id)).turn_id == turn_id
    stalled.close()


def test_spans_beyond_the_queue_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans_module, "QUEUE_MAX", 4)
    monkeypatch.setattr(spans_module, "BATCH_MAX", 4)
    go_on = threading.Event()
    exported: list[str] = []

    class Stalled(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            go_on.wait(20)
            exported.extend(span.name for span in spans)
            return SpanExportResult.SUCCESS

    made = spans_module.Spans(Stalled(), "worker", "1")
    for number in range(100):
        times = (1.0, 2.0, 3.0)
        made.take(TurnEnded(str(UUID(int=number + 1)), "c", "agent", "done", "", *times))
    go_on.set()
    made.close()
    # Four wait, and four more may have been on their way.
    assert 0 < len(exported) <= 8


async def test_a_scrape_shows_what_was_committed_and_how_long_the_queues_are(
    chat: StoredChat,
) -> None:
    port = free_port()
    settings = load_settings(environ={"ROOST_METRICS__COURIER_PORT": str(port)})
    async with (
        measured(settings, "courier", chat.person.stores.database),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        await exchange(chat)
        await chat.person.says("one more")
        text = (await http.get("/metrics")).text
        rebound = await http.get("/metrics", headers={"Host": "evil.example"})
    for line in (
        'roost_messages_accepted_total{channel="telegram",state="pending"} 2.0',
        'roost_turns_total{outcome="done",reason=""} 1.0',
        'roost_turn_seconds_sum{outcome="done"} 3.0',
        'roost_model_calls_total{finish="tools"} 1.0',
        'roost_model_tokens_total{kind="completion"} 10.0',
        'roost_tool_calls_total{outcome="error"} 1.0',
        'roost_tool_seconds_sum{outcome="error"} 2.0',
        'roost_delivery_attempts_total{outcome="sent"} 1.0',
        'roost_deliveries_total{channel="telegram",outcome="sent"} 1.0',
        'roost_delivery_seconds_sum{channel="telegram"} 3.0',
        "roost_inbox_pending 1.0",
        "roost_outbox_pending 0.0",
        'roost_up{part="courier"} 1.0',
    ):
        assert line in text.splitlines(), line
    assert "process_cpu_seconds_total" in text
    assert SECRET not in text and "1001" not in text
    assert rebound.status_code == 400
    assert not facts._listeners


async def test_a_port_that_others_reach_needs_a_token(sqlite_url: str) -> None:
    port = free_port()
    given = {"ROOST_METRICS__WORKER_PORT": str(port), "ROOST_METRICS__HOST": "0.0.0.0"}
    with pytest.raises(ConfigError, match="needs a token"):
        load_settings(environ=given)
    settings = load_settings(environ=given | {"ROOST_METRICS__TOKEN": "t1"})
    async with stored_chat(sqlite_url) as opened:
        assert isinstance(opened, StoredChat)
        database = opened.person.stores.database
        async with (
            measured(settings, "worker", database),
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
        ):
            asked = [
                (await http.get("/metrics", headers=headers)).status_code
                for headers in (
                    {},
                    {"Authorization": "Bearer t2"},
                    {"Authorization": "Bearer t1", "Host": "worker"},
                )
            ]
            with pytest.raises(PortInUse, match="metrics of worker"):
                async with measured(settings, "worker", database):
                    pass
    assert asked == [401, 401, 200]


async def test_a_listener_that_fails_disturbs_nothing(chat: StoredChat) -> None:
    def fail(fact: object) -> None:
        raise RuntimeError("no")

    end = facts.listen(fail)
    try:
        await chat.person.says("still stored")
    finally:
        end()
    assert ("still stored", "pending") in await chat.person.inbox()
