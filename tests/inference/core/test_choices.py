"""Choices of one prompt: it is read once, its cells are shared, and each goes its own way."""

import numpy as np
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
from roost_inference.testing.toy import END, ToyBackend

PROMPT = "a prompt of some length, which all choices have in common. " * 3
DICE = SamplingParams(temperature=4.0, seed=11)


def wanted(choices: int, max_tokens: int = 12, **fields: object) -> list[Request]:
    fields.setdefault("sampling", DICE)
    return list(requests_of(request(PROMPT, max_tokens, ignore_eos=True, **fields), choices))


def submit(engine, requests: list[Request]) -> list[Collector]:  # type: ignore[no-untyped-def]
    heard = [Collector() for _ in requests]
    for each, listener in zip(requests, heard, strict=True):
        engine.submit(each, listener)
    return heard


def alone(each: Request) -> Collector:
    engine = toy_engine()
    (heard,) = submit(engine, [each])
    drive(engine)
    return heard


@pytest.mark.parametrize("background_cells", [0, 512])
def test_the_prompt_is_read_once_and_its_cells_are_shared(background_cells: int) -> None:
    backend = ToyBackend(background_cells=background_cells)
    engine = toy_engine(backend)
    heard = submit(engine, wanted(4))
    most = 0
    while engine.step() or engine.has_work:
        engine.check()
        most = max(most, engine.stats().cells_used)
    length = len(PROMPT)
    assert sum(backend.decoded) == length + 3 + 4 * 11, "of the others only the last token"
    assert most <= length + 4 * 12
    usages = [listener.finish.usage for listener in heard]
    assert [usage.cached_tokens for usage in usages] == [0] + 3 * [length - 1]


def test_a_choice_is_what_its_own_seed_gives_alone() -> None:
    engine, requests = toy_engine(), wanted(4)
    heard = submit(engine, requests)
    drive(engine)
    assert [each.sampling.seed for each in requests] == [11, 12, 13, 14]
    assert [one.tokens for one in heard] == [alone(each).tokens for each in requests]
    assert len({one.text for one in heard}) == 4


def test_the_seeds_of_choices_stay_seeds_at_their_limit() -> None:
    last = SamplingParams(seed=2**63 - 1)
    assert [r.sampling.seed for r in wanted(2, sampling=last)] == [2**63 - 1, 0]
    assert [r.sampling.seed for r in wanted(3, sampling=SamplingParams())] == [None] * 3
    assert len({each.id for each in wanted(16)}) == 16


def test_choices_are_the_same_with_drafts_and_with_tiers_below() -> None:
    expected = [alone(each).tokens for each in wanted(3)]
    drafting = toy_engine(speculator=toy_speculator(depth_max=4))
    paging = toy_engine(store=toy_store(), resident_cells=0)
    for engine in (drafting, paging):
        for turn in range(2):
            heard = submit(engine, wanted(3, session_id="s"))
            drive(engine)
            assert [one.tokens for one in heard] == expected, turn
        assert engine.stats().running == engine.stats().waiting == 0


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 8])
def test_aborting_all_choices_at_any_moment_frees_every_cell_and_sequence(steps: int) -> None:
    engine = toy_engine(store=toy_store(), batch_tokens=64)
    requests = wanted(5, 200)
    heard = submit(engine, requests)
    for _ in range(steps):
        engine.step()
        engine.check()
    for each in requests:
        engine.abort(each.id)
    drive(engine)
    assert {listener.finish.reason for listener in heard} == {"abort"}
    assert engine.stats().running == engine.stats().waiting == 0
    (again,) = submit(engine, wanted(1))
    drive(engine)
    assert again.tokens == alone(wanted(1)[0]).tokens, "what is left over can be used"


def test_a_choice_that_leaves_takes_nothing_from_the_others() -> None:
    """Also the first one, whose prompt the others wait for."""
    rng = np.random.default_rng(5)
    expected = {each.sampling.seed: alone(each).tokens for each in wanted(4)}
    for _ in range(12):
        engine, requests = toy_engine(), wanted(4)
        heard = submit(engine, requests)
        for _ in range(int(rng.integers(0, 8))):
            engine.step()
        gone = int(rng.integers(0, 4))
        engine.abort(requests[gone].id)
        drive(engine)
        for at, (each, listener) in enumerate(zip(requests, heard, strict=True)):
            if at != gone:
                assert listener.tokens == expected[each.sampling.seed]


def test_more_choices_than_may_run_at_once_all_come_to_their_end() -> None:
    engine = toy_engine(ToyBackend(cells=256, sequences=4), max_running=3)
    heard = submit(engine, wanted(7, 20))
    drive(engine)
    assert [listener.finish.reason for listener in heard] == ["length"] * 7
    assert all(END not in listener.tokens for listener in heard)
