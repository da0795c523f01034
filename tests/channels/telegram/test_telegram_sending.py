"""Sends and edits travel natively, and every failure has its kind."""

from typing import Any

import pytest

from roost_channels.channel import Outgoing
from roost_channels.errors import (
    THREAD_GONE,
    Ambiguous,
    AuthBroken,
    DeliveryError,
    EditTargetMissing,
    NotModified,
    NotSent,
    Rejected,
    RenderRejected,
    Throttled,
    Unreachable,
)
from roost_channels.message import Address, Button, ReplyTarget
from roost_channels.rendering.parts import Entity, RenderedPart
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.errors import refused
from roost_channels.telegram.format import checked_quote
from roost_channels.telegram.testing import ADDRESS, CHAT, settings
from roost_channels.testing import FakeTelegram


async def test_formatting_replies_and_topics_travel_natively(telegram: FakeTelegram) -> None:
    telegram.add_group(-100, topics={9: "Work"})
    asked = await telegram.user_says(-100, "what is this?", thread=9)
    channel = TelegramChannel(settings(telegram))
    part = RenderedPart("😀 bold", (Entity("bold", 3, 4),), 0, 6)
    await channel.send(
        Outgoing(
            Address("telegram", "42", "-100", "9"),
            part,
            reply_to=ReplyTarget(str(asked), quote="is this", utf16_start=5),
            silent=True,
        )
    )
    await channel.close()
    shown = telegram.visible(-100, thread=9)[-1]
    assert shown.entities[0]["type"] == "bold" and shown.entities[0]["offset"] == 3
    assert shown.reply_to is not None and shown.reply_to.quote == "is this" and shown.silent
    assert "parse_mode" not in telegram.calls_of("sendMessage")[-1].parameters


async def test_edits_deletions_and_typing(telegram: FakeTelegram, channel: TelegramChannel) -> None:
    receipt = await channel.send(
        Outgoing(ADDRESS, RenderedPart("one"), buttons=[Button("Stop", "stop:t")])
    )
    await channel.edit(receipt.message_id, Outgoing(ADDRESS, RenderedPart("two")))
    assert telegram.visible(CHAT)[-1].text == "two" and not telegram.visible(CHAT)[-1].buttons
    with pytest.raises(NotModified):
        await channel.edit(receipt.message_id, Outgoing(ADDRESS, RenderedPart("two")))
    await channel.indicate(ADDRESS)
    assert telegram.typing(CHAT)
    await channel.delete(ADDRESS, receipt.message_id)
    await channel.delete(ADDRESS, receipt.message_id)
    with pytest.raises(EditTargetMissing):
        await channel.edit(receipt.message_id, Outgoing(ADDRESS, RenderedPart("three")))
    await channel.acknowledge("12345")  # too old or never there: the press is stored anyway


@pytest.mark.parametrize(
    ("fault", "value", "kind"),
    [
        ("drop_before", 0, Ambiguous),
        ("drop_after", 0, Ambiguous),
        ("http_502", 0, Ambiguous),
        ("http_500", 0, Ambiguous),
        ("garbage", 0, Ambiguous),
        ("rate_limit", 17, Throttled),
        ("unauthorized", 0, AuthBroken),
    ],
)
async def test_every_failure_of_a_send_has_its_kind(
    telegram: FakeTelegram,
    channel: TelegramChannel,
    fault: Any,
    value: float,
    kind: type[DeliveryError],
) -> None:
    telegram.fault(fault, "sendMessage", value=value)
    with pytest.raises(DeliveryError) as caught:
        await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    assert type(caught.value) is kind
    if isinstance(caught.value, Throttled):
        assert caught.value.retry_after_s == 17


async def test_a_refused_connection_proves_that_nothing_was_sent(telegram: FakeTelegram) -> None:
    channel = TelegramChannel(settings(telegram))
    await telegram.stop()
    with pytest.raises(NotSent):
        await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    await channel.close()


async def test_refusals_are_told_apart(telegram: FakeTelegram, channel: TelegramChannel) -> None:
    with pytest.raises(RenderRejected) as quoted:
        asked = await telegram.user_says(CHAT, "hello")
        reply = ReplyTarget(str(asked), quote="goodbye")
        await channel.send(Outgoing(ADDRESS, RenderedPart("x"), reply_to=reply))
    assert quoted.value.code == "quote"
    with pytest.raises(Unreachable):
        await channel.send(Outgoing(Address("telegram", "42", "-999"), RenderedPart("x")))
    await telegram.block(CHAT)
    with pytest.raises(Unreachable):
        await channel.send(Outgoing(ADDRESS, RenderedPart("x")))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (ReplyTarget("1", "two", 4, excerpt="one two three two"), ("two", 4)),
        (ReplyTarget("1", "two", 13, excerpt="one two three two"), ("two", 14)),
        (ReplyTarget("1", "two", 0, excerpt="😀 two"), ("two", 3)),
        (ReplyTarget("1", "four", 4, excerpt="one two three"), ("", None)),
        (ReplyTarget("1", "x" * 1025), ("", None)),
        (ReplyTarget("1", "two", 4), ("two", 4)),
    ],
)
def test_quotes_are_checked_against_the_target_in_utf16(
    reply: ReplyTarget, expected: tuple[str, int | None]
) -> None:
    assert checked_quote(reply) == expected


@pytest.mark.parametrize(
    ("code", "description", "kind", "about"),
    [
        (400, "Bad Request: REPLY_MESSAGE_ID_INVALID", RenderRejected, "reply"),
        (400, "Bad Request: QUOTE_TOO_LONG", RenderRejected, "quote"),
        (400, "Bad Request: MESSAGE_ID_INVALID", EditTargetMissing, "gone"),
        (400, "Bad Request: TOPIC_ID_INVALID", Unreachable, THREAD_GONE),
        (400, "Bad Request: CHAT_SEND_PLAIN_FORBIDDEN", Unreachable, ""),
        (400, "Bad Request: ALLOW_PAYMENT_REQUIRED_5", Unreachable, ""),
        (400, "Bad Request: ENTITY_BOUNDS_INVALID", RenderRejected, "markup"),
        (400, "Bad Request: SOMETHING_NEW", Rejected, ""),
        (413, "Request Entity Too Large", Rejected, "413"),
    ],
)
def test_descriptions_have_meanings(code: int, description: str, kind: Any, about: str) -> None:
    error = refused(code, {"ok": False, "error_code": code, "description": description})
    assert (type(error), error.code) == (kind, about)
