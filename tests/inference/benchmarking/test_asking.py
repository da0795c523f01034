"""A measured request: when its pieces came, what it cost, and how it fails."""

import pytest

from roost_inference.benchmarking.servers import OURS, BenchmarkServer
from roost_inference.benchmarking.timed_request import Call, ask, connect
from roost_inference.errors import EngineError, EngineFailed
from roost_inference.testing.scripted import ScriptedEngine


def saying(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def test_a_call_keeps_the_text_the_times_and_the_counts() -> None:
    async with ScriptedEngine() as engine, connect(engine.base_url) as http:
        call = await ask(http, saying("[[slow:4]]"), 16, session_id="s", salt="tenant")
    assert call.text
    assert len(call.piece_s) == len(call.gaps_ms) + 1 > 1
    assert call.sent_s < call.piece_s[0] and call.ttft_ms > 0
    assert min(call.gaps_ms) >= 0
    assert call.prompt_tokens > 0 and call.completion_tokens > 0
    body = engine.requests[0]
    assert (body["session_id"], body["cache_salt"], body["temperature"]) == ("s", "tenant", 0)


async def test_a_refusal_is_an_error_not_a_figure() -> None:
    async with ScriptedEngine() as engine, connect(engine.base_url) as http:
        with pytest.raises(EngineError):
            await ask(http, saying("[[fail:500]]"), 16)


async def test_an_answer_without_text_is_an_error() -> None:
    async with ScriptedEngine() as engine, connect(engine.base_url) as http:
        with pytest.raises(EngineFailed, match="no text"):
            await ask(http, saying("[[say:]]"), 16)


async def test_an_engine_without_tiers_reports_none() -> None:
    async with ScriptedEngine() as engine, connect(engine.base_url) as http:
        server = BenchmarkServer(OURS, http)
        assert await server.tiers() == {}
        assert await server.running() == 0


def test_the_rate_leaves_out_the_first_token() -> None:
    call = Call(0.0, piece_s=[5.0, 6.0, 7.0], completion_tokens=3)
    assert call.tokens_per_second == 1.0
    assert call.ttft_ms == 5000.0
