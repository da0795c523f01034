"""A request with a seed gives the same answer again: cold, cached, from RAM, with guesses about."""

import itertools

import pytest

from roost_inference.engine import Engine
from roost_inference.request import EngineSession, Request, SamplingParams
from roost_inference.testing.harness import Collector

_numbers = itertools.count()
LONG = "Write a long story of a fox " + "who runs over the hill " * 90


def ask(engine: Engine, text: str, salt: str, count: int = 24) -> Collector:
    heard = Collector()
    prompt = engine.tokenize(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n")
    engine.submit(
        Request(
            f"repeat-{next(_numbers)}",
            tuple(prompt),
            count,
            SamplingParams(temperature=0.8, seed=7),
            session=EngineSession(None, salt),
        ),
        heard,
    )
    heard.wait()
    return heard


@pytest.mark.parametrize(
    "text", ["Tell me about the sea and its birds.", LONG[:600], LONG], ids=["one tile", "3", "9"]
)
def test_the_same_seed_gives_the_same_answer_cold_and_from_every_place(
    engine: Engine, text: str
) -> None:
    mine = f"mine {len(text)}"
    first = ask(engine, text, mine)
    again = [ask(engine, text, mine) for _ in range(2)]
    ask(engine, LONG[300:], "somebody's")  # what is idle leaves the device
    again.append(ask(engine, text, mine))
    cold = ask(engine, text, f"another's {len(text)}")
    assert cold.finish.usage.cached_tokens == first.finish.usage.cached_tokens == 0
    if len(text) > 700:
        assert all(each.finish.usage.cached_tokens >= 64 for each in again)
    assert [each.tokens for each in (*again, cold)] == [first.tokens] * 4
