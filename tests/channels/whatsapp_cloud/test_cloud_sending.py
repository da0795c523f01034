"""Messages through the Cloud API's fake: quotes, files, templates, and what failures mean."""

import asyncio
from typing import Any

import pytest

from roost_channels.channel import Outgoing
from roost_channels.delivery.courier import Courier
from roost_channels.errors import (
    Ambiguous,
    AuthBroken,
    DeliveryError,
    NotSent,
    Rejected,
    RenderRejected,
    Throttled,
    Unreachable,
    WindowClosed,
)
from roost_channels.intake import Refusal
from roost_channels.message import Button, Media, Quote, ReplyTarget
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing import FakeCloud, PairLimit
from roost_channels.testing.memory.files import MemoryFiles
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.testing.memory.receipts import MemoryReceipts
from roost_channels.whatsapp.window import INVITATION
from roost_channels.whatsapp_cloud.channel import WhatsAppCloudChannel
from roost_channels.whatsapp_cloud.errors import by_code, refusal
from roost_channels.whatsapp_cloud.testing import (
    ADDRESS,
    QUICK,
    USER,
    Site,
    newest,
    settings,
)


async def test_a_batch_is_acknowledged_once_all_of_it_is_stored(
    cloud: FakeCloud, site: Site
) -> None:
    site.intake.faults.append(RuntimeError("database is locked"))
    async with cloud.batch():
        await cloud.user_says(USER, "one")
        await cloud.user_says("whatsapp:+15550002222", "two")
    assert site.statuses == [500, 200]
    assert [m.text for m in site.intake.messages.values()] == ["one", "two"]
    cloud.fault("duplicate_update", "inbound")
    await cloud.user_says(USER, "three")
    assert len(site.intake.messages) == 3


