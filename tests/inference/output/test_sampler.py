"""The sampler follows its parameters, and equal seeds give equal tokens."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from roost_inference.output.grammar import GrammarCompiler
from roost_inference.output.sampler import Sampler
from roost_inference.request import SamplingParams
from roost_inference.testing.toy import END, SIZE, ToyVocabulary

Logits = NDArray[np.float32]


def sampler(prompt: tuple[int, ...] = (0,), **params: object) -> Sampler:
    return Sampler(
        SamplingParams(**params),  # type: ignore[arg-type]
        np.array(prompt, np.int32),
        frozenset({END}),
    )


def logits(**values: float) -> Logits:
    """Zero everywhere, but t3=5.0 sets token 3."""
    array = np.zeros(SIZE, np.float32)
    for name, value in values.items():
        array[int(name[1:])] = value
    return array


def draws(chooser: Sampler, row: Logits, count: int = 400) -> list[int]:
    tokens = []
    for _ in range(count):
        tokens.append(chooser.sample(row))
        chooser.accept(tokens[-1])
    return tokens


def test_temperature_zero_takes_the_likeliest_and_leaves_the_logits_alone() -> None:
    row = logits(t9=3.0)
    before = row.copy()
    assert sampler(temperature=0.0, logit_bias={4: 2.0}).sample(row) == 9
    assert np.array_equal(row, before)


def test_equal_seeds_give_equal_tokens_and_others_differ() -> None:
    row = np.random.default_rng(1).normal(size=SIZE).astype(np.float32)
    first, second, other = (draws(sampler(seed=seed), row, 50) for seed in (5, 5, 6))
    assert first == second != other


def test_a_draw_hardly_depends_on_the_last_bits_of_the_logits() -> None:
    rng = np.random.default_rng(2)
    row = rng.normal(scale=2.0, size=SIZE).astype(np.float32)
    nearly = row + rng.normal(scale=1e-4, size=SIZE).astype(np.float32)
    pairs = zip(draws(sampler(seed=9), row), draws(sampler(seed=9), nearly), strict=True)
    assert sum(a == b for a, b in pairs) >= 398


def test_asking_twice_gives_the_same_until_the_token_is_accepted() -> None:
    row = np.zeros(SIZE, np.float32)
    chooser = sampler(seed=4)
    assert chooser.sample(row) == chooser.sample(row)


def test_without_a_seed_two_requests_differ() -> None:
    row = np.zeros(SIZE, np.float32)
    assert draws(sampler(), row, 20) != draws(sampler(), row, 20)


def test_draws_follow_the_softmax() -> None:
    row = np.full(SIZE, -50.0, np.float32)
    row[[1, 2]] = [math.log(3.0), 0.0]
    share = draws(sampler(seed=3), row, 4000).count(1) / 4000
    assert share == pytest.approx(0.75, abs=0.03)


def test_temperature_flattens() -> None:
    row = np.full(SIZE, -1000.0, np.float32)
    row[[1, 2]] = [2.0, 0.0]
    share = draws(sampler(seed=3, temperature=2.0), row, 4000).count(1) / 4000
    assert share == pytest.approx(1 / (1 + math.exp(-1.0)), abs=0.03)


def test_top_k_keeps_the_k_likeliest() -> None:
    row = np.linspace(0.0, 2.5, SIZE, dtype=np.float32)
    assert set(draws(sampler(seed=1, top_k=3), row)) == {SIZE - 1, SIZE - 2, SIZE - 3}


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    row = np.full(SIZE, -50.0, np.float32)
    row[[1, 2, 3]] = np.log([0.5, 0.3, 0.2])
    assert set(draws(sampler(seed=1, top_p=0.7), row)) == {1, 2}
    assert set(draws(sampler(seed=1, top_p=0.01), row)) == {1}


def test_top_p_is_exact_when_the_distribution_is_flat() -> None:
    row: Logits = np.zeros(4096, np.float32)  # more than are looked at first
    chosen = set(draws(sampler(seed=1, top_p=0.5), row, 4000))
    assert max(chosen) < 2048 and len(chosen) > 1000


def test_filters_apply_one_after_the_other() -> None:
    row = np.full(SIZE, -50.0, np.float32)
    row[[1, 2, 3, 4]] = np.log([0.4, 0.3, 0.2, 0.1])
    # of the three likeliest, renormalised, the first two weigh 0.78
    assert set(draws(sampler(seed=1, top_k=3, top_p=0.75), row)) == {1, 2}
    assert set(draws(sampler(seed=1, min_p=0.3, top_p=0.99), row)) == {1, 2, 3}


def test_min_p_drops_what_is_far_below_the_likeliest() -> None:
    row = np.full(SIZE, -50.0, np.float32)
    row[[1, 2, 3]] = np.log([0.6, 0.3, 0.01])
    assert set(draws(sampler(seed=1, min_p=0.2), row)) == {1, 2}


def test_penalties_count_generated_tokens_only() -> None:
    chooser = sampler(prompt=(7,), temperature=0.0, presence_penalty=1.0, frequency_penalty=0.5)
    row = logits(t7=3.0, t8=2.4)
    assert chooser.sample(row) == 7
    chooser.accept(7)
    assert chooser.sample(row) == 8


def test_repetition_penalty_counts_the_prompt_too() -> None:
    row = logits(t7=3.0, t8=2.4)
    chooser = sampler(prompt=(7,), temperature=0.0, repetition_penalty=1.5)
    assert chooser.sample(row) == 8


def test_bias_bans_and_forces() -> None:
    row = logits(t7=3.0, t8=2.0)
    assert sampler(temperature=0.0, logit_bias={7: -100.0}).sample(row) == 8
    assert sampler(temperature=0.0, logit_bias={200: 100.0}).sample(row) == 200


def test_ignoring_the_end_never_chooses_it() -> None:
    row = logits(t256=9.0, t8=2.0)
    chooser = Sampler(
        SamplingParams(temperature=0.0),
        np.zeros(1, np.int32),
        frozenset({END}),
        ignore_end=True,
    )
    assert chooser.sample(row) == 8


def test_logprobs_are_the_models_own_whatever_the_filters_do() -> None:
    row = np.full(SIZE, -np.inf, np.float32)
    row[[65, 66, 67]] = np.log([0.5, 0.3, 0.2])
    chooser = sampler(temperature=0.3, top_k=1, top_logprobs=2)
    found = chooser.logprob(row, 67, ToyVocabulary().token_bytes)
    assert found is not None and found.text == "C"
    assert found.logprob == pytest.approx(math.log(0.2))
    assert [likely.text for likely in found.top] == ["A", "B"]
    assert found.top[0].logprob == pytest.approx(math.log(0.5))


def test_no_logprobs_unless_asked_and_none_alternative_when_zero() -> None:
    token_bytes = ToyVocabulary().token_bytes
    assert sampler().logprob(logits(), 1, token_bytes) is None
    found = sampler(top_logprobs=0).logprob(logits(), 1, token_bytes)
    assert found is not None and found.top == ()


def test_a_grammar_masks_everything_else() -> None:
    compiler = GrammarCompiler(ToyVocabulary().grammar_tokenizer(), SIZE)
    chooser = Sampler(
        SamplingParams(temperature=0.0),
        np.zeros(1, np.int32),
        frozenset({END}),
        compiler.compile('start: "yes" | "no"'),
    )
    row = logits(t120=9.0, t110=1.0)
    written = b""
    while not chooser.grammar.is_complete:  # type: ignore[union-attr]
        token = chooser.sample(row)
        chooser.accept(token)
        written += bytes([token])
    assert written == b"no"
    assert chooser.is_over(token)
