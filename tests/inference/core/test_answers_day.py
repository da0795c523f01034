"""Seeded days of requests with every option: whoever leaves, the others get their answers."""

import random

import pytest

from roost_inference.http.answer.engine_generation import requests_of
from roost_inference.request import Request, SamplingParams
from roost_inference.testing.harness import (
    Collector,
    drive,
    request,
    toy_engine,
    toy_speculator,
    toy_store,
)
from roost_inference.testing.toy import ToyBackend

OPENINGS = ("shared opening of many prompts ", "another one, as long as that ", "")
GRAMMARS = (None, None, "start: /[a-f ]{4,30}/", 'start: ("ab" | "cd")+ "."')
STEPS = 40


def wanted(rng: random.Random) -> list[Request]:
    """The requests of one call: its choices."""
    prompt = rng.choice(OPENINGS) + "".join(rng.choices("abcdef ", k=rng.randint(1, 50)))
    least = rng.choice((0, 0, 3, 12))
    sampling = SamplingParams(
        temperature=rng.choice((0.0, 1.0, 4.0)),
        seed=rng.randrange(2**63),
        top_logprobs=rng.choice((None, 2)),
        bad_words=rng.choice(((), ((97,),), ((98, 99), (100,)))),
        repetition_penalty=rng.choice((1.0, 1.2)),
    )
    one = request(
        prompt,
        rng.randint(max(least, 1), 40),
        sampling=sampling,
        stop=rng.choice(((), ("e", "ab"), ("é",))),
        stop_tokens=frozenset(rng.choice(((), (101, 32)))),
        includes_stop=rng.random() < 0.5,
        min_tokens=least,
        grammar=rng.choice(GRAMMARS),
        ignore_eos=rng.random() < 0.5,
        prompt_logprobs=rng.choice((None, None, None, 1)),
        session_id=rng.choice((None, "s", "t")),
        cache_salt=rng.choice(("", "own")),
        priority=rng.choice((0, 1, 2)),
    )
    return list(requests_of(one, rng.choice((1, 1, 2, 5))))


def said(heard: Collector) -> tuple[object, ...]:
    end, told = heard.finish, heard.finish.prompt_logprobs
    return (
        heard.text,
        tuple(heard.tokens),
        tuple(entry.token for entry in heard.logprobs),
        (end.reason, end.stop_string, end.stop_token, end.end_token),
        end.usage.completion_tokens,
        None if told is None else [each and each.found.token for each in told],
    )


def alone(each: Request) -> Collector:
    engine, heard = toy_engine(), Collector()
    engine.submit(each, heard)
    drive(engine)
    return heard


@pytest.mark.parametrize("background_cells", [0, 256])
@pytest.mark.parametrize("seed", range(6))
def test_a_day_of_requests_with_every_option_gives_each_its_own_answer(
    seed: int, background_cells: int
) -> None:
    rng = random.Random(seed)
    engine = toy_engine(
        ToyBackend(cells=400, sequences=10, background_cells=background_cells),
        max_running=6,
        batch_tokens=48,
        store=toy_store(blocks=40),
        speculator=toy_speculator(depth_max=4) if seed % 2 else None,
    )
    heard: dict[str, tuple[Request, Collector]] = {}
    aborted: set[str] = set()
    for _ in range(STEPS):
        if rng.random() < 0.5:
            for each in wanted(rng):
                heard[each.id] = each, Collector()
                engine.submit(each, heard[each.id][1])
        if heard and rng.random() < 0.2:
            gone = rng.choice(list(heard))
            aborted.add(gone)
            engine.abort(gone)
        engine.step()
        engine.check()
    drive(engine)
    assert engine.stats().running == engine.stats().waiting == 0
    for id, (each, listener) in heard.items():
        if listener.finish.reason == "abort":
            assert id in aborted
            continue
        assert said(listener) == said(alone(each)), each
        if each.grammar is None:
            assert listener.finish.usage.completion_tokens >= each.min_tokens
