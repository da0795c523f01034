"""Which engine answers, and when another one reads the prompt: by figures alone."""

import pytest

from roost_inference.client.routing.choosing import Candidate, choose
from roost_inference.client.routing.health import BACK_OFF_S_MAX, EngineHealth
from roost_inference.client.routing.prefixes import PREFIXES_KEPT, PrefixIndex, PromptChain
from roost_inference.client.routing.splitting import Link, Reader, best_split

FAST = Link.assumed(bytes_per_token=1000, bytes_per_s=400e6)
BLOCK = 128


def chain(*texts: str, salt: str = "") -> PromptChain:
    messages = [{"role": "user", "content": text} for text in texts]
    return PromptChain.of({"messages": messages, "cache_salt": salt or None})


def test_the_longest_known_prefix_wins_over_a_smaller_load() -> None:
    candidates = [Candidate("a", load=3, known_tokens=900), Candidate("b", load=0, known_tokens=10)]
    assert choose(candidates) == "a"


def test_the_load_decides_between_equal_prefixes() -> None:
    candidates = [Candidate("a", 3, 500), Candidate("b", 1, 500), Candidate("c", 2, 500)]
    assert choose(candidates) == "b"


def test_a_session_stays_with_its_engine_until_that_is_far_more_loaded() -> None:
    assert choose([Candidate("a", 4), Candidate("b", 0, 999)], home="a") == "a"
    assert choose([Candidate("a", 5), Candidate("b", 0, 1)], home="a") == "b"
    assert choose([Candidate("a", 24), Candidate("b", 10)], home="a") == "a"
    assert choose([Candidate("a", 25), Candidate("b", 10)], home="a") == "b"


def test_a_session_whose_engine_is_down_finds_another() -> None:
    assert choose([Candidate("b"), Candidate("c", 1)], home="a") == "b"


def test_what_only_the_key_decides_is_decided_the_same_after_a_restart() -> None:
    names = ["a", "b", "c"]
    before = {key: choose([Candidate(n) for n in names], key=key) for key in map(str, range(300))}
    assert {*before.values()} == {*names}
    after = {key: choose([Candidate(n) for n in reversed(names)], key=key) for key in before}
    assert after == before
    without_c = {key: choose([Candidate("a"), Candidate("b")], key=key) for key in before}
    assert all(without_c[key] == name for key, name in before.items() if name != "c")


def test_a_split_pays_only_where_the_other_engine_and_the_transfer_are_sooner_done() -> None:
    slow, fast = Reader("d", 5.0, 4000), Reader("p", 0.5, 4000)
    split = best_split(slow, [fast], FAST, BLOCK)
    assert split is not None
    assert (split.reader, split.alone_ms) == ("p", 20_000.0)
    assert split.split_ms == pytest.approx(2000 + 20 + 10)
    equal = Reader("p", 5.0, 4000)
    assert best_split(slow, [equal], FAST, BLOCK) is None
    beside_answers = Reader("d", 5.0, 4000, is_writing=True)
    assert best_split(beside_answers, [equal], FAST, BLOCK) is not None


def test_a_slow_link_or_a_long_queue_forbids_a_split() -> None:
    slow, fast = Reader("d", 5.0, 4000), Reader("p", 0.5, 4000)
    assert best_split(slow, [fast], Link(1000.0), BLOCK) is None
    busy = Reader("p", 0.5, 4000, queued=40_000)
    assert best_split(slow, [busy], FAST, BLOCK) is None
    free = Reader("q", 0.6, 4000)
    chosen = best_split(slow, [busy, free], FAST, BLOCK)
    assert chosen is not None
    assert chosen.reader == "q"


def test_a_cached_prompt_is_not_split() -> None:
    fast = Reader("p", 0.1, 4000)
    assert best_split(Reader("d", 50.0, 2 * BLOCK - 1), [fast], FAST, BLOCK) is None
    assert best_split(Reader("d", 50.0, 2 * BLOCK), [Reader("p", 0.1, 300)], FAST, BLOCK)


def test_a_prefix_is_known_by_its_engine_its_tenant_and_its_tools() -> None:
    index = PrefixIndex()
    index.learn("a", chain("one", "two", salt="s"), 200, 20)
    assert index.known("a", chain("one", "two", salt="s")) == 220
    assert index.known("a", chain("one", "two", "three", salt="s")) == 220
    assert 0 < index.known("a", chain("one", "other", salt="s")) < 200
    assert index.known("b", chain("one", "two", salt="s")) == 0
    assert index.known("a", chain("one", "two", salt="t")) == 0
    tools = PromptChain.of({"messages": [{"role": "user", "content": "one"}], "tools": [{}]})
    assert index.known("a", tools) == 0


def test_the_size_of_a_prompt_is_learned_from_answers() -> None:
    index = PrefixIndex()
    text = "word " * 400
    for number in range(60):
        index.learn("a", chain(f"{number} {text}"), 1000)
    assert index.total(chain(f"new {text}")) == pytest.approx(1000, rel=0.1)


def test_beginnings_are_forgotten_from_the_oldest_on() -> None:
    index = PrefixIndex()
    for number in range(PREFIXES_KEPT + 10):
        index.learn("a", chain(str(number)), 5)
    assert index.known("a", chain("0")) == 0
    assert index.known("a", chain(str(PREFIXES_KEPT))) == 5


def test_an_engine_that_fails_is_left_alone_longer_each_time_and_comes_back_by_one_request() -> (
    None
):
    now = 0.0
    health = EngineHealth("e", lambda: now)
    pauses = []
    for _ in range(9):
        health.failed("dead")
        pauses.append(health.until - now)
        assert not health.is_open
        assert not health.wants_probe
        now = health.until
        assert health.wants_probe
        health.probed()
        assert (health.state, health.is_open) == ("trial", True)
        health.begin()
        assert not health.is_open
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == BACK_OFF_S_MAX
    health.worked()
    assert (health.state, health.is_open) == ("up", True)


def test_requests_that_fail_at_once_count_as_one_failure() -> None:
    health = EngineHealth("e", lambda: 0.0)
    for _ in range(20):
        health.failed("dead")
    assert health.until == 1.0
