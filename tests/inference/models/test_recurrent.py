"""Models that keep one state instead of KV are served without what needs parts of it."""

import logging

import pytest
from tests.inference.models.conftest import StartEngine, WriteModel

from roost_inference.engine import Engine
from roost_inference.http.chat_service import EngineChatService
from roost_inference.testing.harness import Collector, request

RECURRENT = pytest.mark.parametrize(
    ("architecture", "memory"), [("mamba", "recurrent"), ("lfm2", "hybrid")]
)
PROMPT = list(b"The quick brown fox jumps over the lazy dog. " * 8)


def ask(engine: Engine, tokens: list[int], count: int = 12, **fields: object) -> Collector:
    heard = Collector()
    engine.submit(request([3 + t for t in tokens], count, ignore_eos=True, **fields), heard)
    heard.wait()
    return heard


@RECURRENT
def test_what_such_a_model_is_served_without_is_in_the_log_and_in_health(
    write_model: WriteModel,
    start: StartEngine,
    caplog: pytest.LogCaptureFixture,
    architecture: str,
    memory: str,
) -> None:
    with caplog.at_level(logging.INFO):
        engine = start(write_model(architecture), speculation="auto")
    assert f"{architecture} is a {memory} model" in caplog.text
    assert "speculation is off" in caplog.text
    status, body = EngineChatService(engine).health()
    assert status == 200
    kind = body["model_kind"]
    assert kind["memory"] == memory and kind["architecture"] == architecture
    assert (kind["paging"], kind["speculation"], kind["shared_prefixes"]) == (False, False, False)
    assert "without paging" in kind["restriction"]
    assert engine.store is None and body["kv"] == {} and body["speculation"] == {}


@RECURRENT
def test_a_session_that_goes_on_is_not_computed_again_and_says_the_same(
    write_model: WriteModel, start: StartEngine, architecture: str, memory: str
) -> None:
    engine = start(write_model(architecture))
    first = ask(engine, PROMPT, session_id="s")
    again = [*PROMPT, *(token - 3 for token in first.tokens), *b" And then? "]
    kept = ask(engine, again, session_id="s")
    assert kept.finish.usage.cached_tokens >= len(PROMPT)
    cold = ask(engine, again, cache_salt="other")
    assert cold.finish.usage.cached_tokens == 0
    assert kept.tokens == cold.tokens


@RECURRENT
def test_a_session_that_is_edited_is_computed_anew(
    write_model: WriteModel, start: StartEngine, architecture: str, memory: str
) -> None:
    engine = start(write_model(architecture))
    ask(engine, PROMPT, session_id="s")
    edited = [*PROMPT[:100], *b"something else"]
    heard = ask(engine, edited, session_id="s")
    assert heard.finish.usage.cached_tokens == 0
    assert heard.tokens == ask(engine, edited, cache_salt="other").tokens
    engine.check()


@RECURRENT
def test_answers_beside_others_and_aborted_ones_leave_the_engine_well(
    write_model: WriteModel, start: StartEngine, architecture: str, memory: str
) -> None:
    engine = start(write_model(architecture))
    alone = ask(engine, PROMPT, 40, cache_salt="alone").tokens
    heard = [Collector() for _ in range(6)]
    for number, listener in enumerate(heard):
        wanted = request([3 + t for t in PROMPT], 40, ignore_eos=True, cache_salt=str(number))
        engine.submit(wanted, listener)
        if number % 2:
            listener.wait_started()
            engine.abort(wanted.id)
    for listener in heard:
        listener.wait()
    whole = [one for one in heard if one.finish.reason == "length"]
    assert len(whole) >= 3 and engine.failure is None
    assert sum(one.tokens == alone for one in whole) >= 2, "near-ties may differ in a batch"
    assert ask(engine, PROMPT, 40, cache_salt="after").tokens == alone
