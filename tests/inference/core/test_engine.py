"""The engine on the toy backend: what a request gets, and what refuses it."""

import json

import pytest

from roost_inference.batch import Batch
from roost_inference.errors import (
    BadGrammar,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
)
from roost_inference.request import Event, SamplingParams
from roost_inference.testing.harness import Collector, FakeClock, drive, request, toy_engine
from roost_inference.testing.toy import END, ToyBackend, continuation


def expected(prompt: str, count: int) -> list[int]:
    return [token for token in continuation(list(prompt.encode()), count) if token != END]


def run(engine, **fields) -> Collector:  # type: ignore[no-untyped-def]
    heard = Collector()
    engine.submit(request(**fields), heard)
    drive(engine)
    return heard


def test_a_request_gets_what_the_model_says() -> None:
    heard = run(toy_engine(), prompt="hello", max_tokens=20)
    assert heard.tokens == expected("hello", 20)
    assert heard.text == bytes(heard.tokens).decode()
    assert heard.finish.reason in ("length", "stop")
    assert heard.finish.usage.prompt_tokens == 5


def test_an_end_token_stops_and_counts_but_is_no_text() -> None:
    prompt = next(
        p for p in (f"p{i}" for i in range(999)) if END in continuation(list(p.encode()), 8)
    )
    heard = run(toy_engine(), prompt=prompt, max_tokens=50)
    answer = continuation(list(prompt.encode()), 50)
    assert heard.finish.reason == "stop"
    assert heard.tokens == answer[:-1]
    assert heard.finish.usage.completion_tokens == len(answer)


def test_a_long_prompt_is_read_in_chunks_with_the_same_result() -> None:
    prompt = "x" * 300
    backend = ToyBackend()
    heard = run(toy_engine(backend, batch_tokens=64), prompt=prompt, max_tokens=5)
    assert heard.tokens == expected(prompt, 5)
    assert max(backend.decoded) == 64


def test_a_stop_string_ends_the_text_before_itself() -> None:
    prompt = next(p for p in (f"tell {i}" for i in range(99)) if len(expected(p, 30)) == 30)
    full = bytes(expected(prompt, 30)).decode()
    stop = full[10:13]
    heard = run(toy_engine(), prompt=prompt, max_tokens=30, stop=(stop,))
    assert heard.text == full[: full.index(stop)]
    assert (heard.finish.reason, heard.finish.stop_string) == ("stop", stop)


def test_ignore_eos_goes_on_to_the_limit() -> None:
    heard = run(toy_engine(), prompt="p", max_tokens=300, ignore_eos=True)
    assert heard.finish.reason == "length"
    assert heard.finish.usage.completion_tokens == 300


def test_a_full_context_ends_with_length() -> None:
    heard = run(toy_engine(context_length=40), prompt="y" * 30, max_tokens=99, ignore_eos=True)
    assert heard.finish.reason == "length"
    assert heard.finish.usage.completion_tokens == 10


def test_a_grammar_makes_valid_json_of_any_model() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}},
              "required": ["n"], "additionalProperties": False}  # fmt: skip
    grammar = json.dumps({"grammars": [{"json_schema": schema}]})
    heard = run(toy_engine(), prompt="json", max_tokens=60, grammar=grammar)
    assert heard.finish.reason == "stop"
    assert isinstance(json.loads(heard.text)["n"], int)


def test_equal_seeds_give_equal_texts_whatever_else_runs() -> None:
    sampling = SamplingParams(temperature=5.0, seed=11)
    alone = run(toy_engine(), prompt="dice", max_tokens=30, sampling=sampling)
    engine, heard = toy_engine(), Collector()
    for number in range(4):
        engine.submit(request(f"other {number}", 30), Collector())
    engine.submit(request("dice", 30, sampling=sampling), heard)
    drive(engine)
    assert heard.text == alone.text


def test_logprobs_come_with_their_tokens() -> None:
    sampling = SamplingParams(temperature=0.0, top_logprobs=2)
    heard = run(toy_engine(), prompt="why", max_tokens=6, sampling=sampling)
    assert [p.token for p in heard.logprobs] == heard.tokens
    assert all(p.top[0].logprob == pytest.approx(p.logprob) for p in heard.logprobs)


