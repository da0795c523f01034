"""Taps that come too late, from elsewhere, or under a card whose topic the network left out."""

from dataclasses import replace
from itertools import count

import pytest

from roost.waits import Ask, Question
from roost_channels.message import Address, Sender
from roost_platform.testing.chats import HandClock, Person
from roost_platform.testing.waiting import BOOKING, booking, press, waiting

GROUP = Address("telegram", "42", "-100", is_group=True)
LATE_S = 91 * 24 * 3600.0  # longer than anything is waited for


@pytest.mark.parametrize("choice", ["a", "d", "w"])
async def test_a_tap_after_the_end_decides_nothing_though_no_clock_looked(
    ada: Person, clock: HandClock, choice: str
) -> None:
    parked = await booking(ada)
    clock.advance(LATE_S)
    assert (await parked.taps(choice)).startswith("Nobody")
    assert (await parked.approval()).state == "expired"
    assert ada.doorbell.rung[-1] == parked.turn.conversation_id  # the call goes on without it
    assert (await parked.calls())["c0"] == "ready"


async def test_an_answer_after_the_end_is_told_that_it_is_late(
    sqlite_ada: Person, clock: HandClock
) -> None:
    parked = await waiting(sqlite_ada, Ask((Question("Which day?"),)))
    clock.advance(LATE_S)
    await sqlite_ada.says("Friday")
    kept = await parked.approval()
    assert (kept.state, kept.answers) == ("expired", [])
    assert "Nobody" in (await sqlite_ada.outbox())[-1][1]


async def test_an_operator_is_too_late_as_well(sqlite_ada: Person, clock: HandClock) -> None:
    parked = await booking(sqlite_ada)
    clock.advance(LATE_S)
    decision = await sqlite_ada.intake.decide(
        (await parked.approval()).id, "approve", "", "max", "console"
    )
    assert (decision.state, decision.counted) == ("expired", False)


async def test_a_button_copied_into_another_chat_decides_nothing(sqlite_ada: Person) -> None:
    ada = replace(sqlite_ada, address=GROUP)
    parked = await booking(ada, replace(BOOKING, approver="another"))
    elsewhere = Address("telegram", "42", "2002")
    bob = Person(ada.stores, ada.intake, ada.doorbell, elsewhere, Sender("2002", "Bob"), count(900))
    approval = await parked.approval()
    assert await press(bob, approval, "a") == "This button does nothing any more."
    assert (await parked.approval()).state == "pending"
    assert await press(replace(bob, address=GROUP), approval, "a") == "Approved."


async def test_a_tap_under_a_card_too_old_to_be_shown_counts_in_its_topic(
    sqlite_ada: Person,
) -> None:
    topic = replace(GROUP, thread="7")
    ada = replace(sqlite_ada, address=topic)
    parked = await booking(ada)
    approval = await parked.approval()
    # Such a tap comes without the topic, and what is told must not land in the chat itself.
    assert await press(replace(ada, address=GROUP), approval, "i") == ""
    assert any("day" in text for _, text in (await ada.outbox())[1:])
    assert await press(replace(ada, address=GROUP), approval, "a") == "Approved."
