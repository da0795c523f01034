"""The whole core on llama.cpp's kernels and the bundled model."""

import itertools
import json
import time
from collections.abc import Iterator

import pytest

from roost_inference.engine import Engine
from roost_inference.errors import PromptTooLong
from roost_inference.request import Request, SamplingParams
from roost_inference.testing.harness import Collector, request

SYSTEM = (
    "<|im_start|>system\nYou are a helpful assistant who knows the city of Lisbon well. Give "
    "short answers in plain words. Never make up an address. If you do not know, say so."
    "<|im_end|>\n"
)
# In nats: how far the kernels' rounding moves two tokens against each other at most.
NEAR_TIE = 0.5
_numbers = itertools.count()


def ask(question: str) -> str:
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def start(engine: Engine, text: str, max_tokens: int = 32, **fields: object) -> Collector:
    wanted = request(engine.tokenize(text), max_tokens, **fields)
    heard = Collector()
    engine.submit(wanted, heard)
    return heard


def run(engine: Engine, text: str, max_tokens: int = 32, **fields: object) -> Collector:
    heard = start(engine, text, max_tokens, **fields)
    heard.wait()
    return heard


@pytest.fixture(autouse=True)
def sound_when_idle(engine: Engine) -> Iterator[None]:
    """After each test nothing runs and the ledger, the kernels and the residents agree."""
    yield
    deadline = time.monotonic() + 10
    while engine.has_work and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not engine.has_work
    engine.check()
    stats = engine.stats()
    assert stats.running == stats.waiting == 0
    assert stats.cells_used <= stats.cells_total


def test_it_answers_in_words(engine: Engine) -> None:
    heard = run(engine, SYSTEM + ask("What is the capital of France?"), 40)
    assert "Paris" in heard.text
    assert heard.finish.reason in ("stop", "length")
    assert engine.model.chat_template and engine.model.eos == "<|im_end|>"


def test_text_and_tokens_agree_also_beyond_ascii(engine: Engine) -> None:
    text = "naïve 🙂 日本語 <|im_end|> done"
    tokens = engine.tokenize(text)
    assert tokens.count(2) == 1
    assert 2 not in engine.tokenize(text, special=False)
    heard = run(engine, ask("Write the word for Japan in Japanese."), 24, ignore_eos=True)
    assert heard.text.isprintable() or "\n" in heard.text


def test_a_second_turn_reuses_the_first_and_answers_the_same(engine: Engine) -> None:
    first = SYSTEM + ask("Name one hill of the city.")
    answer = run(engine, first, session_id="lisbon").text
    second = first + answer + "<|im_end|>\n" + ask("And another one?")
    likeliest = SamplingParams(temperature=0.0, top_logprobs=2)
    warm = run(engine, second, session_id="lisbon", cache_salt="", sampling=likeliest)
    cold = run(engine, second, cache_salt="somebody else", sampling=likeliest)
    assert warm.finish.usage.cached_tokens >= len(engine.tokenize(first))
    assert cold.finish.usage.cached_tokens == 0
    for mine, theirs in zip(warm.logprobs, cold.logprobs, strict=False):
        if mine.token != theirs.token:  # computed one by one or together: the last bits differ
            assert mine.text == theirs.top[1].text
            assert theirs.top[0].logprob - theirs.top[1].logprob < NEAR_TIE
            break
    else:
        assert warm.text == cold.text


def test_eight_at_once_all_end_and_share_their_system_prompt(engine: Engine) -> None:
    heard = [
        start(engine, SYSTEM + ask(f"Count from {n} to ten."), 24, cache_salt="eight")
        for n in range(8)
    ]
    for listener in heard:
        assert listener.wait().usage.completion_tokens > 0
    shared = len(engine.tokenize(SYSTEM))
    assert all(listener.finish.usage.cached_tokens >= shared for listener in heard[1:])


def test_a_grammar_gives_valid_json_at_any_temperature(engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "people": {"type": "integer", "minimum": 1, "maximum": 20},
        },
        "required": ["name", "people"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False},
    }
    grammar = json.dumps({"grammars": [{"json_schema": schema}]})
    for seed in range(3):
        sampling = SamplingParams(temperature=1.2, seed=seed)
        heard = run(engine, ask("Book a table."), 80, grammar=grammar, sampling=sampling)
        assert heard.finish.reason == "stop"
        assert 1 <= json.loads(heard.text)["people"] <= 20


def test_other_seeds_give_other_texts(engine: Engine) -> None:
    """Equal seeds giving equal texts is held on the toy: these kernels' last bits depend on where
    in the cache a token lies."""
    texts = {
        run(engine, ask("Say something."), 8, sampling=SamplingParams(seed=seed)).text
        for seed in range(4)
    }
    assert len(texts) > 1


def test_logprobs_are_those_of_a_distribution(engine: Engine) -> None:
    sampling = SamplingParams(temperature=0.0, top_logprobs=5)
    heard = run(engine, ask("Hello"), 4, sampling=sampling, ignore_eos=True)
    for found in heard.logprobs:
        assert found.logprob == max(likely.logprob for likely in found.top) <= 0.0


def test_abort_frees_a_decoding_sequence_at_once(engine: Engine) -> None:
    heard = start(engine, ask("Tell me a very long story."), 2000, id="story", ignore_eos=True)
    heard.wait_started()
    stopped = time.monotonic()
    engine.abort("story")
    end = heard.wait()
    assert time.monotonic() - stopped < 1.0  # measured: a few milliseconds on an idle machine
    assert end.reason == "abort" and heard.text
    assert engine.stats().running == 0


def test_abort_cuts_a_prefill_short_and_keeps_what_was_computed(engine: Engine) -> None:
    long = "".join(f"Line {n} of a long report about nothing. " for n in range(400))
    heard = start(engine, long, id="report", cache_salt="report")
    while engine.stats().running == 0 and not heard.is_finished:
        time.sleep(0.001)
    engine.abort("report")
    assert heard.wait().reason == "abort"
    assert heard.tokens == []


def test_a_prompt_longer_than_the_context_names_both_numbers(engine: Engine) -> None:
    with pytest.raises(PromptTooLong, match=r"9000 tokens; the model's context of 8192"):
        engine.submit(Request("long", [5] * 9000, 4), Collector())


def test_an_interrupted_decode_leaves_the_others_results_unchanged(engine: Engine) -> None:
    """A long prefill is aborted again and again beside a greedy writer."""
    alone = run(engine, ask("List the days of the week."), 40, cache_salt="one", ignore_eos=True)
    beside = start(engine, ask("List the days of the week."), 40, cache_salt="two", ignore_eos=True)
    while not beside.is_finished:
        noise = start(engine, "noise " * 600, id=f"noise-{next(_numbers)}", cache_salt="noise")
        time.sleep(0.02)
        engine.abort(f"noise-{next(_numbers) - 1}")
        noise.wait()
    # batching changes the order of sums, so only a near-tie may tell the two apart
    same = sum(a == b for a, b in zip(alone.tokens, beside.tokens, strict=True))
    assert alone.tokens[:5] == beside.tokens[:5] and same >= 5
