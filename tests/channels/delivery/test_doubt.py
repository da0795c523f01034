"""Sends of unknown outcome are settled: by proof, by an edit, or by one labelled repeat."""

import asyncio
from typing import Literal

import pytest

from roost_channels.channel import Outgoing
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.ledger import Ledger
from roost_channels.delivery.settler import Settler
from roost_channels.errors import Ambiguous, Failure
from roost_channels.message import Address, Receipt
from roost_channels.outbox import PartOver, StatusMessage
from roost_channels.rendering.parts import REPEAT_LABEL, RenderedPart
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.testing import FakeTelegram, VirtualClock
from roost_channels.testing.memory.delivery import QUICK, ScriptedChannel, deliver, quick_courier
from roost_channels.testing.memory.outbox import MemoryOutbox

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))


async def test_r2_a_crash_between_sending_and_sent_leaves_one_visible_copy(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    entry = outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    status = await channel.send(Outgoing(ADDRESS, RenderedPart("Thinking…")))
    await outbox.put_status_message(
        StatusMessage("turn-1", ADDRESS, status.message_id, "Thinking…", "open", 0.0)
    )
    # The first courier dies after `sending` was committed and before the request left.
    (part,) = await outbox.plan(entry.id, [RenderedPart("the answer", (), 0, 10)])
    await outbox.sending(part.id, "courier-0", 60.0)
    assert await outbox.recover("courier-1") == 1
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert telegram.bot_texts(CHAT) == [f"{REPEAT_LABEL}the answer"]
    assert outbox.states(entry) == ["sent"]
    assert (await outbox.status_message("turn-1")).state == "closed"  # type: ignore[union-attr]


async def test_the_settling_edit_may_itself_be_interrupted_and_repeated(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    entry = outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    status = await channel.send(Outgoing(ADDRESS, RenderedPart("Thinking…")))
    await outbox.put_status_message(
        StatusMessage("turn-1", ADDRESS, status.message_id, "Thinking…", "open", 0.0)
    )
    (part,) = await outbox.plan(entry.id, [RenderedPart("the answer", (), 0, 10)])
    await outbox.sending(part.id, "courier-0", 60.0)
    await outbox.recover("courier-1")
    telegram.fault("drop_after", "editMessageText")
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert telegram.bot_texts(CHAT) == [f"{REPEAT_LABEL}the answer"]


@pytest.mark.parametrize("fault", ["drop_after", "http_502", "garbage", "http_500"])
async def test_r2_without_proof_a_send_is_repeated_once_and_labelled(
    telegram: FakeTelegram, channel: TelegramChannel, fault: str
) -> None:
    outbox = MemoryOutbox()
    telegram.fault(fault, "sendMessage")  # type: ignore[arg-type]
    entry = outbox.add(ADDRESS, "the answer")
    await deliver(quick_courier(channel, outbox), outbox, entry)
    texts = telegram.bot_texts(CHAT)
    assert texts[-1] == f"{REPEAT_LABEL}the answer"
    assert texts in ([texts[-1]], ["the answer", texts[-1]])
    assert outbox.recorded(outbox.parts[entry.id][0].id).count("evidence") == 1


async def test_r3_a_refused_connection_is_no_doubt_and_needs_no_label(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    entry = outbox.add(ADDRESS, "the answer")
    work = quick_courier(channel, outbox, QUICK.model_copy(update={"retry_max_s": 0.2}))
    restarting = asyncio.create_task(telegram.restart(0.1))
    await asyncio.sleep(0.03)
    await deliver(work, outbox, entry)
    await restarting
    assert telegram.bot_texts(CHAT) == ["the answer"]


async def test_r2_proof_settles_an_uncertain_send_without_a_second_one() -> None:
    channel, outbox = ScriptedChannel(Ambiguous()), MemoryOutbox()
    channel.proof = Receipt("SM1")
    entry = outbox.add(ADDRESS, "x")
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert len(channel.sent) == 1 and outbox.parts[entry.id][0].message_id == "SM1"
    channel.outcomes, channel.proof = [Ambiguous()], "absent"
    entry = outbox.add(ADDRESS, "y")
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert channel.texts[1:] == ["y", "y"]


async def test_uncertainty_without_end_becomes_a_dead_letter() -> None:
    channel, outbox = ScriptedChannel(*[Ambiguous()] * 20), MemoryOutbox()
    entry = outbox.add(ADDRESS, "x")
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert outbox.states(entry) == ["failed"] and len(channel.sent) == 8


async def test_a_network_that_breaks_for_minutes_does_not_use_up_the_tries() -> None:
    """Every outcome is unknown at first: one repeat goes at once, the next ever later."""
    clock = VirtualClock()
    channel, outbox = ScriptedChannel(*[Ambiguous()] * 6), MemoryOutbox(clock)
    entry = outbox.add(ADDRESS, "x")
    running = asyncio.create_task(
        quick_courier(channel, outbox, DeliveryConfig(), clock=clock).run()
    )
    tries_after = {}
    for second in range(1, 181):
        await clock.advance(1.0)
        await asyncio.sleep(0.004)  # a send of this channel takes real time
        tries_after[second] = len(channel.sent)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert tries_after[1] <= 3 and tries_after[30] <= 5 and tries_after[60] <= 6
    assert outbox.states(entry) == ["sent"] and len(channel.sent) == 7


async def test_a_fault_of_the_adapter_counts_as_uncertain() -> None:
    channel, outbox = ScriptedChannel(RuntimeError("bug")), MemoryOutbox()
    entry = outbox.add(ADDRESS, "x")
    await deliver(quick_courier(channel, outbox), outbox, entry)
    assert channel.texts == ["x", f"{REPEAT_LABEL}x"]


@pytest.mark.parametrize("proof", ["absent", "unknown"])
async def test_a_courier_that_settles_too_late_takes_back_nothing_that_another_sends(
    proof: Literal["absent", "unknown"],
) -> None:
    outbox = MemoryOutbox()

    class Slow(ScriptedChannel):
        """Meanwhile another courier settles the same doubt, and sends again."""

        async def find_sent(
            self, message: Outgoing, *, since: float
        ) -> Receipt | Literal["absent", "unknown"]:
            await outbox.not_sent(message.part_id, Failure("absent"), retry_at=0.0, attempt=1)
            await outbox.sending(message.part_id, "another", 60.0, after=1)
            return proof

    entry = outbox.add(ADDRESS, "the answer")
    (part,) = await outbox.plan(entry.id, [RenderedPart("the answer", (), 0, 10)])
    await outbox.sending(part.id, "one", 60.0)
    await outbox.ambiguous(part.id, Failure("timed out"), attempt=1)
    await Settler(Ledger(outbox)).settle(Slow(), entry, outbox.part(part.id))
    assert (outbox.states(entry), outbox.part(part.id).rendered) == (["sending"], part.rendered)
    with pytest.raises(PartOver):
        await outbox.sending(part.id, "one", 60.0, after=1)
