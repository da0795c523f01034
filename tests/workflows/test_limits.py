"""What one turn may use is bounded, and whoever waits for it is told in plain words."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest

from roost import Agent, tool
from roost_inference.client.assembly import Completed, Delta, ToolCall
from roost_inference.client.engine_client import ChatRequest
from roost_workflows.model_calls import Spent
from roost_workflows.reasons import LIMIT_REASONS
from roost_workflows.testing.lab import Lab
from roost_workflows.turn.endings import APOLOGIES, LIMITS_SAID, answer_end
from roost_workflows.turn.limits import TOLD_MAX, reached, refused_call

RUNS: list[str] = []


@tool(effect="pure")
async def look(place: str) -> str:
    """Look at a place."""
    RUNS.append(place)
    return f"nothing at {place}"


def agent(**limits: int | float) -> Agent:
    return Agent("seeker", "Look.", tools=[look], **limits)  # type: ignore[arg-type]


@pytest.fixture
def talk() -> str:
    """A fresh conversation's id."""
    RUNS.clear()
    return f"talk-{uuid4().hex[:12]}"


class Restless:
    """An engine that asks for tools as long as it may, and then answers or not."""

    def __init__(self, *, places: int = 1, per_step: int = 1, answer: str = "", tokens: int = 1):
        self.places = places
        self.per_step = per_step
        self.answer = answer
        self.tokens = tokens
        self.asked: list[ChatRequest] = []

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        self.asked.append(request)
        if request.extra.get("tool_choice") == "none" and self.answer:
            yield Delta(self.answer)
            yield Completed(self.answer, (), "stop", "m", "id", self.tokens, 0, 1)
            return
        begun = len(self.asked) * self.per_step
        calls = tuple(
            ToolCall(str(n), "look", f'{{"place": "{(begun + n) % self.places}"}}')
            for n in range(self.per_step)
        )
        yield Completed("", calls, "tool_calls", "m", "id", self.tokens, 0, 1)


async def run(lab: Lab, talk: str, engine: Restless, **limits: int | float) -> str:
    """What the person reads in the end."""
    async with lab.worker(agent(**limits), engine=engine):
        await lab.say(talk, "find it")
        turn = await lab.turn(talk)
        await lab.closed(talk)
    assert turn.state == "done"
    (sent,) = lab.store.outbox(talk)
    return sent.text


async def test_s19_steps_are_bounded_and_the_person_is_told(lab: Lab, talk: str) -> None:
    engine = Restless(places=100)
    text = await run(lab, talk, engine, max_steps=4)
    assert text == LIMITS_SAID["too_many_steps"]
    assert len(engine.asked) == 4
    assert lab.store.turns(talk)[0].reason == "too_many_steps"


async def test_s19_tool_calls_are_bounded_and_the_model_answers_without_them(
    lab: Lab, talk: str
) -> None:
    engine = Restless(places=1000, per_step=4, answer="It is nowhere.")
    text = await run(lab, talk, engine, max_calls=6, max_steps=50)
    assert len(RUNS) == 6, "calls beyond the limit are not run"
    assert text == f"It is nowhere.\n\n_{LIMITS_SAID['too_many_calls']}_"
    refused = [m.content for m in lab.store.transcript(talk) if m.status == "error"]
    assert len(refused) == 2 and all("at most 6 tool calls" in one for one in refused)


async def test_s19_tokens_are_bounded(lab: Lab, talk: str) -> None:
    engine = Restless(places=1000, answer="Enough.", tokens=400)
    text = await run(lab, talk, engine, max_turn_tokens=1000, max_steps=50)
    assert len(engine.asked) == 4
    assert text == f"Enough.\n\n_{LIMITS_SAID['too_many_tokens']}_"


async def test_s19_identical_calls_are_refused_and_then_end_the_turn(lab: Lab, talk: str) -> None:
    engine = Restless(places=1)
    text = await run(lab, talk, engine, max_repeats=3, max_steps=100)
    assert len(RUNS) == 3
    assert text == LIMITS_SAID["repeated_calls"]
    told = [m.content for m in lab.store.transcript(talk) if "Not run" in m.content]
    assert len(told) == TOLD_MAX and all("was run 3 times" in one for one in told)
    assert len(engine.asked) == 3 + TOLD_MAX + 1


async def test_s19_two_calls_by_turns_are_repetitions_too(lab: Lab, talk: str) -> None:
    engine = Restless(places=2)
    text = await run(lab, talk, engine, max_repeats=2, max_steps=100)
    assert len(RUNS) == 4
    assert text == LIMITS_SAID["repeated_calls"]


async def test_s19_different_calls_are_no_repetition(lab: Lab, talk: str) -> None:
    engine = Restless(places=1000, answer="Here.")
    assert await run(lab, talk, engine, max_repeats=1, max_steps=6) == "Here."


async def test_s19_a_turn_that_works_for_too_long_ends_and_keeps_what_it_wrote(
    lab: Lab, talk: str
) -> None:
    class Slow:
        async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
            yield Delta("Once upon a time")
            await asyncio.sleep(600)

    async with lab.worker(agent(max_turn_s=1.5), engine=Slow()):
        await lab.say(talk, "tell me")
        turn = await lab.turn(talk)
        await lab.closed(talk)
    assert (turn.state, turn.reason) == ("failed", "out_of_time")
    (sent,) = lab.store.outbox(talk)
    assert sent.text == f"Once upon a time\n\n{APOLOGIES['out_of_time']}"


def spent(*arguments: str) -> Spent:
    return Spent(tuple((str(n), "look", one) for n, one in enumerate(arguments)))


def test_s19_the_order_of_arguments_makes_no_other_call() -> None:
    one, other = '{"a": 1, "b": 2}', '{"b": 2, "a": 1}'
    assert refused_call(agent(max_repeats=1), spent(one, other), "1")
    assert not refused_call(agent(max_repeats=1), spent(one, '{"a": 2}'), "1")
    assert refused_call(agent(max_repeats=1), spent("not json", "not json"), "1")
    assert not refused_call(agent(), Spent(), "unknown")


def test_s19_every_limit_has_a_sentence_for_people() -> None:
    assert set(LIMITS_SAID) == set(LIMIT_REASONS)
    assert reached(agent(), Spent()) == ""
    for limit in LIMIT_REASONS:
        assert answer_end("empty", limit, "", files=0).body == LIMITS_SAID[limit]
        end = answer_end("answer", limit, "So far", files=0)
        assert end.body.startswith("So far\n\n") and LIMITS_SAID[limit] in end.body
        assert end.note_kind == "limited"
