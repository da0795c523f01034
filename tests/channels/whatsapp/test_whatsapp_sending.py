"""Messages through Twilio's fake: receipts, order, quote lines, and proof of uncertain sends."""

import asyncio
import time
from types import NoneType
from typing import Any

import pytest

from roost_channels.channel import Outgoing
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.limits import Limiter
from roost_channels.errors import (
    Ambiguous,
    AuthBroken,
    DeliveryError,
    NotSent,
    Rejected,
    Throttled,
    Unreachable,
    WindowClosed,
)
from roost_channels.message import Receipt, ReplyTarget
from roost_channels.rendering.parts import RenderedPart, utf16_length
from roost_channels.rendering.quote_line import QUOTE_PREFIX_MAX, quote_prefix
from roost_channels.testing import FakeTwilio
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.testing.memory.receipts import MemoryReceipts
from roost_channels.whatsapp.channel import ABSENT_AFTER_S, WhatsAppChannel, body_of
from roost_channels.whatsapp.errors import by_code
from roost_channels.whatsapp.testing import (
    ADDRESS,
    QUICK,
    USER,
    Site,
    settings,
)


async def test_receipts_find_their_part_by_the_callback_url(
    twilio: FakeTwilio, site: Site, channel: WhatsAppChannel
) -> None:
    receipt = await channel.send(Outgoing(ADDRESS, RenderedPart("hello"), part_id="part/1 ü"))
    await twilio.settled()
    await twilio.until(lambda: site.intake.receipts)
    assert {r.part_id for r in site.intake.receipts} == {"part/1 ü"}
    assert {r.message_id for r in site.intake.receipts} == {receipt.message_id}
    assert site.replies[-1].status == 204


async def test_a_long_answer_arrives_in_order_within_the_limit(
    twilio: FakeTwilio, site: Site
) -> None:
    await twilio.user_says(USER, "hello")
    outbox = MemoryOutbox()
    channel = WhatsAppChannel(settings(twilio), receipts=MemoryReceipts(outbox, site.intake))
    text = " ".join(f"word{n}" for n in range(1100))
    entry = outbox.add(ADDRESS, text)
    courier = Courier([channel], outbox, "c", config=QUICK, limiter=Limiter(chat_burst=50))
    await deliver(courier, outbox, entry.id)
    await twilio.settled()
    bodies = twilio.bot_texts(USER)
    assert len(bodies) > 4 and all(utf16_length(body) <= 1600 for body in bodies)
    assert " ".join(bodies).split() == text.split()
    await channel.close()


async def deliver(courier: Courier, outbox: MemoryOutbox, entry_id: str) -> None:
    async def finished() -> None:
        while {p.state for p in outbox.parts[entry_id]} - {"sent", "failed"} or not outbox.parts[
            entry_id
        ]:
            await courier.drain()
            await asyncio.sleep(0.01)

    await asyncio.wait_for(finished(), 30)


async def test_r18_the_quote_line_is_written_only_when_the_reply_is_not_to_the_latest(
    twilio: FakeTwilio, channel: WhatsAppChannel
) -> None:
    outbox = MemoryOutbox()
    older = ReplyTarget("SM1", author="Ada", excerpt="what *is* this?", is_latest=False)
    latest = ReplyTarget("SM2", author="Ada", excerpt="and this?")
    entries = [
        outbox.add(ADDRESS, "x " * 900, reply_to=older),
        outbox.add(ADDRESS, "b", reply_to=latest),
    ]
    courier = Courier([channel], outbox, "c", config=QUICK, limiter=Limiter(chat_burst=50))
    for entry in entries:
        await deliver(courier, outbox, entry.id)
    await twilio.settled()
    bodies = twilio.bot_texts(USER)
    assert bodies[0].startswith("> Ada: what is this?\n\nx x") and bodies[-1] == "b"
    assert sum(">" in body for body in bodies) == 1
    assert all(utf16_length(body) <= 1600 for body in bodies)


def test_quote_lines_are_bounded_and_never_push_the_text_over_the_limit() -> None:
    assert utf16_length(quote_prefix("😀" * 90, "😀" * 500)) <= QUOTE_PREFIX_MAX
    assert quote_prefix("Ada", " \n ") == ""
    assert quote_prefix("", "hi\nthere") == "> hi there\n\n"
    full = RenderedPart("x" * 1600)
    reply = ReplyTarget("SM1", author="Ada", excerpt="hi", is_latest=False)
    assert body_of(full, reply) == full.text


async def test_typing_names_the_inbound_message(
    twilio: FakeTwilio, channel: WhatsAppChannel
) -> None:
    sid = await twilio.user_says(USER, "hi")
    await channel.indicate(ADDRESS, inbound_message_id=sid)
    assert twilio.typing(USER)
    await channel.indicate(ADDRESS)
    assert len(twilio.calls_of("typing")) == 1


