"""Quick replies, lists and files at Twilio: contents made once, links that only Twilio is told."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from roost_channels.channel import Outgoing
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.parts import CHOOSE, plan
from roost_channels.errors import Rejected
from roost_channels.message import Address, Attachment, Button, Media
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing import FakeTwilio, StatusPlan, VirtualClock
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.whatsapp.channel import WhatsAppChannel
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.contents import TEXT_MAX
from roost_channels.whatsapp.inbound.forms import Form, read
from roost_channels.whatsapp.links import LINK_S, MediaLinks

USER = "whatsapp:+15551112222"
PUBLIC = "https://roost.example.org"
QUICK = DeliveryConfig(retry_s=0.01, retry_max_s=0.02, poll_s=0.02, reconcile_s=0.2)
YES_NO = (Button("Yes", "y"), Button("No, not at all, never ever", "n"))


@dataclass
class Chat:
    twilio: FakeTwilio
    config: TwilioConfig
    channel: WhatsAppChannel
    address: Address


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    async with FakeTwilio(status_plan=StatusPlan(0.0, 0.0, 0.0)) as twilio:
        known = {
            "account_sid": twilio.account_sid,
            "auth_token": twilio.auth_token,
            "from": twilio.sender,
            "api_base": twilio.base_url,
        }
        config = TwilioConfig.model_validate(known)
        await twilio.user_says(USER, "hello")
        channel = WhatsAppChannel(config, public_base_url=PUBLIC)
        yield Chat(twilio, config, channel, Address("whatsapp", twilio.sender, USER))
        await channel.close()


async def test_buttons_are_quick_replies_of_a_content_made_once(chat: Chat) -> None:
    twilio = chat.twilio
    await chat.channel.send(Outgoing(chat.address, RenderedPart("Shall *I*?"), buttons=YES_NO))
    await chat.channel.send(Outgoing(chat.address, RenderedPart("Really?"), buttons=YES_NO[::-1]))
    again = WhatsAppChannel(chat.config)  # after a restart
    sent = await again.send(Outgoing(chat.address, RenderedPart("Sure?"), buttons=YES_NO))
    await again.close()
    await twilio.settled()
    shown = twilio.visible(USER)[-1]
    assert (shown.body, shown.buttons) == ("Sure?", (("y", "Yes"), ("n", "No, not at all, neve")))
    assert [m.body for m in twilio.visible(USER)[1:]] == ["Shall *I*?", "Really?", "Sure?"]
    assert len(twilio.calls_of("content.create")) == 1
    await twilio.press(USER, sent.message_id, "y")
    assert twilio.visible(USER)[-1].reply_to == (sent.message_id, "Sure?")


async def test_more_than_three_choices_are_a_list_of_at_most_ten(chat: Chat) -> None:
    many = [Button(f"Choice {n}", f"c{n}") for n in range(12)]
    sent = await chat.channel.send(Outgoing(chat.address, RenderedPart("Which?"), buttons=many))
    await chat.twilio.settled()
    assert chat.twilio.messages[sent.message_id].is_list
    assert len(chat.twilio.visible(USER)[-1].buttons) == 10


async def test_a_content_that_is_refused_or_was_deleted_costs_the_buttons_not_the_words(
    chat: Chat,
) -> None:
    await chat.channel.send(Outgoing(chat.address, RenderedPart("one?"), buttons=YES_NO))
    chat.twilio.core.contents.clear()
    await chat.channel.send(Outgoing(chat.address, RenderedPart("two?"), buttons=YES_NO))
    await chat.channel.send(Outgoing(chat.address, RenderedPart("three?"), buttons=YES_NO))
    await chat.twilio.settled()
    seen = [(m.body, len(m.buttons)) for m in chat.twilio.visible(USER)[1:]]
    assert seen == [("one?", 2), ("two?", 0), ("three?", 2)]


async def test_a_card_without_its_buttons_says_which_numbers_to_write(chat: Chat) -> None:
    card = (Button("Approve", "ap:n:a", "1 KQX"), Button("Deny", "ap:n:d", "2 KQX"))
    await chat.channel.send(Outgoing(chat.address, RenderedPart("May I?"), buttons=card))
    chat.twilio.core.contents.clear()
    part = RenderedPart("May I go?")
    sent = await chat.channel.send(Outgoing(chat.address, part, buttons=card))
    await chat.twilio.settled()
    said = chat.twilio.visible(USER)[-1].body
    assert said == "May I go?\n\nReply 1 KQX for Approve, 2 KQX for Deny."
    asked = Outgoing(chat.address, part, buttons=card)
    assert await chat.channel.find_sent(asked, since=0.0) == sent


async def test_a_reminder_without_its_buttons_says_which_numbers_to_write(chat: Chat) -> None:
    buttons = [Button("Done", "sc:s:d", "1"), Button("Snooze 10 min", "sc:s:s", "2")]
    await chat.channel.send(Outgoing(chat.address, RenderedPart("call"), buttons=buttons))
    chat.twilio.core.contents.clear()
    await chat.channel.send(Outgoing(chat.address, RenderedPart("call"), buttons=buttons))
    await chat.twilio.settled()
    said = chat.twilio.visible(USER)[-1].body
    assert said == "call\n\nReply 1 for Done, 2 for Snooze 10 min."


@pytest.mark.parametrize("field", ["ButtonPayload", "ListId"])
@pytest.mark.parametrize("data", ["ap:n:a", "sc:s1:d"])
async def test_a_press_on_a_card_is_a_press_and_no_words(chat: Chat, field: str, data: str) -> None:
    form = {"From": USER, "MessageSid": "SM1", "Body": "Approve", field: data}
    event = read(Form(list(form.items())), chat.twilio.sender, 1.0)
    assert (event.kind, event.text, event.answered_in_chat) == ("callback", data, True)


async def test_buttons_under_a_long_answer_or_a_file_come_in_a_part_of_their_own(
    chat: Chat,
) -> None:
    outbox = MemoryOutbox()
    photo = Media("bcd", "photo", "a.png", "image/png", 1000)
    for text, media, texts in (
        ("short", (), ["short"]),
        ("long " * TEXT_MAX, (), None),
        ("see", (photo,), ["see", "", CHOOSE]),
    ):
        entry = outbox.add(chat.address, text, buttons=YES_NO)
        parts = plan(replace(entry, media=media), chat.channel)
        found = [part.text for part in parts]
        assert found == texts if texts else found[-1] == CHOOSE and len(found) == 2
    outbox = MemoryOutbox()
    entry = outbox.add(chat.address, "long " * TEXT_MAX, buttons=YES_NO)
    await Courier([chat.channel], outbox, "c", config=QUICK).drain()
    await chat.twilio.settled()
    assert [len(m.buttons) for m in chat.twilio.visible(USER)[1:]] == [0, 2]


async def test_a_file_goes_out_as_a_link_that_ends(chat: Chat) -> None:
    photo = Media("bcdfgh", "photo", "tür 1/2.png", "image/png", 1000)
    part = RenderedPart("", (), 0, 0, photo)
    sent = await chat.channel.send(Outgoing(chat.address, part))
    [link] = chat.twilio.messages[sent.message_id].media_urls
    split = urlsplit(link)
    assert link.startswith(f"{PUBLIC}/hooks/twilio/media/bcdfgh/t%C3%BCr%201_2.png?")
    assert "Body" not in chat.twilio.calls_of("messages.create")[-1].parameters
    query = {name: values[0] for name, values in parse_qs(split.query).items()}
    links = MediaLinks(SecretStr(chat.twilio.auth_token), PUBLIC)
    now = float(query["expires"]) - LINK_S
    assert links.is_good("bcdfgh", query["expires"], query["signature"], now)
    assert not links.is_good("bcdfgh", query["expires"], query["signature"], now + LINK_S)
    assert not links.is_good("other", query["expires"], query["signature"], now)
    later = str(int(query["expires"]) + 1)
    for expires, signature in ((later, query["signature"]), ("", ""), ("x", "ünïcode")):
        assert not links.is_good("bcdfgh", expires, signature, now)
    forged = MediaLinks(SecretStr("another token"), PUBLIC)
    assert not forged.is_good("bcdfgh", query["expires"], query["signature"], now)


async def test_an_uncertain_file_is_found_among_files_only(chat: Chat) -> None:
    photo = Media("bcd", "photo", "a.png", "image/png", 10)
    chat.twilio.fault("drop_after", "messages.create")
    outbox = MemoryOutbox()
    entry = outbox.add(chat.address, "look")
    outbox.entries[entry.id] = replace(entry, media=(photo,))
    courier = Courier([chat.channel], outbox, "c", config=QUICK)
    await courier.drain()
    await chat.twilio.settled()
    ours = [m for m in chat.twilio.messages.values() if not m.inbound]
    assert [(m.body, len(m.media_urls)) for m in ours] == [("look", 0), ("", 1)]


async def test_without_a_public_address_a_file_is_named_instead(chat: Chat) -> None:
    channel = WhatsAppChannel(chat.config)
    outbox = MemoryOutbox()
    photo = Media("bcd", "photo", "a.png", "image/png", 10)
    entry = replace(outbox.add(chat.address, "look"), media=(photo,))
    assert [part.text for part in plan(entry, channel)] == ["look", "[file: a.png]"]
    with pytest.raises(Rejected):
        await channel.send(Outgoing(chat.address, RenderedPart("", (), 0, 0, photo)))
    await channel.close()


async def test_a_file_that_came_in_is_fetched_from_twilio_alone(chat: Chat) -> None:
    sid = await chat.twilio.user_says(USER, "look", media=[(b"x" * 100, "image/png")])
    name = chat.twilio.messages[sid].media[0]
    path = f"/2010-04-01/Accounts/{chat.twilio.account_sid}/Messages/{sid}/Media/{name}"
    for host in (chat.twilio.base_url, "https://attacker.example"):
        file = Attachment("photo", name, url=f"{host}{path}")
        assert await chat.channel.download(file, 100) == b"x" * 100
    with pytest.raises(Rejected):
        await chat.channel.download(file, 99)


def test_links_carry_no_time_of_their_own_making() -> None:
    clock = VirtualClock()
    links = MediaLinks(SecretStr("token"), f"{PUBLIC}/")
    assert links.link("bcd", "", clock.time()) == links.link("bcd", "", clock.time())
    assert "/bcd/file?" in links.link("bcd", "", clock.time())
