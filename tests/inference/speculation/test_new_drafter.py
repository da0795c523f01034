"""The worked example of docs/extending.md: a drafter that guesses that the last token repeats."""

from collections.abc import Sequence as Many
from pathlib import Path

from roost_inference.engine import Engine
from roost_inference.request import SamplingParams
from roost_inference.sequence import Sequence
from roost_inference.speculation.drafter import Drafter, Proposal
from roost_inference.testing.harness import (
    Collector,
    drive,
    request,
    toy_engine,
    toy_speculator,
)
from roost_inference.testing.toy import continuation


class Echo:
    """Guesses that the last token repeats."""

    name = "echo"

    def prior(self, slot: int) -> float:
        return 0.1

    def cost_ms(self, sequences: int, depth: int) -> float:
        return 0.0

    def propose(self, sequences: Many[Sequence], depth: int) -> list[Proposal | None]:
        return [Proposal([sequence.tokens.last] * depth) for sequence in sequences]

    def forget(self, sequence: Sequence, *, finished: bool) -> None:
        pass

    def close(self) -> None:
        pass


class Eager(Echo):
    """Promises so much that it is verified at once."""

    def prior(self, slot: int) -> float:
        return 0.9


def engine_with(drafter: Drafter) -> Engine:
    return toy_engine(speculator=toy_speculator(drafter))


def ask(engine: Engine, prompt: str, **fields: object) -> Collector:
    heard = Collector()
    engine.submit(request(prompt, 24, ignore_eos=True, **fields), heard)
    drive(engine)
    return heard


def test_wrong_guesses_of_the_new_drafter_never_change_the_text() -> None:
    engine = engine_with(Eager())
    heard = ask(engine, "hello there")
    assert heard.tokens == continuation(list(b"hello there"), 24)
    figures = engine.stats().speculation["echo"]
    assert figures.drafts > 0 and figures.accepted_tokens < figures.draft_tokens


def test_its_right_guesses_are_accepted_and_counted_under_its_name() -> None:
    engine = engine_with(Eager())
    always_a = SamplingParams(temperature=0.0, logit_bias={ord("a"): 100.0})
    heard = ask(engine, "hello a", sampling=always_a)
    assert heard.text == "a" * 24
    speculation = heard.finish.speculation
    assert speculation is not None and speculation.accepted_by_drafter["echo"] > 8
    assert engine.stats().steps_total < 24


def test_the_page_shows_this_example() -> None:
    page = (Path(__file__).parents[3] / "docs" / "extending.md").read_text()
    section = page.split("## Add a drafter")[1]
    example = section.split("```python\n")[1].split("```")[0]
    code = [line.split("  #")[0].strip() for line in example.splitlines()]
    source = Path(__file__).read_text()
    assert len(code) > 15 and [line for line in code if line not in source] == []
