"""A message that replaces an earlier one: in order, once to the eye, whatever crashes between."""

import asyncio
from dataclasses import replace

import pytest

from roost_channels.capabilities import Capabilities
from roost_channels.channel import Outgoing
from roost_channels.errors import EditTargetMissing, NotModified, NotSent, Throttled, Unreachable
from roost_channels.message import Address, Button, Receipt
from roost_channels.outbox import OutboxEntry
from roost_channels.rendering.parts import RenderedPart
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.testing import FakeTelegram
from roost_channels.testing.faults import FaultKind
from roost_channels.testing.memory.delivery import (
    CAPABILITIES,
    ScriptedChannel,
    deliver,
    quick_courier,
)
from roost_channels.testing.memory.outbox import MemoryOutbox

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))
BUTTONS = (Button("Approve", "ap:n:a"), Button("Deny", "ap:n:d"))


def card(outbox: MemoryOutbox) -> OutboxEntry:
    return outbox.add(ADDRESS, "May I?", kind="approval", buttons=BUTTONS)


def verdict(outbox: MemoryOutbox, of: OutboxEntry, text: str = "Approved by Ana") -> OutboxEntry:
    return outbox.add(ADDRESS, text, kind="approval", edits_id=of.id)


def keyboards(telegram: FakeTelegram) -> int:
    """How many of our messages in the chat have buttons."""
    return sum(bool(message.buttons) for message in telegram.visible(CHAT))


async def test_a_decided_card_is_edited_and_has_no_buttons(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    asked = card(outbox)
    edits = [verdict(outbox, asked), verdict(outbox, asked, "Approved by Ana · done")]
    after = outbox.add(ADDRESS, "Booked.")
    await deliver(quick_courier(channel, outbox), outbox, asked, *edits, after)
    assert telegram.bot_texts(CHAT) == ["Approved by Ana · done", "Booked."]
    assert keyboards(telegram) == 0


@pytest.mark.parametrize("fault", ["drop_after", "drop_before", "http_502", "http_500"])
async def test_an_edit_whose_answer_is_lost_is_made_again(
    telegram: FakeTelegram, channel: TelegramChannel, fault: FaultKind
) -> None:
    outbox = MemoryOutbox()
    asked = card(outbox)
    edit = verdict(outbox, asked)
    telegram.fault(fault, "editMessageText")
    await deliver(quick_courier(channel, outbox), outbox, asked, edit)
    assert telegram.bot_texts(CHAT) == ["Approved by Ana"]
    assert keyboards(telegram) == 0


async def test_the_copy_of_a_card_that_another_courier_sent_meanwhile_is_taken_back(
    telegram: FakeTelegram, channel: TelegramChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a rolling restart the second courier sends again what the first is still sending."""
    outbox = MemoryOutbox()
    asked = card(outbox)
    has_arrived, goes_on, send = asyncio.Event(), asyncio.Event(), channel.send

    async def slow(message: Outgoing) -> Receipt:
        receipt = await send(message)
        has_arrived.set()
        await goes_on.wait()
        return receipt

    first, second = quick_courier(channel, outbox), quick_courier(channel, outbox)
    monkeypatch.setattr(channel, "send", slow)
    sending = asyncio.create_task(first.drain())
    await has_arrived.wait()
    monkeypatch.setattr(channel, "send", send)
    assert await outbox.recover("courier-2") == 1
    await deliver(second, outbox, asked)
    assert keyboards(telegram) == 2
    goes_on.set()
    await sending
    assert keyboards(telegram) == 1
    await deliver(second, outbox, verdict(outbox, asked))
    assert telegram.bot_texts(CHAT) == ["Approved by Ana"]
    assert keyboards(telegram) == 0


@pytest.mark.parametrize("has_left", [False, True])
async def test_a_courier_that_dies_in_an_edit_leaves_one_message_without_a_label(
    telegram: FakeTelegram, channel: TelegramChannel, has_left: bool
) -> None:
    outbox = MemoryOutbox()
    asked = card(outbox)
    await deliver(quick_courier(channel, outbox), outbox, asked)
    edit = verdict(outbox, asked)
    if has_left:
        await deliver(quick_courier(channel, outbox), outbox, edit)
        outbox.lose_proof(outbox.parts[edit.id][0].id)
    else:
        (part,) = await outbox.plan(edit.id, [RenderedPart("Approved by Ana", (), 0, 15)])
        await outbox.sending(part.id, "courier-0", 60.0)
    assert await outbox.recover("courier-2") == 1
    await deliver(quick_courier(channel, outbox), outbox, edit)
    assert telegram.bot_texts(CHAT) == ["Approved by Ana"]
    assert keyboards(telegram) == 0


class Editing(ScriptedChannel):
    """A channel whose edits end as scripted."""

    def __init__(self, *outcomes: Exception, capabilities: Capabilities = CAPABILITIES) -> None:
        super().__init__()
        self.capabilities = capabilities
        self.edit_outcomes = list(outcomes)

    async def edit(self, message_id: str, message: object) -> None:
        """Record the edit and play the next outcome."""
        await super().edit(message_id, message)  # type: ignore[arg-type]
        if self.edit_outcomes:
            raise self.edit_outcomes.pop(0)


@pytest.mark.parametrize("error", [NotModified("same"), EditTargetMissing("gone")])
async def test_what_reads_so_already_or_is_gone_is_done(error: Exception) -> None:
    outbox, channel = MemoryOutbox(), Editing(error)
    asked = card(outbox)
    edit = verdict(outbox, asked)
    await deliver(quick_courier(channel, outbox), outbox, asked, edit)
    assert outbox.states(edit) == ["sent"]
    assert len(channel.edits) == 1


@pytest.mark.parametrize("error", [Throttled(0.01), NotSent("no network")])
async def test_an_edit_that_was_not_made_is_made_later_and_nothing_overtakes_it(
    error: Exception,
) -> None:
    outbox, channel = MemoryOutbox(), Editing(error)
    asked = card(outbox)
    edit = verdict(outbox, asked)
    after = outbox.add(ADDRESS, "Booked.")
    await deliver(quick_courier(channel, outbox), outbox, asked, edit, after)
    assert [text for _, text in channel.edits] == ["Approved by Ana"] * 2
    assert channel.texts == ["May I?", "Booked."]


async def test_a_channel_without_edits_is_sent_only_what_must_be_told() -> None:
    outbox = MemoryOutbox()
    channel = Editing(capabilities=replace(CAPABILITIES, can_edit=False))
    asked = card(outbox)
    silent = verdict(outbox, asked)
    told = outbox.add(ADDRESS, "Nobody decided in time.", kind="notice", edits_id=asked.id)
    await deliver(quick_courier(channel, outbox), outbox, asked, silent, told)
    assert channel.texts == ["May I?", "Nobody decided in time."]
    assert channel.edits == []


async def test_the_edit_of_a_card_that_never_arrived_is_not_sent() -> None:
    outbox = MemoryOutbox()
    channel = ScriptedChannel(Unreachable("blocked"))
    asked = card(outbox)
    told = outbox.add(ADDRESS, "Nobody could be reached.", kind="notice", edits_id=asked.id)
    await deliver(quick_courier(channel, outbox), outbox, asked, told)
    assert outbox.states(asked) == ["failed"]
    assert channel.texts == ["May I?"]
