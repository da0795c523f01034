"""A card that can't be delivered goes to another chat of the person, or the tool is told."""

from dataclasses import replace

import pytest

from roost_channels.errors import Failure
from roost_channels.intake import DeliveryReceipt
from roost_channels.message import Address
from roost_channels.rendering.parts import RenderedPart
from roost_platform.db import models
from roost_platform.testing.chats import Person, count_rows
from roost_platform.testing.waiting import BOOKING, Parked, booking, press


async def fails(person: Person, address: Address | None = None) -> None:
    """The provider refuses what is queued first in the chat for good."""
    outbox = person.stores.outbox
    head = await outbox.next_entry(address or person.address)
    assert head is not None
    (part,) = await outbox.plan(head[0].id, [RenderedPart("May I?", (), 0, 6)])
    await outbox.sending(part.id, "courier", 60.0)
    await outbox.failed(part.id, Failure("the bot was blocked"))


async def test_unreachable_person_never_blocks_the_session(ada: Person) -> None:
    parked = await booking(ada)
    await fails(ada)
    assert (await parked.approval()).state == "unreachable"
    assert await parked.calls() == {"c0": "ready"}
    await parked.go_on()
    assert (await parked.gate()).told == "Not run: nobody could be reached for a decision."


async def test_a_receipt_of_failure_counts_as_well(ada: Person) -> None:
    parked = await booking(ada)
    outbox = ada.stores.outbox
    head = await outbox.next_entry(ada.address)
    assert head is not None
    (part,) = await outbox.plan(head[0].id, [RenderedPart("May I?", (), 0, 6)])
    await outbox.sending(part.id, "courier", 60.0)
    await outbox.sent(part.id, "m77")
    await ada.intake.receipt("telegram", "42", DeliveryReceipt(part.id, "m77", "failed"))
    assert (await parked.approval()).state == "unreachable"


async def linked_chat(ada: Person) -> Address:
    """A second chat of Ada's, in which she wrote before."""
    other = replace(ada.address, chat="5005")
    here, ada.address = ada.address, other
    await ada.says("/help")
    ada.address = here
    head = await ada.stores.outbox.next_entry(other)
    assert head is not None
    (part,) = await ada.stores.outbox.plan(head[0].id, [RenderedPart("help", (), 0, 4)])
    await ada.stores.outbox.sending(part.id, "courier", 60.0)
    await ada.stores.outbox.sent(part.id, "h1")
    return other


async def card_in(parked: Parked) -> str:
    """In which chat the card is."""
    async with parked.person.stores.database.read() as session:
        card = await session.get_one(models.Outbox, (await parked.approval()).card_id)
        return (await session.get_one(models.Conversation, card.conversation_id)).chat


async def test_the_card_goes_to_another_chat_of_the_person(ada: Person) -> None:
    other = await linked_chat(ada)
    parked = await booking(ada)
    await fails(ada)
    approval = await parked.approval()
    assert (approval.state, await card_in(parked)) == ("pending", "5005")
    there = Person(ada.stores, ada.intake, ada.doorbell, other, ada.sender)
    there._ids = ada._ids
    assert await press(there, approval, "a") == "Approved."
    assert ada.doorbell.rung[-1] == parked.turn.conversation_id


async def test_every_chat_is_tried_once(ada: Person) -> None:
    other = await linked_chat(ada)
    parked = await booking(ada)
    await fails(ada)
    await fails(ada, other)
    assert (await parked.approval()).state == "unreachable"
    assert await count_rows(ada.stores, models.Outbox, kind="approval", edits_id=None) == 2


@pytest.mark.parametrize("rule", ["operator", "another"])
async def test_what_others_decide_stays_open_in_the_console(sqlite_ada: Person, rule: str) -> None:
    parked = await booking(sqlite_ada, replace(BOOKING, approver=rule))  # type: ignore[arg-type]
    await fails(sqlite_ada)
    assert (await parked.approval()).state == "pending"
    decision = await sqlite_ada.intake.decide(
        (await parked.approval()).id, "approve", "", "max", "cli"
    )
    assert decision.state == "approved"
