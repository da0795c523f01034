"""Cards in the lane of a chat: what replaces them goes to the same message."""

from roost_channels.outbox import OutboxEntry
from roost_channels.rendering.parts import RenderedPart
from roost_platform.testing.chats import Person
from roost_platform.testing.waiting import booking


async def head(person: Person) -> OutboxEntry:
    """The first entry of the chat's lane."""
    found = await person.stores.outbox.next_entry(person.address)
    assert found is not None
    return found[0]


async def test_the_verdict_replaces_the_message_that_the_card_became(ada: Person) -> None:
    parked = await booking(ada)
    await parked.taps("a")
    outbox = ada.stores.outbox
    card = await head(ada)
    assert [button.label for button in card.buttons] == ["Approve", "Deny", "Details"]
    (part,) = await outbox.plan(card.id, [RenderedPart("May I?", (), 0, 6)])
    await outbox.sending(part.id, "courier", 60.0)
    await outbox.sent(part.id, "m77")
    edit = await head(ada)
    assert (edit.edits_id, edit.edits, edit.buttons) == (card.id, "m77", ())
    assert edit.text.startswith("Approved by Ada ")


async def test_a_card_that_has_not_left_is_not_sent_after_a_stop(ada: Person) -> None:
    await booking(ada)
    await ada.says("/stop")
    edit = await head(ada)
    assert edit.text.startswith("Cancelled") and edit.edits == ""
