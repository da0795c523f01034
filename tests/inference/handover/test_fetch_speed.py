"""How fast KV arrives from other engines, as the engine that answers measures it."""

from collections import Counter

import pytest

from roost_inference.kv.handover.fetch import PromptFetch
from roost_inference.kv.handover.figures import RATE_S_MAX, RATE_TOKENS_MIN, HandoverFigures
from roost_inference.testing.peers.handover_side import Side


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def ended(tokens: int, ms_per_token: float) -> PromptFetch:
    fetch = PromptFetch((), (), lambda *_: True, deadline=0.0, lease_s=1.0, clock=lambda: 0.0)
    fetch.tokens = Counter({"tcp": tokens})
    fetch.seconds = tokens * ms_per_token / 1000
    return fetch


def test_the_speed_of_the_way_follows_what_was_seen() -> None:
    figures = HandoverFigures(Clock())
    assert figures.ms_per_token() is None
    figures.fetched(ended(1000, 2.0))
    assert figures.ms_per_token() == pytest.approx(2.0)
    for _ in range(20):
        figures.fetched(ended(1000, 0.5))
    assert figures.ms_per_token() == pytest.approx(0.5, rel=0.01)


def test_short_prompts_and_searches_tell_nothing_of_the_way() -> None:
    figures = HandoverFigures(Clock())
    figures.fetched(ended(RATE_TOKENS_MIN - 1, 2.0))
    figures.fetched(ended(1000, 2.0), is_search=True)
    assert figures.ms_per_token() is None


def test_an_old_figure_is_forgotten_so_that_the_way_is_tried_again() -> None:
    clock = Clock()
    figures = HandoverFigures(clock)
    figures.fetched(ended(1000, 90.0))
    clock.now += RATE_S_MAX
    assert figures.ms_per_token() is None
    figures.fetched(ended(1000, 1.0))
    assert figures.ms_per_token() == pytest.approx(1.0)


async def test_a_summary_tells_the_speed_once_a_prompt_was_fetched(
    prefill: Side, decode: Side
) -> None:
    before = (await decode.http.get("/v1/kv/summary")).json()
    assert before["fetch_ms_per_token"] is None
    text = "The heron waits at the river for a fish. " * 60
    offer = await prefill.offer(text)
    assert offer["remote_num_tokens"] >= RATE_TOKENS_MIN
    assert (await decode.ask(text, offer))["choices"]
    after = (await decode.http.get("/v1/kv/summary")).json()
    assert after["fetch_ms_per_token"] > 0
