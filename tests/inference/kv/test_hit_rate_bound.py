"""The ceiling of the hit rate: exact while nothing is forgotten, bounded, never across salts."""

import random

import pytest

from roost_inference.kv.hit_rate_bound import CHUNK_TOKENS, ChainPosition, HitRateBound

TEXT = list(range(1000))


def seen(ceiling: HitRateBound, tokens: list[int], salt: str = "t", answer: list[int] = []) -> int:  # noqa: B006
    trail = ChainPosition()
    found = ceiling.prompt(trail, salt, tokens)
    ceiling.answer(trail, answer)
    return found


@pytest.mark.parametrize("length", [1, CHUNK_TOKENS, CHUNK_TOKENS + 3, 999])
def test_a_prompt_seen_before_is_known_but_for_the_token_that_is_computed(length: int) -> None:
    ceiling = HitRateBound()
    assert seen(ceiling, TEXT[:length]) == 0
    assert seen(ceiling, TEXT[:length]) == length - 1
    assert seen(ceiling, TEXT[:length], salt="other") == 0
    figures = ceiling.figures()
    assert (figures.prompt_tokens, figures.seen_tokens) == (3 * length, length - 1)
    assert not figures.forgets


def test_what_was_written_counts_for_the_next_turn_to_the_token() -> None:
    ceiling = HitRateBound()
    for turn in range(1, 40):
        prompt, answer = TEXT[: turn * 23], TEXT[turn * 23 : turn * 23 + 7]
        assert seen(ceiling, prompt, answer=answer) == (turn - 1) * 23 + (7 if turn > 1 else 0)


def test_what_an_earlier_run_left_on_disk_was_seen_before() -> None:
    ceiling, trail = HitRateBound(), ChainPosition()
    assert ceiling.prompt(trail, "t", TEXT[:100]) == 0
    ceiling.answer(trail, [1, 2], reused=99)
    assert ceiling.figures().seen_tokens == 99
    assert seen(ceiling, TEXT[:100]) == 99
    assert ceiling.figures().seen_tokens == 198


def test_chains_that_part_within_a_chunk_share_what_comes_before() -> None:
    ceiling = HitRateBound()
    shared = TEXT[:90]
    seen(ceiling, [*shared, *[-1] * 40])
    assert seen(ceiling, [*shared, *[-2] * 40]) == 90
    # both are remembered whole, whichever came last
    assert seen(ceiling, [*shared, *[-1] * 40]) >= 128


def test_it_never_forgets_a_prefix_before_what_hangs_on_it_and_stays_within_its_bound() -> None:
    ceiling, rng = HitRateBound(chunks_max=64), random.Random(7)
    prompts: list[list[int]] = []
    for number in range(60):
        prompts.append([*TEXT[:64], *[number] * rng.randrange(1, 200)])
        seen(ceiling, prompts[-1], answer=[number] * 9)
        assert len(ceiling._chunks) <= 64
    assert ceiling.figures().forgets
    assert seen(ceiling, [*TEXT[:64], *[1000] * 50]) == 64
    assert seen(ceiling, prompts[-1]) == len(prompts[-1]) - 1


def test_against_a_cache_that_keeps_everything_in_plain_sight() -> None:
    ceiling, rng = HitRateBound(), random.Random(3)
    kept: list[list[int]] = []
    for _ in range(200):
        base = rng.choice(kept) if kept and rng.random() < 0.8 else []
        prompt = [
            *base[: rng.randrange(len(base) + 1)],
            *rng.choices(range(3), k=rng.randrange(1, 60)),
        ]
        best = max((_shared(prompt, other) for other in kept), default=0)
        found = seen(ceiling, prompt)
        # where two chains part within a chunk only the latest of them is known to the token
        ideal = min(best, len(prompt) - 1)
        assert ideal - CHUNK_TOKENS < found <= ideal
        kept.append(prompt)


def _shared(one: list[int], other: list[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
