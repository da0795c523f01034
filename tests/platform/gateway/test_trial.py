"""Trying a target through its real provider, and what agents' calls tell of themselves."""

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from roost_inference.client.engine_client import ChatRequest, Completed, Delta
from roost_inference.errors import EngineUnavailable
from roost_platform.db import models
from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.gateway.agents.recording import recording
from roost_platform.gateway.agents.routed import RoutedModels
from roost_platform.gateway.observing import facts
from roost_platform.gateway.observing.trial import OUTPUT_TOKENS_MAX, QUESTION, Trials
from roost_platform.testing import free_port
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server
from roost_platform.views.gateway.models import find_target, model_views


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    given = {
        "providers": {"gone": {"base_url": nowhere}},
        "models": {"dead": {"targets": ["gone/x"]}},
    }
    async with gateway_server(tmp_path, overrides=given) as opened:
        yield opened


async def rows(server: GatewayServer) -> list[models.GatewayCall]:
    async with server.database.read() as session:
        return list(await session.scalars(select(models.GatewayCall)))


async def test_a_trial_asks_the_real_engine_and_its_row_says_the_same(
    server: GatewayServer,
) -> None:
    catalogue = server.app.serving.router.catalogue
    target = find_target(catalogue, "fast", "roost/scripted")
    assert target is not None
    trials = Trials(server.app.serving.prices, GatewayKeys(server.database))
    told = await trials.run("fast", target, "Grace")
    assert told.answer and not told.error_code
    assert told.ttft_ms is not None and 0 <= told.ttft_ms <= told.duration_ms
    [asked] = server.engine.requests
    assert asked["messages"] == [{"role": "user", "content": QUESTION}]
    assert asked["max_tokens"] == OUTPUT_TOKENS_MAX
    [row] = await rows(server)
    assert (row.outcome, row.person, row.key_id) == ("ok", "Grace", "")
    assert (row.input_tokens, row.output_tokens) == (told.input_tokens, told.output_tokens)
    assert row.ttft_ms == pytest.approx(told.ttft_ms)
    assert trials.running == 0


async def test_a_trial_of_a_provider_that_is_away_tells_its_error(server: GatewayServer) -> None:
    catalogue = server.app.serving.router.catalogue
    target = find_target(catalogue, "dead", "gone/x")
    assert target is not None
    trials = Trials(server.app.serving.prices, GatewayKeys(server.database))
    told = await trials.run("dead", target, "Grace")
    assert (told.error_code, told.answer, told.ttft_ms) == ("engine_unavailable", "", None)
    assert target.health.failures == 1
    [row] = await rows(server)
    assert (row.outcome, row.cost_microusd, row.output_tokens) == ("failed", 0, 0)


async def test_without_an_alias_the_engine_of_this_installation_is_shown(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as server:
        serving = server.app.serving
        serving.router.catalogue.models.clear()
        [shown] = model_views(serving.router.catalogue, serving.prices, 0.0)
    assert shown.name == "roost"
    assert [one.is_ours for one in shown.targets] == [True]


class OneAnswer:
    """An engine client that answers once, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        """Answer."""
        if self.error is not None:
            raise self.error
        yield Completed(
            text="Hello.",
            tool_calls=(),
            finish_reason="stop",
            message_id="m",
            model="scripted",
            prompt_tokens=10,
            cached_tokens=4,
            completion_tokens=3,
        )


@pytest.mark.parametrize("fails", [False, True])
async def test_agents_calls_are_told_with_their_agent(server: GatewayServer, fails: bool) -> None:
    told: list[facts.Fact] = []
    error = EngineUnavailable("It is gone") if fails else None
    client: Any = OneAnswer(error)
    end = facts.listen(told.append)
    try:
        async with recording(GatewayKeys(server.database)) as recorder:
            routed = RoutedModels({"roost": client}, server.app.serving.router, recorder)
            async for _ in routed.stream(ChatRequest(messages=[], agent="concierge")):
                pass
    except EngineUnavailable:
        assert fails
    finally:
        end()
    [fact] = told
    assert isinstance(fact, facts.CallEnded)
    assert (fact.agent, fact.spent.outcome) == ("concierge", "failed" if fails else "ok")
    assert fact.spent.input_tokens == (0 if fails else 10)
