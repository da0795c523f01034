"""The client of several engines over HTTP: hand-overs, sessions, hints, and engines that go."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from roost_inference.client.engine_client import ChatRequest
from roost_inference.client.routing.control import HttpControl
from roost_inference.client.routing.pool import EnginePool
from roost_inference.client.sessions import EngineSession, EngineSessions
from roost_inference.errors import EngineUnavailable, UnknownSession
from roost_inference.http.listener import bind, listening, url_of
from roost_inference.testing.peers.app import peer_app
from roost_inference.testing.peers.scripted import ScriptedPeer, answer_to
from roost_inference.testing.scripted import ScriptedEngine

LONG = "word " * 2000


@dataclass
class Pair:
    decode: ScriptedPeer
    prefill: ScriptedPeer
    pool: EnginePool


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def opened(
    *decode: ScriptedPeer, prefill: tuple[ScriptedPeer, ...] = ()
) -> AsyncIterator[EnginePool]:
    async with contextlib.AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(listening(peer_app(one))) for one in decode]
        readers = [await stack.enter_async_context(listening(peer_app(one))) for one in prefill]
        pool = EnginePool(urls, readers)
        stack.push_async_callback(pool.close)
        await pool.router.learn()
        yield pool


@contextlib.asynccontextmanager
async def closing(pool: EnginePool) -> AsyncIterator[EnginePool]:
    try:
        yield pool
    finally:
        await pool.close()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    decode, prefill = ScriptedPeer("d", ms_per_token=0.5), ScriptedPeer("p", ms_per_token=0.01)
    decode.peers = {"p": prefill}
    async with opened(decode, prefill=(prefill,)) as pool:
        yield Pair(decode, prefill, pool)


def ask(text: str, session: str | None = None) -> ChatRequest:
    return ChatRequest([{"role": "user", "content": text}], session_id=session, cache_salt="t")


async def test_a_long_prompt_goes_over_both_engines(pair: Pair) -> None:
    completed = await pair.pool.complete(ask(LONG))
    assert completed.text.strip() == answer_to(LONG)
    assert completed.prompt_tokens == 2000
    assert (pair.decode.fetched, pair.prefill.computed) == (1999, 2000)
    assert pair.prefill.leases == {}
    assert pair.pool.router.leases.count == 0


async def test_a_short_prompt_is_asked_of_one_engine_alone(pair: Pair) -> None:
    await pair.pool.complete(ask("hello there"))
    assert pair.decode.told.count("answer") == 1
    assert {*pair.decode.told, *pair.prefill.told} <= {"summary", "sessions", "answer"}


async def test_what_an_answer_took_is_learned_also_by_those_who_leave_with_its_last_item(
    pair: Pair,
) -> None:
    await pair.pool.complete(ask("hello there"))
    assert pair.pool.router.counts["ended"] == 1
    assert pair.pool.router.decode[0].in_flight == 0


async def test_a_caller_that_leaves_releases_over_http(pair: Pair) -> None:
    pair.decode.peers = {}
    asking = asyncio.create_task(pair.pool.complete(ask(LONG)))
    await until(lambda: pair.decode.running > 0)
    assert len(pair.prefill.leases) == 1
    asking.cancel()
    await asyncio.wait({asking})
    await until(lambda: not pair.prefill.leases)


async def test_a_prefill_engine_that_is_gone_is_not_asked(pair: Pair) -> None:
    await pair.pool.router.prefill[0].control.close()
    pair.pool.router.prefill[0].control = HttpControl("http://127.0.0.1:9")
    assert (await pair.pool.complete(ask(LONG))).text.strip() == answer_to(LONG)
    assert pair.pool.router.counts["offered"] == 0
    state = pair.pool.states()[1]
    assert (state.duty, state.state) == ("prefill", "down")
    assert "can't be reached" in state.problem


async def test_an_engine_that_is_none_of_ours_answers_alone() -> None:
    prefill = ScriptedPeer("p")
    async with (
        ScriptedEngine() as scripted,
        listening(peer_app(prefill)) as reader,
        closing(EnginePool([scripted.base_url], [reader])) as pool,
    ):
        await pool.router.learn()
        assert (await pool.complete(ask(LONG))).text
        assert prefill.told == ["summary"]
        assert "kv_transfer_params" not in scripted.requests[0]


async def test_hints_about_a_session_reach_the_engine_that_has_it() -> None:
    one, two = ScriptedPeer("a"), ScriptedPeer("b", known_sessions=["s7"])
    async with opened(one, two) as pool:
        sessions = EngineSessions(pool)
        await sessions.pin(EngineSession("s7", "t"), "tool", 5)
        assert "pin s7" in two.told
        with pytest.raises(UnknownSession):
            await sessions.prefetch(EngineSession("s8", "t"))
        assert ("prefetch s8" in one.told, "prefetch s8" in two.told) == (True, True)
        listed = await sessions.list(10)
        assert [entry["id"] for entry in listed] == ["s7"]


async def test_engines_share_requests_and_one_that_goes_is_replaced() -> None:
    one, two = ScriptedPeer("a"), ScriptedPeer("b")
    async with opened(one, two) as pool:
        await asyncio.gather(*(pool.complete(ask(f"question {n}")) for n in range(8)))
        assert (one.told.count("answer"), two.told.count("answer")) == (4, 4)
        one.die()
        texts = [(await pool.complete(ask(f"again {n}"))).text for n in range(6)]
        assert len(texts) == 6
        assert [state.state for state in pool.states()].count("up") == 1


async def test_nobody_there_is_one_clear_error() -> None:
    gone = bind("127.0.0.1", 0)
    url = url_of(gone)
    gone.close()
    async with closing(EnginePool([url, "http://127.0.0.1:9"])) as pool:
        with pytest.raises(EngineUnavailable, match="can't be reached"):
            await pool.complete(ask("hello"))
        with pytest.raises(EngineUnavailable):
            await pool.models()
        with pytest.raises(EngineUnavailable):
            await EngineSessions(pool).list(3)


async def test_an_offer_that_is_none_is_told_with_its_reason() -> None:
    async with ScriptedEngine() as scripted:
        control = HttpControl(scripted.base_url)
        with pytest.raises(EngineUnavailable, match="It makes no offer"):
            await control.prefill({"messages": [{"role": "user", "content": "x"}]})
        assert await control.summary() is None
        await control.close()
