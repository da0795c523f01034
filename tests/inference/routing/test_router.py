"""The router over scripted engines on a virtual clock: where requests go, and what happens then."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from roost_inference.client.routing.engines import RoutedEngine
from roost_inference.client.routing.handover import ALONE_S_MAX
from roost_inference.client.routing.route import Route, RoutedCall
from roost_inference.client.routing.router import EngineRouter
from roost_inference.errors import EngineUnavailable, InvalidRequest, QueueFull
from roost_inference.testing.peers.scripted import LEASE_S, ScriptedPeer, answer_to, prompt_text
from roost_platform.chaos.sim.loop import VirtualLoop

LONG = "word " * 2000
SHORT = "a short question"


def now() -> float:
    return asyncio.get_running_loop().time()


def call(text: str, session: str | None = None) -> RoutedCall:
    """Each line of the text is a message."""
    messages = [{"role": "user", "content": line} for line in text.split("\n")]
    return RoutedCall({"messages": messages}, session)


@dataclass
class World:
    """Decode engines d0, d1 … that read a word in 20 ms, prefill engines p0 … in 1 ms."""

    decode: list[ScriptedPeer]
    prefill: list[ScriptedPeer]
    steps: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for peer in self.decode:
            peer.peers = {one.name: one for one in self.prefill}
        self.router = self.new_router()

    def new_router(self) -> EngineRouter:
        return EngineRouter(
            [RoutedEngine(f"http://{one.name}", "decode", one, now) for one in self.decode],
            [RoutedEngine(f"http://{one.name}", "prefill", one, now) for one in self.prefill],
            on_step=lambda step, engine: self.steps.append((step, engine)),
        )

    async def ask(self, text: str, session: str | None = None) -> str:
        return "".join([word async for word in self.stream(text, session)])

    async def stream(self, text: str, session: str | None = None) -> AsyncGenerator[str, None]:
        request = call(text, session)

        async def say(route: Route) -> AsyncGenerator[str, None]:
            peer = next(one for one in self.decode if one.name == route.engine.name)
            async with contextlib.aclosing(peer.answer(request.body, route.params)) as words:
                async for word in words:
                    yield word
            route.used(len(prompt_text(request.body).split()), 5)

        async with contextlib.aclosing(self.router.stream(request, say, bool)) as words:
            async for word in words:
                yield word

    def answered_by(self) -> list[str]:
        return [engine for step, engine in self.steps if step == "begun"]

    def count(self, step: str) -> int:
        return sum(one == step for one, _ in self.steps)


def world(decode: int = 1, prefill: int = 1, **given: Any) -> World:
    return World(
        [ScriptedPeer(f"d{n}", ms_per_token=20.0, **given) for n in range(decode)],
        [ScriptedPeer(f"p{n}", ms_per_token=1.0) for n in range(prefill)],
    )


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(work())
        assert not loop.unhandled
    finally:
        loop.close()


def test_a_long_prompt_is_read_by_the_prefill_engine_and_handed_over() -> None:
    async def work() -> None:
        all_ = world()
        await all_.router.learn()
        began = now()
        assert (await all_.ask(LONG)).strip() == answer_to(LONG)
        (decode,), (prefill,) = all_.decode, all_.prefill
        assert (prefill.computed, decode.fetched, decode.computed) == (2000, 1999, 1)
        assert now() - began < 3
        assert (prefill.live_leases(), all_.router.leases.count) == (0, 0)
        await all_.router.close()

    run(work)


def test_a_way_that_was_measured_to_be_slow_is_not_taken() -> None:
    async def work() -> None:
        for told, computed in ((30.0, 2000), (15.0, 1)):
            all_ = world(fetch_ms_per_token=told)
            await all_.router.learn()
            await all_.ask(LONG)
            await all_.router.close()
            assert all_.decode[0].computed == computed

    run(work)


def test_a_router_that_knows_nothing_asks_nobody_first() -> None:
    async def work() -> None:
        all_ = world()
        await all_.ask(LONG)
        assert "lookup" not in all_.decode[0].told + all_.prefill[0].told
        assert "prefill" not in all_.prefill[0].told
        await all_.router.close()

    run(work)


def test_a_short_or_a_cached_prompt_is_not_split() -> None:
    async def work() -> None:
        all_ = world()
        await all_.router.learn()
        await all_.ask(SHORT)
        assert all_.decode[0].told.count("lookup") == 0
        all_.decode[0].cached[LONG] = 2000  # from a disk, say: the router never saw it
        await all_.ask(LONG)
        assert all_.count("asked") == 0
        assert all_.decode[0].told.count("lookup") == 1
        await all_.ask(f"{LONG}\nmore")
        assert all_.count("asked") == 0
        assert all_.decode[0].told.count("lookup") == 1, "by now it knows without asking"
        await all_.router.close()

    run(work)


def test_another_kind_of_kv_is_never_asked_for() -> None:
    async def work() -> None:
        all_ = world()
        all_.prefill[0].compat = "other"
        await all_.router.learn()
        await all_.ask(LONG)
        assert all_.count("asked") == 0
        await all_.router.close()

    run(work)


def test_a_dead_prefill_engine_costs_one_bounded_try_and_is_then_left_alone() -> None:
    async def work() -> None:
        all_ = world()
        await all_.router.learn()
        all_.prefill[0].die()
        began = now()
        assert (await all_.ask(LONG)).strip() == answer_to(LONG)
        assert now() - began == pytest.approx(2000 * 0.02, abs=1)
        assert (all_.count("asked"), all_.count("no offer")) == (1, 1)
        await all_.ask(f"other {LONG}")
        assert all_.count("asked") == 1
        all_.prefill[0].revive()
        for number in range(4):  # seen to be back beside the requests, then used again
            await asyncio.sleep(30)
            await all_.ask(f"{number} {LONG}")
        assert all_.count("offered") >= 2
        await all_.router.close()

    run(work)


def test_for_an_engine_that_is_down_nothing_is_read_elsewhere() -> None:
    async def work() -> None:
        all_ = world()
        await all_.router.learn()
        all_.decode[0].die()
        for _ in range(5):
            with pytest.raises(EngineUnavailable):
                await all_.ask(LONG)
        assert all_.count("asked") == 1
        all_.decode[0].revive()
        await asyncio.sleep(60)
        await all_.router.learn()
        await all_.ask(LONG)
        assert all_.decode[0].fetched == 1999
        await all_.router.close()

    run(work)


def test_a_prefill_engine_that_hangs_costs_a_bounded_time() -> None:
    async def work() -> None:
        all_ = world()
        await all_.router.learn()
        all_.prefill[0].ms_per_token = 1e6
        began = now()
        await all_.ask(LONG)
        assert now() - began < ALONE_S_MAX + 2000 * 0.02 + 1
        await all_.router.close()
        assert all_.router.leases.count == 0

    run(work)


def test_the_caller_that_leaves_releases_the_lease() -> None:
    async def work() -> None:
        all_ = world()
        await all_.router.learn()
        (decode,), (prefill,) = all_.decode, all_.prefill
        leaving: list[asyncio.Task[str]] = []

        def leave(step: str, engine: ScriptedPeer) -> None:
            if step == "after the offer":
                asyncio.get_running_loop().call_later(0.001, leaving[0].cancel)

        prefill.at = leave
        decode.peers = {}  # it fetches nothing, and reads for long
        leaving.append(asyncio.create_task(all_.ask(LONG)))
        await asyncio.wait(leaving)
        assert leaving[0].cancelled()
        await asyncio.sleep(0.1)
        assert (prefill.live_leases(), all_.router.leases.count) == (0, 0)
        assert prefill.told.count("release") == 1
        assert decode.running == 0
        await all_.router.close()

    run(work)


@pytest.mark.parametrize(
    "refusal", [InvalidRequest("no"), QueueFull("full"), EngineUnavailable("stopping")]
)
def test_every_refusal_of_the_decode_engine_releases_the_lease(refusal: Any) -> None:
    async def work() -> None:
        all_ = world()
        await all_.router.learn()
        all_.decode[0].refuses = refusal
        with pytest.raises(type(refusal)):
            await all_.ask(LONG)
        await asyncio.sleep(0.1)
        assert all_.count("offered") == 1
        assert all_.prefill[0].told.count("release") == 1
        assert all_.prefill[0].live_leases() == 0
        await all_.router.close()

    run(work)


def test_a_lease_is_renewed_while_the_decode_engine_lets_the_request_wait() -> None:
    async def work() -> None:
        all_ = world()
        await all_.router.learn()
        (decode,), (prefill,) = all_.decode, all_.prefill
        decode.peers = {}  # as if it had not been admitted yet
        decode.ms_per_token = 20.0
        asking = asyncio.create_task(all_.ask(LONG))
        await asyncio.sleep(30)
        assert prefill.live_leases() == 1, "without heartbeats it would have ended after 9 s"
        await asking
        beats = prefill.told.count("renew")
        assert beats == pytest.approx(40 / (LEASE_S / 3), abs=2)
        await asyncio.sleep(2 * LEASE_S)
        assert prefill.told.count("renew") == beats
        assert prefill.live_leases() == 0
        await all_.router.close()

    run(work)


def test_a_router_that_closes_gives_back_what_is_offered() -> None:
    async def work() -> None:
        all_ = world()
        await all_.router.learn()
        all_.decode[0].peers = {}
        asking = asyncio.create_task(all_.ask(LONG))
        await asyncio.sleep(5)
        assert all_.router.leases.count == 1
        await all_.router.close()
        assert all_.prefill[0].live_leases() == 0
        asking.cancel()
        await asyncio.wait({asking})

    run(work)


def test_an_engine_that_dies_before_its_first_token_is_followed_by_another_one() -> None:
    async def work() -> None:
        all_ = world(decode=2, prefill=0)
        dead: list[str] = []

        def die(step: str, engine: ScriptedPeer) -> None:
            if step == "before the first token" and not dead:
                dead.append(engine.name)
                engine.die()

        for engine in all_.decode:
            engine.at = die
        assert (await all_.ask(SHORT)).strip() == answer_to(SHORT)
        assert all_.answered_by() != dead
        await all_.ask("another question", "s")
        assert all_.answered_by()[-1] != dead[0], "it is left alone"
        await all_.router.close()

    run(work)


def test_an_answer_that_breaks_off_is_not_begun_again() -> None:
    async def work() -> None:
        all_ = world(decode=2, prefill=0)
        for engine in all_.decode:
            engine.at = lambda step, one: one.die() if step == "in the stream" else None
        words = []
        with pytest.raises(EngineUnavailable):
            async for word in all_.stream(SHORT):
                words.append(word)
        assert words == ["You "]
        assert all_.count("sent") == 1
        await all_.router.close()

    run(work)


def test_where_all_engines_are_down_each_is_tried_once_and_the_error_is_told() -> None:
    async def work() -> None:
        all_ = world(decode=3, prefill=0)
        for engine in all_.decode:
            engine.die()
        for tries in (3, 6):
            with pytest.raises(EngineUnavailable):
                await all_.ask(SHORT)
            assert all_.count("sent") == tries
        all_.decode[1].revive()
        assert await all_.ask(SHORT)
        await all_.router.close()

    run(work)


def test_a_session_stays_with_its_engine_also_after_the_router_has_restarted() -> None:
    async def work() -> None:
        all_ = world(decode=3, prefill=0)
        sessions = [f"s{n}" for n in range(12)]
        for session in sessions:
            await all_.ask(f"{session} {SHORT}", session)
        homes = dict(zip(sessions, all_.answered_by(), strict=True))
        assert len({*homes.values()}) == 3
        for engine in all_.decode:
            engine.known_sessions = [one for one in sessions if homes[one] == engine.name]
        homes["s0"], moved = "d2", homes["s0"]
        all_.decode[int(moved[1])].known_sessions.remove("s0")
        all_.decode[2].known_sessions.append("s0")  # it had moved, say because of the load
        await all_.router.close()
        all_.router = all_.new_router()
        await all_.router.learn()
        all_.steps.clear()
        for session in sessions:
            await all_.ask(f"{session} {SHORT} and more", session)
        assert dict(zip(sessions, all_.answered_by(), strict=True)) == homes
        await all_.router.close()

    run(work)


@pytest.mark.parametrize(("is_foreign", "asked"), [(True, 1), (False, 50)])
def test_figures_are_asked_for_while_there_are_requests_and_rarely_of_other_engines(
    is_foreign: bool, asked: int
) -> None:
    async def work() -> None:
        all_ = world(decode=2, prefill=0, is_foreign=is_foreign)
        for _ in range(80):
            await all_.ask(SHORT)
            await asyncio.sleep(0.5)
        told = all_.decode[0].told.count("summary")
        assert told == pytest.approx(asked, rel=0.2)
        await asyncio.sleep(3600)
        assert all_.decode[0].told.count("summary") == told, "an idle router asks nobody"
        await all_.router.close()

    run(work)


def test_requests_at_once_spread_over_the_engines() -> None:
    async def work() -> None:
        all_ = world(decode=3, prefill=0)
        await asyncio.gather(*(all_.ask(f"{n} {LONG}") for n in range(9)))
        counts = [all_.answered_by().count(f"d{n}") for n in range(3)]
        assert counts == [3, 3, 3]
        await all_.router.close()

    run(work)