async def test_quotes_are_resolved_from_storage_or_marked(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    await cloud.user_says(USER, "hi")
    sent = await channel.send(Outgoing(ADDRESS, RenderedPart("part two")))
    whole = Quote(sent.message_id, "bot", "part one part two", "part two", 9)
    site.intake.quotes[USER, sent.message_id] = whole
    await cloud.user_says(USER, "why?", reply_to=sent.message_id)
    assert newest(site.intake).quote == whole
    await cloud.user_says(USER, "and this?", reply_to="wamid.unknown")
    assert newest(site.intake).quote == Quote("wamid.unknown", "other", "", "", resolved=False)
    await cloud.user_says(USER, "look", forwarded=True)
    assert newest(site.intake).quote is None


async def test_an_answer_quotes_natively_carries_its_part_and_shows_typing(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    asked = await cloud.user_says(USER, "how?")
    await channel.indicate(ADDRESS, inbound_message_id=asked)
    assert cloud.typing(USER) and cloud.messages[asked].is_read
    reply = ReplyTarget(asked, author="Ada", excerpt="how?", is_latest=False)
    await channel.send(Outgoing(ADDRESS, RenderedPart("*so*"), reply_to=reply, part_id="part/1 ü"))
    await cloud.settled()
    shown = cloud.visible(USER)[-1]
    assert (shown.body, shown.reply_to, shown.status) == ("*so*", (asked, "how?"), "read")
    assert not cloud.typing(USER)
    await cloud.until(lambda: len(site.intake.receipts) == 3)
    assert {r.part_id for r in site.intake.receipts} == {"part/1 ü"}
    foreign = ReplyTarget("SM1", author="Ada", excerpt="how?", is_latest=False)
    await channel.send(Outgoing(ADDRESS, RenderedPart("again"), reply_to=foreign))
    assert "context" not in cloud.calls_of("messages")[-1].parameters


async def test_buttons_become_replies_or_a_list_and_come_back_when_pressed(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    await cloud.user_says(USER, "hi")
    few = [Button("Stop what you are doing now", "stop:t1"), Button("Go on", "go")]
    sent = await channel.send(Outgoing(ADDRESS, RenderedPart("Well?"), buttons=few))
    await cloud.settled()
    await cloud.press(USER, sent.message_id, "stop:t1")
    assert (newest(site.intake).kind, newest(site.intake).text) == ("callback", "stop:t1")
    assert newest(site.intake).answered_in_chat
    many = [Button(f"Choice number {n}, rather long", f"c{n}") for n in range(12)]
    sent = await channel.send(Outgoing(ADDRESS, RenderedPart("Which?"), buttons=many))
    await cloud.settled()
    assert len(cloud.visible(USER)[-1].buttons) == 10
    await cloud.press(USER, sent.message_id, "c9")
    assert newest(site.intake).text == "Choice number 9, rather "
    assert newest(site.intake).quote is not None


async def test_an_anonymous_person_is_answered_by_their_id(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    cloud.add_user(user_id="US.1349")
    await cloud.user_says("whatsapp:US.1349", "hi")
    address = newest(site.intake).address
    await channel.send(Outgoing(address, RenderedPart("hello")))
    await cloud.settled()
    assert cloud.bot_texts("whatsapp:US.1349") == ["hello"]
    assert cloud.calls_of("messages")[-1].parameters["recipient"] == "US.1349"


async def test_files_are_fetched_with_the_token_and_within_bounds(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    await cloud.user_says(USER, "look", media=[(b"x" * 1000, "image/png")])
    [photo] = newest(site.intake).attachments
    assert (photo.kind, photo.mime_type, photo.is_file) == ("photo", "image/png", True)
    assert await channel.download(photo, 1000) == b"x" * 1000
    with pytest.raises(Rejected):
        await channel.download(photo, 999)
    for fault, kind in (("http_502", NotSent), ("drop_before", NotSent), ("garbage", NotSent)):
        cloud.fault(fault, "media.info")  # type: ignore[arg-type]
        with pytest.raises(kind):
            await channel.download(photo, 1000)
    cloud.core.media.clear()
    with pytest.raises(Rejected):
        await channel.download(photo, 1000)


@pytest.mark.parametrize(
    ("kind", "mime_type", "size", "caption", "sent_as"),
    [
        ("photo", "image/png", 4, "", "image"),
        ("photo", "image/png", 6 * 1024 * 1024, "", "document"),
        ("photo", "image/webp", 4, "", "document"),
        ("video", "video/mp4", 4, "a film", "video"),
        ("voice", "audio/ogg; codecs=opus", 4, "", "audio"),
        ("voice", "audio/ogg", 4, "(may be a repeat)", "document"),
        ("document", "", 4, "", "document"),
    ],
)
async def test_files_are_uploaded_and_shown_as_what_whatsapp_can_show(
    cloud: FakeCloud, kind: Any, mime_type: str, size: int, caption: str, sent_as: str
) -> None:
    files = MemoryFiles({"bcd": b"\x00\xff" * 2})
    channel = WhatsAppCloudChannel(settings(api_base=cloud.base_url), files=files)
    await cloud.user_says(USER, "send it")
    part = RenderedPart(caption, (), 0, 0, Media("bcd", kind, "a file", mime_type, size))
    sent = await channel.send(Outgoing(ADDRESS, part))
    message = cloud.messages[sent.message_id]
    assert (message.type, message.body) == (sent_as, caption)
    kept = cloud.core.media[message.media[0]]
    assert (kept.data, kept.filename) == (b"\x00\xff" * 2, "a file")
    named = cloud.calls_of("messages")[-1].parameters[sent_as].get("filename")
    assert named == ("a file" if sent_as == "document" else None)
    cloud.fault("http_500", "media.upload")
    with pytest.raises(NotSent):
        await channel.send(Outgoing(ADDRESS, part))
    files.data.clear()
    with pytest.raises(Rejected):
        await channel.send(Outgoing(ADDRESS, part))
    await channel.close()


async def test_the_template_reaches_people_outside_the_window(
    cloud: FakeCloud, site: Site, channel: WhatsAppCloudChannel
) -> None:
    await cloud.user_says(USER, "hi")
    cloud.close_window(USER)
    await channel.send(Outgoing(ADDRESS, RenderedPart("late"), part_id="p1"))
    await cloud.settled()
    await cloud.until(lambda: site.intake.receipts)
    assert site.intake.receipts[-1].refusal == Refusal(held=True, invitation=INVITATION)
    await channel.invite(ADDRESS, part_id="p2")
    await cloud.settled()
    assert cloud.bot_texts(USER) == ["Your result is ready, reply to view."]


async def test_a_reaction_that_is_set_shows_under_the_persons_message(cloud: FakeCloud) -> None:
    asked = await cloud.user_says(USER, "how?")
    channel = WhatsAppCloudChannel(settings(api_base=cloud.base_url, reaction="👀"))
    assert channel.capabilities.reaction == "👀"
    await channel.react(ADDRESS, asked)
    [shown] = cloud.visible(USER)
    assert shown.reactions == ("👀",)
    with pytest.raises(DeliveryError):
        await channel.react(ADDRESS, "wamid.unknown")
    await channel.close()


async def test_the_account_tells_whether_its_token_works(cloud: FakeCloud) -> None:
    for token, state in (("test-access-token", "up"), ("wrong", "auth_error")):
        config = settings(api_base=cloud.base_url, access_token=token)
        channel, intake = WhatsAppCloudChannel(config), MemoryIntake()
        await channel.ingest(intake)
        assert intake.states[-1][0] == state
        await channel.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("drop_before", Ambiguous),
        ("drop_after", Ambiguous),
        ("http_502", Ambiguous),
        ("http_500", Ambiguous),
        ("garbage", Ambiguous),
        ("rate_limit", Throttled),
        ("unauthorized", AuthBroken),
    ],
)
async def test_every_failure_of_a_send_has_its_kind(
    cloud: FakeCloud, channel: WhatsAppCloudChannel, fault: Any, kind: type[DeliveryError]
) -> None:
    cloud.fault(fault, "messages", value=3)
    with pytest.raises(DeliveryError) as caught:
        await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    assert type(caught.value) is kind
    if isinstance(caught.value, Throttled):
        assert caught.value.retry_after_s == 3.0 and caught.value.is_account_wide


async def test_refusals_say_what_can_be_done(
    cloud: FakeCloud, channel: WhatsAppCloudChannel
) -> None:
    too_long = RenderedPart("x" * 4097)
    with pytest.raises(RenderRejected) as without_reply:
        await channel.send(Outgoing(ADDRESS, too_long, reply_to=ReplyTarget("wamid.1")))
    assert without_reply.value.code == "reply"
    with pytest.raises(Rejected) as for_good:
        await channel.send(Outgoing(ADDRESS, too_long))
    assert for_good.value.code == "131009" and "4096" in str(for_good.value)
    cloud.settings.templates.clear()
    with pytest.raises(Rejected):
        await channel.invite(ADDRESS, part_id="p")
    cloud.settings.pair_limit = PairLimit(1, 6.0)
    await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    with pytest.raises(Throttled) as limited:
        await channel.send(Outgoing(ADDRESS, RenderedPart("y")))
    assert (limited.value.code, limited.value.retry_after_s) == ("131056", 6.0)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (131047, WindowClosed),
        ("131056", Throttled),
        (130429, Throttled),
        (131026, Unreachable),
        (190, AuthBroken),
        (200, AuthBroken),
        (368, AuthBroken),
        (131009, Rejected),
        (None, Rejected),
        ("--1", Rejected),
        ([131047], Rejected),
        pytest.param("1" * 5000, Rejected, id="too many digits"),
    ],
)
def test_codes_have_meanings(code: Any, kind: type[DeliveryError]) -> None:
    assert type(by_code(code, "words")) is kind


@pytest.mark.parametrize(
    ("code", "of_the_account"), [(130429, True), (80007, True), (131056, False)]
)
def test_a_limit_of_the_number_holds_every_chat_and_one_of_a_pair_only_its_own(
    code: int, of_the_account: bool
) -> None:
    error = by_code(code, "words")
    assert isinstance(error, Throttled) and error.is_account_wide is of_the_account


async def test_a_refused_connection_proves_that_nothing_was_sent(cloud: FakeCloud) -> None:
    channel = WhatsAppCloudChannel(settings(api_base=cloud.base_url))
    await cloud.stop()
    with pytest.raises(NotSent):
        await channel.send(Outgoing(ADDRESS, RenderedPart("x")))
    await channel.close()


async def test_the_courier_needs_nothing_else_a_long_answer_comes_in_order(
    cloud: FakeCloud, site: Site
) -> None:
    asked = await cloud.user_says(USER, "tell me")
    outbox = MemoryOutbox()
    config = settings(api_base=cloud.base_url)
    channel = WhatsAppCloudChannel(config, receipts=MemoryReceipts(outbox, site.intake))
    text = " ".join(f"word{n}" for n in range(1500))
    target = ReplyTarget(asked, author="Ada", excerpt="tell me", is_latest=False)
    entry = outbox.add(ADDRESS, text, reply_to=target)
    courier = Courier([channel], outbox, "c", config=QUICK)
    async with asyncio.timeout(30):
        while not outbox.parts[entry.id] or set(outbox.states(entry)) != {"sent"}:
            await courier.drain()
            await asyncio.sleep(0.01)
    await cloud.settled()
    assert " ".join(cloud.bot_texts(USER)).split() == text.split()
    quoting = [shown.reply_to for shown in cloud.visible(USER) if shown.sender == "bot"]
    assert quoting[0] == (asked, "tell me") and not any(quoting[1:])
    await channel.close()


@pytest.mark.parametrize(("repeatable", "kind"), [(False, AuthBroken), (True, Rejected)])
def test_a_number_that_is_not_ours_waits_to_be_mended(
    repeatable: bool, kind: type[DeliveryError]
) -> None:
    words = "Unsupported post request. Object with ID '9' does not exist"
    body = {"error": {"message": words, "code": 100, "error_subcode": 33}}
    assert type(refusal(400, body, {}, repeatable=repeatable)) is kind
