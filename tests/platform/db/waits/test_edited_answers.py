"""Edits of messages that were answers or decisions, or were none."""

from dataclasses import replace

import pytest

from roost.waits import Ask, Question
from roost_channels.message import Address, InboundMessage
from roost_platform.testing.chats import Person
from roost_platform.testing.waiting import Parked, booking, delivered, waiting

CHOICE = Question("Tea or coffee?", ("Tea", "Coffee"), free_text=False)
NAME, TOWN = Question("Your name?"), Question("Your town?")


async def said(person: Person, text: str) -> InboundMessage:
    """A message of the person, which may be edited."""
    message = person.message(text)
    await person.gives(message)
    return message


async def edited(person: Person, message: InboundMessage, text: str) -> None:
    """Edit a message."""
    edit = replace(person.message(text, kind="edited"), message_id=message.message_id)
    await person.gives(edit)


async def read_by_the_agent(parked: Parked) -> list[str]:
    """What the agent reads once the call is over."""
    turns = parked.person.stores.turns
    turn = await parked.go_on()
    await turns.begin_call(turn.turn_id, 1, "c0")
    await turns.finish_call(turn.turn_id, 1, "c0", status="ok", result="done")
    await turns.close_group(turn.turn_id, 1)
    return [message.content for message in (await turns.context(turn.turn_id, 2)).messages]


async def test_an_answer_that_did_not_count_is_mended_by_an_edit(ada: Person) -> None:
    parked = await waiting(ada, Ask((CHOICE,)))
    message = await said(ada, "cocoa")
    await edited(ada, message, "Tea")
    assert ((await parked.approval()).state, (await parked.approval()).answers) == (
        "answered",
        ["Tea"],
    )
    assert ada.doorbell.rung[-1] == parked.turn.conversation_id


async def test_an_edit_says_which_of_several_questions_is_answered(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Ask((NAME,)), Ask((TOWN,)))
    message = await said(sqlite_ada, "Paris")
    [town] = [one for one in await parked.approvals() if "town" in one.preview]
    await edited(sqlite_ada, message, f"{town.code} Paris")
    assert sorted(one.answers for one in await parked.approvals()) == [[], ["Paris"]]


async def test_an_edit_of_no_answer_is_no_message_once_nothing_is_asked(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Ask((CHOICE,)))
    message = await said(sqlite_ada, "cocoa")
    await parked.taps("0.1")
    await edited(sqlite_ada, message, "Tea")
    assert (await parked.approval()).answers == ["Coffee"]
    assert (await sqlite_ada.inbox())[-1] == ("Tea", "done")


async def test_in_a_group_nobody_else_mends_an_answer(sqlite_ada: Person) -> None:
    sqlite_ada.address = Address("telegram", "42", "-100", is_group=True)
    parked = await waiting(sqlite_ada, Ask((CHOICE,)))
    message = await said(sqlite_ada, "cocoa")
    bob = replace(sqlite_ada.sender, address="2002", display_name="Bob", aliases=())
    ada, sqlite_ada.sender = sqlite_ada.sender, bob
    await edited(sqlite_ada, message, "Tea")
    assert (await parked.approval()).state == "pending"
    sqlite_ada.sender = ada
    await edited(sqlite_ada, message, "Tea")
    assert (await parked.approval()).state == "answered"


async def test_the_agent_hears_of_an_edit_of_an_answer(ada: Person) -> None:
    parked = await waiting(ada, Ask((NAME,)))
    message = await said(ada, "Adda")
    await edited(ada, message, "Ada")
    note = "The user edited their answer to a question. Before: “Adda” Now: “Ada”"
    assert note in await read_by_the_agent(parked)


@pytest.mark.parametrize("words", ["/approve", "/deny too dear"])
async def test_the_agent_hears_of_an_edit_of_a_decision(sqlite_ada: Person, words: str) -> None:
    parked = await booking(sqlite_ada)
    await delivered(sqlite_ada)
    message = await said(sqlite_ada, words)
    await edited(sqlite_ada, message, "/deny not on Friday")
    assert (await parked.approval()).state == ("approved" if "app" in words else "denied")
    assert any("Now: “/deny not on Friday”" in text for text in await read_by_the_agent(parked))
