"""What is on the device already is not computed again, within one salt only."""

import pytest

from roost_inference.engine import Engine
from roost_inference.testing.harness import Collector, drive, request, toy_engine
from roost_inference.testing.toy import END, ToyBackend, continuation

SYSTEM = "You are a helpful assistant. Answer in few words, and never lie. " * 2


def turn(engine: Engine, prompt: str, **fields: object) -> Collector:
    heard = Collector()
    engine.submit(request(prompt, 8, ignore_eos=True, **fields), heard)
    drive(engine)
    expected = continuation(list(prompt.encode()), 8)
    if END not in expected:
        assert heard.tokens == expected
    return heard


def test_the_next_turn_of_a_session_computes_only_what_is_new() -> None:
    engine = toy_engine()
    first = turn(engine, SYSTEM + "Hi.", session_id="s")
    again = SYSTEM + "Hi." + first.text + " And you?"
    cached = turn(engine, again, session_id="s").finish.usage.cached_tokens
    # all of the first turn but its last token, which was never fed back
    assert cached == len(SYSTEM + "Hi." + first.text) - 1
    assert engine.stats().resident_sessions == 1


def test_reuse_does_not_change_the_text() -> None:
    warm, cold = toy_engine(), toy_engine()
    turn(warm, SYSTEM + "one", session_id="a")
    prompt = SYSTEM + "two"
    assert turn(warm, prompt, session_id="b").text == turn(cold, prompt).text


def test_a_common_prefix_is_shared_between_sessions_and_held_once() -> None:
    engine = toy_engine()
    turn(engine, SYSTEM + "A", session_id="a")
    used = engine.stats().cells_used
    heard = turn(engine, SYSTEM + "B", session_id="b")
    assert heard.finish.usage.cached_tokens == len(SYSTEM)
    assert engine.stats().cells_used == used + 8
    assert engine.stats().resident_sessions == 2


def test_nothing_is_shared_across_salts() -> None:
    engine = toy_engine()
    turn(engine, SYSTEM, session_id="s", cache_salt="tenant-1")
    heard = turn(engine, SYSTEM, session_id="s", cache_salt="tenant-2")
    assert heard.finish.usage.cached_tokens == 0


def test_a_side_request_does_not_cost_a_session_its_memory() -> None:
    engine = toy_engine()
    long = SYSTEM + "x" * 100
    turn(engine, long, session_id="s")
    turn(engine, SYSTEM[:30] + "Summarise.", session_id="s")
    assert turn(engine, long + "y", session_id="s").finish.usage.cached_tokens >= len(long)


def test_requests_that_come_together_compute_their_common_prefix_once() -> None:
    backend = ToyBackend()
    engine, heard = toy_engine(backend), [Collector() for _ in range(4)]
    for number, listener in enumerate(heard):
        engine.submit(request(SYSTEM + str(number), 4), listener)
    drive(engine)
    for listener in heard[1:]:
        assert listener.finish.usage.cached_tokens > len(SYSTEM) - 10
    assert sum(backend.decoded) < len(SYSTEM) + 40


def test_a_running_sequence_lends_its_prefix() -> None:
    engine, slow, quick = toy_engine(), Collector(), Collector()
    engine.submit(request(SYSTEM + "slow", 100, ignore_eos=True), slow)
    for _ in range(8):
        engine.step()
    engine.submit(request(SYSTEM + "quick", 4), quick)
    drive(engine)
    assert quick.finish.usage.cached_tokens == len(SYSTEM)


def test_idle_cells_keep_to_their_budget_least_recently_used_first() -> None:
    engine = toy_engine(resident_cells=60)
    for number in range(4):
        turn(engine, f"{number} {'z' * 20}", session_id=str(number))
    assert engine.stats().cells_used <= 60
    assert turn(engine, f"3 {'z' * 20}!", session_id="3").finish.usage.cached_tokens > 20
    assert turn(engine, f"0 {'z' * 20}!", session_id="0").finish.usage.cached_tokens == 0


def test_residents_make_room_for_a_prompt_that_needs_the_whole_cache() -> None:
    engine = toy_engine(ToyBackend(cells=128), resident_cells=128)
    for number in range(3):
        turn(engine, f"{number}{'q' * 30}", session_id=str(number))
    heard = turn(engine, "w" * 119)
    assert heard.finish.usage.completion_tokens == 8


def test_more_sessions_than_sequence_ids_push_out_the_oldest() -> None:
    engine = toy_engine(ToyBackend(sequences=4), max_running=2)
    for number in range(9):
        turn(engine, f"{number} hello", session_id=str(number))
    assert engine.stats().resident_sessions == 4


def test_one_sequence_id_serves_a_session_over_and_over() -> None:
    engine = toy_engine(ToyBackend(sequences=1), max_running=1)
    text = "start"
    for _ in range(5):
        text += turn(engine, text, session_id="s").text + "."
    assert turn(engine, text, session_id="s").finish.usage.cached_tokens > 30


@pytest.mark.parametrize("tail", ["", "unlike"])
def test_a_model_whose_state_cannot_be_cut_reuses_whole_sequences_only(tail: str) -> None:
    engine = toy_engine(ToyBackend(truncates=False))
    first = turn(engine, "recurrent", session_id="s")
    prompt = ("recurrent" + first.text if not tail else "recurr" + tail) + "?"
    cached = turn(engine, prompt, session_id="s").finish.usage.cached_tokens
    assert cached == (0 if tail else len("recurrent" + first.text) - 1)