def test_many_requests_share_steps() -> None:
    engine, heard = toy_engine(max_running=8), [Collector() for _ in range(8)]
    for number, listener in enumerate(heard):
        engine.submit(request(f"prompt {number}", 10, ignore_eos=True), listener)
    assert drive(engine) < 20
    for number, listener in enumerate(heard):
        assert listener.finish.usage.completion_tokens == 10
        assert listener.tokens[0] == expected(f"prompt {number}", 1)[0]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"prompt": ""}, InvalidRequest, "empty"),
        ({"prompt": "x" * 100}, PromptTooLong, "has 100 tokens.*context of 100 tokens"),
        ({"prompt": [5, 257]}, InvalidRequest, "not below 257"),
        ({"prompt": [-1]}, InvalidRequest, "not below 257"),
        ({"prompt": "a", "max_tokens": 0}, InvalidRequest, "at least 1"),
        ({"prompt": "a", "stop": ("",)}, InvalidRequest, "stop string is empty"),
        ({"prompt": "a", "grammar": "start: ("}, BadGrammar, "can't be compiled"),
        (
            {"prompt": "a", "sampling": SamplingParams(logit_bias={999: 1.0})},
            InvalidRequest,
            "biased token",
        ),
    ],
)
def test_a_bad_request_is_refused_at_once_and_nothing_is_queued(fields, error, message) -> None:  # type: ignore[no-untyped-def]
    engine = toy_engine(context_length=100)
    with pytest.raises(error, match=message):
        engine.submit(request(**fields), Collector())
    assert not engine.has_work


def test_the_queue_has_a_bound_and_says_when_to_come_back() -> None:
    engine = toy_engine(queue_limit=3)
    heard = [Collector() for _ in range(3)]
    for listener in heard:
        engine.submit(request("a"), listener)
    with pytest.raises(QueueFull, match="3 interactive requests are waiting") as refused:
        engine.submit(request("a"), Collector())
    assert refused.value.retry_after_s >= 1.0
    drive(engine)
    assert all(listener.is_finished for listener in heard)
    engine.submit(request("a"), Collector())


def test_an_id_in_use_is_refused() -> None:
    engine, same = toy_engine(), request("a")
    engine.submit(same, Collector())
    with pytest.raises(InvalidRequest, match="is running"):
        engine.submit(same, Collector())


def test_a_waiting_request_of_higher_priority_runs_first() -> None:
    engine, ends = toy_engine(max_running=1), []
    for name, priority in (("late", 5), ("soon", -5), ("middle", 0)):
        tagged = request("p", 3, priority=priority, id=name)
        engine.submit(tagged, lambda event: ends.append(event.request_id))
    drive(engine)
    assert list(dict.fromkeys(ends)) == ["soon", "middle", "late"]


def test_a_listener_that_raises_loses_only_its_own_request() -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("the connection is gone")

    engine, heard = toy_engine(), Collector()
    engine.submit(request("a", 30, ignore_eos=True), broken)
    engine.submit(request("b", 5), heard)
    drive(engine)
    assert heard.tokens == expected("b", 5)


def test_a_failed_step_ends_its_requests_with_an_error_and_the_next_ones_work() -> None:
    def fail_once(batch: Batch) -> None:
        backend.on_decode = lambda batch: None
        raise EngineFailed("a kernel is broken")

    backend = ToyBackend(on_decode=fail_once)
    engine = toy_engine(backend)
    first, second = Collector(), Collector()
    engine.submit(request("a"), first)
    engine.start()
    assert isinstance(first.wait().error, EngineFailed)
    engine.submit(request("b", 6), second)
    second.wait()
    engine.close()
    assert second.tokens == expected("b", 6)


def test_after_failures_in_a_row_the_engine_refuses_and_says_why() -> None:
    def fail(batch: Batch) -> None:
        raise EngineFailed("a kernel is broken")

    engine = toy_engine(ToyBackend(on_decode=fail))
    told: list[str | None] = []
    engine.on_failure = lambda: told.append(engine.failure)
    engine.start()
    for _ in range(3):
        heard = Collector()
        engine.submit(request("a"), heard)
        assert heard.wait().reason == "error"
    with pytest.raises(EngineUnavailable, match="3 times in a row: a kernel is broken"):
        engine.submit(request("a"), Collector())
    assert engine.failure is not None
    engine.close()
    assert told == [engine.failure]


def test_close_ends_what_is_running_with_a_retryable_error() -> None:
    engine = toy_engine()
    running, waiting = Collector(), Collector()
    engine.start()
    engine.submit(request("a", 400, ignore_eos=True), running)
    running.wait_started()
    engine.submit(request("b", 400, ignore_eos=True), waiting)
    engine.close()
    for heard in (running, waiting):
        if heard.finish.reason == "error":
            assert heard.finish.error is not None and heard.finish.error.retryable
    with pytest.raises(EngineUnavailable, match="stopping"):
        engine.submit(request("a"), Collector())


def test_figures_follow_what_happened() -> None:
    clock = FakeClock()
    backend = ToyBackend(on_decode=lambda batch: clock.advance(0.1))
    engine = toy_engine(backend, clock=clock)
    engine.submit(request("abcd", 5, ignore_eos=True, session_id="s"), Collector())
    drive(engine)
    stats = engine.stats()
    assert stats.first_token_s == pytest.approx([0.1])
    assert stats.inter_token_s == pytest.approx([0.1] * 4)
    assert (stats.prompt_tokens_total, stats.completion_tokens_total) == (4, 5)
    assert stats.requests_total == {"length": 1}
    assert (stats.running, stats.waiting, stats.resident_sessions) == (0, 0, 1)
    assert stats.cells_used == 8 and stats.tokens_per_second == pytest.approx(0.5)