@pytest.mark.parametrize(
    ("fault", "value", "kind"),
    [
        ("drop_before", 0, Ambiguous),
        ("drop_after", 0, Ambiguous),
        ("http_502", 0, Ambiguous),
        ("http_500", 0, Ambiguous),
        ("garbage", 0, Ambiguous),
        ("rate_limit", 3, Throttled),
        ("unauthorized", 0, AuthBroken),
    ],
)
async def test_every_failure_of_a_send_has_its_kind(
    twilio: FakeTwilio,
    channel: WhatsAppChannel,
    fault: Any,
    value: float,
    kind: type[DeliveryError],
) -> None:
    twilio.fault(fault, "messages.create", value=value)
    with pytest.raises(DeliveryError) as caught:
        await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    assert type(caught.value) is kind


async def test_a_refused_connection_proves_that_nothing_was_sent(twilio: FakeTwilio) -> None:
    channel = WhatsAppChannel(settings(twilio))
    await twilio.stop()
    with pytest.raises(NotSent):
        await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    await channel.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (63016, WindowClosed),
        ("63018", Throttled),
        (20429, Throttled),
        (21211, Unreachable),
        (21610, Unreachable),
        (20003, AuthBroken),
        (63007, AuthBroken),
        (21212, AuthBroken),
        (None, NoneType),
        pytest.param("1" * 5000, NoneType, id="too many digits"),
    ],
)
def test_codes_have_meanings(code: Any, kind: type[object]) -> None:
    assert type(by_code(code, "words")) is kind


async def test_too_long_a_body_is_refused(twilio: FakeTwilio, channel: WhatsAppChannel) -> None:
    with pytest.raises(Rejected) as caught:
        await channel.send(Outgoing(ADDRESS, RenderedPart("x" * 1601)))
    assert caught.value.code == "21617"


async def test_r2_an_uncertain_send_is_proven_by_the_list_and_not_repeated(
    twilio: FakeTwilio, site: Site
) -> None:
    await twilio.user_says(USER, "hello")
    outbox = MemoryOutbox()
    channel = WhatsAppChannel(settings(twilio), receipts=MemoryReceipts(outbox, site.intake))
    courier = Courier([channel], outbox, "c", config=QUICK, limiter=Limiter(chat_burst=50))
    before = outbox.add(ADDRESS, "the answer")  # the same words, a moment earlier
    await deliver(courier, outbox, before.id)
    twilio.fault("drop_after", "messages.create")
    entry = outbox.add(ADDRESS, "the answer")
    await deliver(courier, outbox, entry.id)
    await channel.close()
    await twilio.settled()
    assert twilio.bot_texts(USER) == ["the answer", "the answer"]
    assert outbox.states(entry) == ["sent"]


async def test_a_send_found_but_not_written_down_is_found_again(
    twilio: FakeTwilio, channel: WhatsAppChannel
) -> None:
    since, outbox = time.time(), MemoryOutbox()
    [part] = await outbox.plan(outbox.add(ADDRESS, "").id, [RenderedPart("the answer")])
    sent = await channel.send(Outgoing(ADDRESS, part.rendered, part_id=part.id))
    receipts = MemoryReceipts(outbox, MemoryIntake())
    after_crash = WhatsAppChannel(settings(twilio), receipts=receipts)
    found = Receipt(sent.message_id)
    for _ in range(2):
        find = after_crash.find_sent(Outgoing(ADDRESS, part.rendered, part_id=part.id), since=since)
        assert await find == found
    await outbox.sent(part.id, sent.message_id)
    # Another part of the same words is another message, also after a restart.
    other = after_crash.find_sent(Outgoing(ADDRESS, part.rendered, part_id="q"), since=since)
    assert await other == "unknown"
    await after_crash.close()


async def test_absence_is_proven_only_after_a_while(
    twilio: FakeTwilio, channel: WhatsAppChannel
) -> None:
    now = time.time()
    part = RenderedPart("never sent")
    assert await channel.find_sent(Outgoing(ADDRESS, part, part_id="p"), since=now) == "unknown"
    assert (
        await channel.find_sent(Outgoing(ADDRESS, part, part_id="p"), since=now - ABSENT_AFTER_S)
        == "absent"
    )
    sent = await channel.send(Outgoing(ADDRESS, RenderedPart("sent")))
    fresh = WhatsAppChannel(settings(twilio))
    found = await fresh.find_sent(Outgoing(ADDRESS, RenderedPart("sent"), part_id="p"), since=now)
    assert found == Receipt(sent.message_id)
    await fresh.close()
