"""Cards on Telegram: rows of buttons that can be read, and replies that open for words."""

import json

from roost_channels.channel import Outgoing
from roost_channels.message import Address, Button
from roost_channels.rendering.parts import RenderedPart
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.format import ROW_BUTTONS_MAX, keyboard
from roost_channels.telegram.testing import CHAT
from roost_channels.testing import FakeTelegram

ADDRESS = Address("telegram", "42", str(CHAT))


def rows(*labels: str) -> list[list[str]]:
    """The labels in their rows."""
    made = keyboard([Button(label, f"ap:n:{place}") for place, label in enumerate(labels)])
    assert made is not None
    return [[button["text"] for button in row] for row in made["inline_keyboard"]]


def test_short_labels_share_a_row_and_long_ones_do_not() -> None:
    assert rows("Approve", "Deny", "Details") == [["Approve", "Deny", "Details"]]
    long = "On Friday afternoon at the station"
    assert rows(long, long, "No") == [[long], [long, "No"]]
    assert [len(row) for row in rows(*"abcdefghij")] == [ROW_BUTTONS_MAX, ROW_BUTTONS_MAX, 2]


async def test_a_prompt_opens_a_reply(telegram: FakeTelegram, channel: TelegramChannel) -> None:
    await channel.send(Outgoing(ADDRESS, RenderedPart("Write your answer"), asks=True))
    (call,) = telegram.calls_of("sendMessage")
    markup = call.parameters["reply_markup"]
    shown = json.loads(markup) if isinstance(markup, str) else markup
    assert shown["force_reply"] is True


async def test_a_verdict_that_is_longer_than_telegram_shows_is_cut_and_not_lost(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    buttons = [Button("Approve", "ap:n:a")]
    receipt = await channel.send(Outgoing(ADDRESS, RenderedPart("May I?"), buttons=buttons))
    press = await telegram.press(CHAT, int(receipt.message_id), "ap:n:a")
    await channel.acknowledge(press, f"Denied by Ada 14:03: {'too dear ' * 30}")
    answer = telegram.press_answer(press)
    assert answer is not None
    shown = str(answer["text"])
    assert (len(shown), shown[:12], shown[-1]) == (200, "Denied by Ad", "…")
