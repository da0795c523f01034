"""Sampling parameters do what they say where two of them meet, and at their limits."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from roost_inference.output.grammar import GrammarCompiler
from roost_inference.output.sampler import Sampler
from roost_inference.request import SamplingParams
from roost_inference.testing.harness import Collector, drive, request, toy_engine
from roost_inference.testing.toy import END, SIZE, ToyVocabulary, continuation
from roost_inference.wire.parsing import parse_chat_call

Logits = NDArray[np.float32]
COMPILER = GrammarCompiler(ToyVocabulary().grammar_tokenizer(), SIZE)
CHAT = {"messages": [{"role": "user", "content": "hi"}]}


def sampler(
    grammar: str | None = None, prompt: tuple[int, ...] = (0,), **params: object
) -> Sampler:
    return Sampler(
        SamplingParams(**params),  # type: ignore[arg-type]
        np.array(prompt, np.int32),
        frozenset({END}),
        None if grammar is None else COMPILER.compile(grammar),
    )


def row(**values: float) -> Logits:
    """Zero everywhere, but a=5.0 sets the token of that letter."""
    array = np.zeros(SIZE, np.float32)
    for name, value in values.items():
        array[ord(name)] = value
    return array


@pytest.mark.parametrize("bias", [100.0, -100.0])
def test_a_bias_never_overrules_a_grammar(bias: float) -> None:
    a, z = ord("a"), ord("z")
    chooser = sampler('start: "ab"', temperature=0.0, logit_bias={z: 100.0, a: bias})
    assert chooser.sample(row(z=9.0)) == a


def test_a_bias_never_overrules_an_end_that_is_ignored() -> None:
    engine, heard = toy_engine(), Collector()
    sampling = SamplingParams(temperature=0.0, logit_bias={END: 100.0})
    engine.submit(request("on and on", 12, ignore_eos=True, sampling=sampling), heard)
    drive(engine)
    assert heard.finish.usage.completion_tokens == 12 and END not in heard.tokens


def test_a_bias_changes_no_logprob() -> None:
    chooser = sampler(temperature=0.0, logit_bias={ord("a"): 100.0}, top_logprobs=1)
    logits = row(b=3.0)
    token = chooser.sample(logits)
    found = chooser.logprob(logits, token, ToyVocabulary().token_bytes)
    assert found is not None and found.data == b"a" and found.logprob < -3.0
    assert found.top[0].data == b"b"


def test_logprobs_under_a_grammar_are_finite_and_the_models_own() -> None:
    chooser = sampler('start: "yes" | "no"', temperature=0.0, top_logprobs=2)
    logits = row(q=9.0, y=2.0, n=1.0)
    token = chooser.sample(logits)
    found = chooser.logprob(logits, token, ToyVocabulary().token_bytes)
    assert found is not None and found.data == b"y" and np.isfinite(found.logprob)
    assert [likely.data for likely in found.top] == [b"q", b"y"], "also what the grammar forbids"
    assert found.top[1].logprob == found.logprob


def test_bad_words_of_one_token_are_never_chosen() -> None:
    for temperature in (0.0, 2.0):
        chooser = sampler(temperature=temperature, seed=1, bad_words=((ord("a"),),))
        for _ in range(20):
            token = chooser.sample(row(a=30.0, b=4.0))
            assert token != ord("a")
            chooser.accept(token)


def test_bad_words_of_several_tokens_lose_their_last_after_the_others_alone() -> None:
    a, b, c = (ord(letter) for letter in "abc")
    chooser = sampler(prompt=(a, b), temperature=0.0, bad_words=((a, b, c),))
    logits = row(c=9.0, b=2.0)
    assert chooser.sample(logits) == c, "what the prompt has does not count"
    for token in (a, b):
        chooser.accept(token)
    assert chooser.sample(logits) == b
    chooser.accept(b)
    assert chooser.sample(logits) == c, "abb is no beginning of abc"


def test_a_bad_word_is_not_written_and_the_rest_is_as_likely_as_before() -> None:
    plain = bytes(continuation(list(b"say it"), 10))
    word = plain[3:6]
    engine, heard = toy_engine(), Collector()
    sampling = SamplingParams(temperature=0.0, bad_words=(tuple(word),))
    engine.submit(request("say it", 10, ignore_eos=True, sampling=sampling), heard)
    drive(engine)
    said = bytes(heard.tokens)
    assert word not in said and said[:5] == plain[:5]


def test_a_grammar_has_the_last_word_against_bad_words() -> None:
    chooser = sampler('start: "a"', temperature=0.0, bad_words=((ord("a"),),))
    assert chooser.sample(row(b=5.0)) == ord("a")


@pytest.mark.parametrize(
    ("sent", "seed"), [(0, 0), (-1, 2**63 - 1), (2**63, 0), (2**64 - 1, 2**63 - 1), (-(2**63), 0)]
)
def test_any_seed_of_64_bits_is_a_seed(sent: int, seed: int) -> None:
    assert parse_chat_call({**CHAT, "seed": sent}).sampling().seed == seed


def test_a_temperature_next_to_nothing_is_greedy_and_filters_don_t_matter_then() -> None:
    logits = row(a=1.0, b=1.0001)
    for temperature in (0.0, 1e-6):
        for filters in ({}, {"top_k": 1}, {"top_p": 0.01}, {"min_p": 1.0}):
            params: dict[str, Any] = {"temperature": temperature, **filters}
            assert sampler(**params).sample(logits) == ord("b")


def test_a_minimal_probability_of_one_leaves_the_likeliest() -> None:
    chooser = sampler(temperature=5.0, seed=2, min_p=1.0)
    assert {chooser.sample(row(a=0.01)) for _ in range(20)} == {ord("a")}


def test_presence_counts_once_and_frequency_each_time() -> None:
    a = ord("a")
    for params, times, falls in (
        ({"presence_penalty": 1.0}, 3, 1.0),
        ({"frequency_penalty": 1.0}, 3, 3.0),
        ({"presence_penalty": -2.0}, 2, -2.0),
    ):
        wanted: dict[str, Any] = {"temperature": 0.0, **params}
        chooser = sampler(**wanted)
        for _ in range(times):
            chooser.accept(a)
        just_above, just_below = (row(a=20.0, b=20.0 - falls + d) for d in (-0.1, 0.1))
        assert (chooser.sample(just_above), chooser.sample(just_below)) == (a, ord("b"))


def test_a_repetition_penalty_divides_what_is_positive_and_multiplies_what_is_negative() -> None:
    chooser = sampler(prompt=(ord("a"),), temperature=0.0, repetition_penalty=2.0)
    assert chooser.sample(row(a=4.0, b=2.1)) == ord("b")
    everything_low = np.full(SIZE, -9.0, np.float32)
    everything_low[ord("a")], everything_low[ord("b")] = -2.0, -3.9
    assert chooser.sample(everything_low) == ord("b")
