"""Figures and spans of calls through the gateway: each is that of the usage rows."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from roost_inference.http.listener import listening
from roost_platform.db import models
from roost_platform.gateway.config import ModelConfig
from roost_platform.gateway.keys.ports import Spent
from roost_platform.gateway.observing import facts
from roost_platform.processes.web import live_of
from roost_platform.settings.config import Settings, load_settings
from roost_platform.telemetry.gateway_figures import CODES_MAX, OTHER, GatewayFigures, Labels
from roost_platform.telemetry.measuring import measured
from roost_platform.testing import free_port
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server
from roost_platform.views.engine.prometheus_text import Families

CHAT = "/v1/chat/completions"
SECRET = "the moon is made of cheese"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
async def server(tmp_path: Path, database_url: str) -> AsyncIterator[GatewayServer]:
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    given = {
        "gateway": {"failures_before_cooldown": 1, "cooldown_s": 60.0},
        "providers": {"gone": {"base_url": nowhere}},
        "models": {
            "second": {"targets": [{"provider": "gone", "model": "x"}, "roost/scripted"]},
            "dead": {"targets": ["gone/x"]},
        },
    }
    given["models"]["second"]["targets"][1] = {  # type: ignore[index]
        "provider": "roost",
        "model": "scripted",
        "order": 1,
    }
    async with gateway_server(tmp_path, database_url=database_url, overrides=given) as opened:
        yield opened


def asked(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": SECRET}], **more}


async def calls(server: GatewayServer) -> list[models.GatewayCall]:
    await server.until_idle()
    async with server.database.read() as session:
        order = models.GatewayCall.started_at
        return list(await session.scalars(select(models.GatewayCall).order_by(order)))


def settings_of(server: GatewayServer, **environ: str) -> Settings:
    given = {
        "data_dir": server.settings.data_dir,
        "models": {name: one.model_dump() for name, one in server.settings.models.items()},
        "providers": {
            name: {"base_url": one.base_url} for name, one in server.settings.providers.items()
        },
    }
    return load_settings(given, environ=environ)


async def scraped(server: GatewayServer, work: Any) -> str:
    """What a scrape shows after the work."""
    port = free_port()
    settings = settings_of(server, ROOST_METRICS__WEB_PORT=str(port))
    async with (
        measured(settings, "web", server.database, live_of(server.app)),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        await work()
        return (await http.get("/metrics")).text


def values(text: str, name: str) -> Mapping[tuple[str, ...], float]:
    """The samples of a name, by the values of their labels, whose names are in order."""
    found = {}
    for line in text.splitlines():
        if line.startswith((f"{name}{{", f"{name} ")):
            labels, _, value = line.removeprefix(name).rpartition(" ")
            pairs = [pair.split('"')[1] for pair in labels.strip("{}").split(",") if pair]
            found[tuple(pairs)] = float(value)
    return found


async def test_a_scrape_shows_what_the_usage_rows_hold(server: GatewayServer) -> None:
    _, poor = await server.new_key("poor", budget_tokens=1)

    async def work() -> None:
        assert (await server.post(CHAT, asked("fast"))).status_code == 200
        assert (await server.post(CHAT, asked("fast", stream=True))).status_code == 200
        assert (await server.post(CHAT, asked("second"))).status_code == 200
        assert (await server.post(CHAT, asked("second"))).status_code == 200
        assert (await server.post(CHAT, asked("roost/made-up-by-a-client"))).status_code
        assert (await server.post(CHAT, asked("dead"))).status_code == 503
        assert (await server.post(CHAT, asked("fast"), secret=poor)).status_code == 429
        assert (await server.post(CHAT, asked("fast"), secret="sk-no")).status_code == 401

    text = await scraped(server, work)
    rows = [row for row in await calls(server) if row.outcome != "refused"]
    counted = values(text, "roost_gateway_calls_total")
    of_fast = [row for row in rows if row.model == "fast" and row.outcome == "ok"]
    labels = ("fast", "ok", "roost/scripted")
    assert counted[labels] == len(of_fast) == 2
    assert sum(counted.values()) == len(rows)
    assert values(text, "vllm:prompt_tokens_total")[labels] == sum(r.input_tokens for r in of_fast)
    output = sum(row.output_tokens for row in of_fast)
    assert values(text, "vllm:generation_tokens_total")[labels] == output > 0
    first_s = values(text, "vllm:time_to_first_token_seconds_sum")[labels]
    assert first_s == pytest.approx(sum(row.ttft_ms or 0 for row in of_fast) / 1000)
    whole_s = values(text, "vllm:e2e_request_latency_seconds_sum")[labels]
    assert whole_s == pytest.approx(sum(row.duration_ms or 0 for row in of_fast) / 1000)
    # The first call of `second` failed at `gone`, which cools down from then on.
    failures = values(text, "roost_gateway_target_failures_total")
    assert failures["engine_unavailable", "gone/x"] == 1
    assert values(text, "roost_gateway_retries_total")["second",] == 1
    assert values(text, "roost_gateway_cooldowns_total")["gone/x",] == 1
    assert 0 < values(text, "roost_gateway_target_cooling_seconds")["gone/x",] <= 72
    refused = values(text, "roost_gateway_refused_total")
    assert refused["budget_exhausted",] == 1 and refused["invalid_api_key",] == 1
    assert values(text, "vllm:num_requests_running")["roost",] == 0
    assert values(text, "vllm:num_requests_waiting")[()] == 0
    # What clients name is no label.
    assert "made-up" not in text and SECRET not in text and "poor" not in text
    assert not facts._listeners
    assert Families.parse(text)


async def test_tokens_that_compression_saved_are_counted_by_model() -> None:
    registry = CollectorRegistry()
    models_of = {"fast": ModelConfig.model_validate({"targets": ["openai/gpt-5"]})}
    figures = GatewayFigures(registry, models_of, None)
    for saved in (1000, 234):
        spent = Spent(f"call-{saved}", "ok", 200, target="openai/gpt-5", saved_tokens=saved)
        figures.take(facts.CallEnded("chat", "fast", spent, 1.0))
    assert registry.get_sample_value("roost_gateway_saved_tokens_total", {"model": "fast"}) == 1234


async def test_codes_and_targets_that_providers_make_up_become_one_label() -> None:
    labels = Labels({"fast": ModelConfig.model_validate({"targets": ["openai/gpt-5"]})})
    assert labels.model("fast") == "fast" and labels.model("anything") == OTHER
    assert labels.model("roost/any-name-that-a-client-gives") == "roost"
    assert labels.target("openai/gpt-5") == "openai/gpt-5"
    assert labels.target("openai/made-up") == f"openai/{OTHER}"
    assert labels.target("made-up") == OTHER and labels.target("") == ""
    codes = {labels.code(f"code-{number}") for number in range(10 * CODES_MAX)}
    assert len(codes) == CODES_MAX + 1


async def test_a_call_is_a_span_of_the_client_s_trace_without_a_word_of_it(
    server: GatewayServer,
) -> None:
    spans: list[Any] = []
    raw = b""

    async def take(request: Request) -> Response:
        nonlocal raw
        body = await request.body()
        raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            spans.extend(span for scope in resource.scope_spans for span in scope.spans)
        return Response(media_type="application/x-protobuf")

    async with listening(Starlette(routes=[Route("/v1/traces", take, methods=["POST"])])) as url:
        settings = settings_of(
            server, ROOST_TELEMETRY__OTLP_ENDPOINT=url, ROOST_ENGINE__URL=server.engine.base_url
        )
        async with measured(settings, "web", server.database):
            for parent in (f"00-{TRACE}-{PARENT}-01", "", f"00-{'0' * 32}-{PARENT}-01", "x" * 5000):
                await server.client.post(
                    f"{server.url}{CHAT}",
                    json=asked("fast", user=SECRET),
                    headers={"authorization": f"Bearer {server.secret}", "traceparent": parent},
                )
            await server.client.post(  # the client's collector takes no spans of this trace
                f"{server.url}{CHAT}",
                json=asked("fast"),
                headers={
                    "authorization": f"Bearer {server.secret}",
                    "traceparent": f"00-{TRACE}-{PARENT}-00",
                },
            )
            await server.post(CHAT, asked("dead"))
    first, *others, failed = spans
    assert len(others) == 3
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACE, PARENT)
    assert all(not one.parent_span_id for one in others)
    assert len({one.trace_id for one in spans}) == 5
    row = (await calls(server))[0]
    told: dict[str, Any] = {}
    for pair in first.attributes:
        kind = pair.value.WhichOneof("value")
        told[pair.key] = getattr(pair.value, kind)
    assert first.name == "chat fast"
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.request.model"] == "fast"
    assert told["gen_ai.response.model"] == "scripted"
    assert told["gen_ai.provider.name"] == "roost"
    assert told["gen_ai.usage.input_tokens"] == row.input_tokens
    assert told["gen_ai.usage.output_tokens"] == row.output_tokens
    assert told["server.address"] == "127.0.0.1"
    assert str(told["server.port"]) in server.engine.base_url
    length_ms = (first.end_time_unix_nano - first.start_time_unix_nano) / 1e6
    assert length_ms == pytest.approx(row.duration_ms, abs=1)
    errors = {pair.key: pair.value.string_value for pair in failed.attributes}
    assert errors["error.type"] == "engine_unavailable"
    assert SECRET.encode() not in raw and server.secret.encode() not in raw
