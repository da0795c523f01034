"""Types bring checks of their own. One that breaks ends a call, never the turn around it, and the
tests' own run says the same as a worker.
"""

from typing import Annotated

import pytest
from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy import func, select

from roost import Agent, Context, FlowContext, ModelRetry, flow, tool
from roost.errors import CallFailed, GenerateFailed
from roost.flow import Flow
from roost.testing import ScriptedModel, call, run_agent, run_flow
from roost_platform.db import models
from roost_platform.testing.flow_world import FlowWorld

COUNTRIES = {"Rome": "Italy"}
RAN: list[str] = []


def known(city: str) -> str:
    """Breaks where the city is not known, as a developer's check may."""
    return COUNTRIES[city] and city


def served(city: str) -> str:
    """Refuses a city in words for the model."""
    if city not in COUNTRIES:
        raise ModelRetry(f"No train goes to {city}.")
    return city


class Answer(BaseModel):
    """An answer of a model."""

    city: Annotated[str, AfterValidator(known)]


@tool(effect="pure", approval="ask")
async def book(ctx: Context, city: Annotated[str, AfterValidator(known)]) -> str:
    """Book a train."""
    RAN.append(city)
    return city


@tool(effect="pure", approval="ask")
async def ride(city: Annotated[str, AfterValidator(served)]) -> str:
    """Ride a train."""
    return city


@tool(effect="pure")
async def count(seats: Annotated[int, Field(max_length=3)]) -> str:
    """Count seats, with a bound that no number has."""
    return str(seats)


@flow
async def trip(ctx: FlowContext, message: str) -> str:
    """Try all that breaks."""
    said = []
    for step in (
        ctx.call(book, city=message),
        ctx.call(ride, city=message),
        ctx.call(count, seats=3),
        ctx.generate("Which city?", schema=Answer),
    ):
        try:
            said.append(str(await step))
        except (CallFailed, GenerateFailed) as error:
            said.append(str(error))
    return "\n".join(said)


@flow
async def tour(ctx: FlowContext, city: Annotated[str, AfterValidator(known)]) -> str:
    """Takes a city that is known."""
    return city


SAID = """\
book: book failed with an unexpected error (KeyError).
ride: No train goes to Oslo. Correct the call and try again.
count: count failed with an unexpected error (TypeError).
"""
UNFIT = "What the model wrote does not fit: its check failed (KeyError)"
WRONG = 'its check failed (KeyError). Send its input as JSON: {"city": "string"}'


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


async def answer(world: FlowWorld, installed: Flow | Agent, text: str) -> str:
    world.installs(installed)
    await world.says(text)
    await world.goes_on()
    assert (await world.turn()).state == "done"
    return await world.last_text()


async def asked(world: FlowWorld) -> int:
    async with world.stores.database.read() as session:
        return await session.scalar(select(func.count()).select_from(models.Approval)) or 0


async def test_a_check_that_breaks_ends_its_step_alone_and_nobody_is_asked_before(
    world: FlowWorld,
) -> None:
    world.engine.texts = ['{"city": "Oslo"}'] * 2
    said = await answer(world, trip, "Oslo")
    assert said.startswith(SAID) and UNFIT in said
    assert await asked(world) == 0


async def test_a_run_of_a_test_says_what_a_worker_says_of_checks_that_break() -> None:
    run = await run_flow(trip, "Oslo", model=ScriptedModel(*['{"city": "Oslo"}'] * 2))
    assert run.text.startswith(SAID) and UNFIT in run.text
    assert run.asked == ()
    agent = Agent("clerk", "You book.", [book, ride])
    model = ScriptedModel([call("book", city="Oslo"), call("ride", city="Oslo")], "Sorry.")
    ran = await run_agent(agent, "To Oslo", model=model)
    told = [one.outcome.text for one in ran.calls]
    assert (ran.text, ran.asked) == ("Sorry.", ())
    assert told == [line.split(": ", 1)[1] for line in SAID.splitlines()[:2]]


async def test_an_agent_goes_on_after_a_call_whose_check_breaks(world: FlowWorld) -> None:
    agent = Agent("clerk", "You book.", [book])
    world.engine.texts = [[("book", {"city": "Oslo"})], "There is no train to Oslo."]
    assert await answer(world, agent, "To Oslo") == "There is no train to Oslo."
    assert await asked(world) == 0 and RAN == []


async def test_input_whose_check_breaks_is_refused_in_words(world: FlowWorld) -> None:
    assert (await answer(world, tour, '{"city": "Oslo"}')).endswith(WRONG)
    assert await answer(world, tour, '{"city": "Rome"}') == "Rome"


async def test_a_check_that_broke_once_lets_no_call_run_without_its_approval(
    world: FlowWorld,
) -> None:
    tries: list[str] = []

    def flaky(city: str) -> str:
        tries.append(city)
        if len(tries) == 1:
            raise ConnectionError("the list of cities is away")
        return city

    @tool(effect="pure", approval="ask", name="book")
    async def flaky_book(city: Annotated[str, AfterValidator(flaky)]) -> str:
        """Book a train."""
        RAN.append(city)
        return city

    world.engine.texts = [[("book", {"city": "Rome"})], "Not booked."]
    assert await answer(world, Agent("clerk", "You book.", [flaky_book]), "x") == "Not booked."
    assert RAN == []
