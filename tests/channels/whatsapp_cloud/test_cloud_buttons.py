"""Buttons through the Cloud API that Meta refuses, and the words that stand for them."""

from roost_channels.channel import Outgoing
from roost_channels.delivery.courier import Courier
from roost_channels.message import Button, ReplyTarget
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing import FakeCloud
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.whatsapp_cloud.channel import WhatsAppCloudChannel
from roost_channels.whatsapp_cloud.testing import ADDRESS, QUICK, USER, Site, newest

ALIKE = (Button("Yes", "ap:n:0.0", "1"), Button("Yes", "ap:n:0.1", "2"), Button("Other", "ap:n:o0"))


async def test_buttons_that_are_refused_become_words(
    cloud: FakeCloud, channel: WhatsAppCloudChannel
) -> None:
    await cloud.user_says(USER, "hi")
    await channel.send(Outgoing(ADDRESS, RenderedPart("Which?"), buttons=ALIKE, part_id="p1"))
    await cloud.settled()
    shown = cloud.visible(USER)[-1]
    assert (shown.body, shown.buttons) == ("Which?\n\nReply 1 for Yes, 2 for Yes.", ())
    assert cloud.calls_of("messages")[-1].parameters["biz_opaque_callback_data"] == "p1"


async def test_the_courier_delivers_a_quoting_card_whose_buttons_are_refused(
    cloud: FakeCloud, channel: WhatsAppCloudChannel
) -> None:
    await cloud.user_says(USER, "hi")
    outbox = MemoryOutbox()
    target = ReplyTarget("wamid.1", is_latest=False)
    outbox.add(ADDRESS, "Which?", buttons=ALIKE, reply_to=target)
    await Courier([channel], outbox, "c", config=QUICK).drain()
    await cloud.settled()
    assert cloud.visible(USER)[-1].body == "Which?\n\nReply 1 for Yes, 2 for Yes."


async def test_a_pressed_button_of_a_reminder_is_a_press_and_no_words(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    await cloud.user_says(USER, "hi")
    buttons = (Button("Done", "sc:s1:d", "1"), Button("Tomorrow", "sc:s1:t", "2"))
    sent = await channel.send(Outgoing(ADDRESS, RenderedPart("call"), buttons=buttons))
    await cloud.settled()
    await cloud.press(USER, sent.message_id, "sc:s1:d")
    event = newest(site.intake)
    assert (event.kind, event.text, event.answered_in_chat) == ("callback", "sc:s1:d", True)
    assert event.quote is not None and event.quote.ref == sent.message_id
