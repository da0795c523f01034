"""Files on Telegram: fetched beside the intake within limits, sent after the answer's text."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from roost_channels.channel import Outgoing
from roost_channels.config import FilesConfig
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.parts import plan
from roost_channels.errors import RenderRejected
from roost_channels.files import FETCH_ATTEMPTS_MAX, FETCHES_MAX, Fetcher
from roost_channels.message import Address, Attachment, Media, Receipt
from roost_channels.outbox import OutboxEntry
from roost_channels.rendering.parts import RenderedPart, labelled, plainer
from roost_channels.telegram.channel import CAPABILITIES as TELEGRAM
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.config import TelegramConfig
from roost_channels.testing import FakeTelegram, VirtualClock
from roost_channels.testing.memory.files import MemoryFiles
from roost_channels.testing.memory.outbox import MemoryOutbox

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))


class Chat:
    """One bot, the files it keeps, and the phone of the person who writes to it."""

    def __init__(self, telegram: FakeTelegram, clock: VirtualClock) -> None:
        self.telegram, self.clock, self.files = telegram, clock, MemoryFiles()
        settings = {"token": telegram.token, "api_base": telegram.base_url}
        config = TelegramConfig.model_validate(settings)
        self.channel = TelegramChannel(config, clock=clock, files=self.files)
        limits = FilesConfig(inbound_bytes_max=1024)
        self.fetcher = Fetcher([self.channel], self.files, clock, limits)

    def arrives(self, data: bytes, name: str = "a", size: int | None = None) -> None:
        file = self.telegram.add_file(data, name, size=size)
        attachment = Attachment("photo", file.file_id, size=size, artifact_id=name)
        self.files.arrived(attachment)


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    clock = VirtualClock()
    async with FakeTelegram(clock=clock) as telegram:
        await telegram.user_says(CHAT, "hello")
        chat = Chat(telegram, clock)
        yield chat
        await chat.channel.close()


async def test_a_file_is_fetched_whole(chat: Chat) -> None:
    chat.arrives(b"\x00\xff" * 100)
    await chat.fetcher.settle()
    assert chat.files.data == {"a": b"\x00\xff" * 100}


async def test_a_file_over_the_limit_is_given_up_with_a_reason(chat: Chat) -> None:
    chat.arrives(b"x" * 2000, "tells", size=2000)
    chat.arrives(b"x" * 2000, "lies")
    chat.arrives(b"", "server", size=None)
    chat.telegram.core.world.files[chat.files.waiting["server"].attachment.provider_id].size = (
        1 << 30
    )
    await chat.fetcher.settle()
    assert "more than 1024" in chat.files.failed["tells"]
    assert "more than 1024" in chat.files.failed["lies"]
    assert "too big" in chat.files.failed["server"]
    assert all("too large" in words for words in chat.files.told.values())
    assert set(chat.files.told) == {"tells", "lies", "server"}
    assert not chat.files.data


async def test_a_failing_fetch_is_tried_a_few_times_then_given_up(chat: Chat) -> None:
    chat.telegram.fault("http_502", "getFile", count=-1)
    chat.arrives(b"x")
    for _ in range(FETCH_ATTEMPTS_MAX):
        assert not chat.files.failed
        await chat.fetcher.settle()
        await chat.clock.advance(60.0)
    assert "502" in chat.files.failed["a"]
    assert len(chat.telegram.calls_of("getFile")) == FETCH_ATTEMPTS_MAX


async def test_no_more_files_than_allowed_are_fetched_at_once(chat: Chat) -> None:
    for number in range(FETCHES_MAX + 3):
        chat.arrives(b"x", f"n{number}")
    await chat.fetcher.settle()
    assert len(chat.files.data) == FETCHES_MAX
    await chat.fetcher.settle()
    assert len(chat.files.data) == FETCHES_MAX + 3


async def test_an_answers_files_follow_its_text(chat: Chat) -> None:
    chat.files.data = {"p": b"\x89PNG picture", "d": b"%PDF"}
    outbox = MemoryOutbox(chat.clock)
    media = (
        Media("p", "photo", "cat.png", "image/png", 12),
        Media("d", "document", "bill.pdf", "application/pdf", 4),
    )
    outbox.add(ADDRESS, "Here they are.", media=media)
    courier = Courier([chat.channel], outbox, "c", chat.clock)
    await courier.drain()
    sent = [c.method for c in chat.telegram.calls if c.method.startswith("send")]
    assert sent == ["sendMessage", "sendPhoto", "sendDocument"]
    document = chat.telegram.core.world.chats[CHAT].messages
    names = [m.media["document"]["file_name"] for m in document.values() if "document" in m.media]
    assert names == ["bill.pdf"]


def entry(*media: Media) -> OutboxEntry:
    return OutboxEntry("e", ADDRESS, "answer", "", None, (), None, 0, 0.0, media)


async def test_a_file_that_a_channel_can_not_carry_is_named_instead(chat: Chat) -> None:
    capabilities = chat.channel.capabilities
    huge = Media("h", "video", "film.mp4", "video/mp4", capabilities.media_bytes_max + 1)
    large = Media("l", "photo", "map.png", "image/png", capabilities.photo_bytes_max + 1)
    named, as_document = plan(entry(huge, large), chat.channel)
    assert named.media is None and "film.mp4" in named.text
    assert as_document.media is not None and as_document.media.kind == "document"


def test_a_part_keeps_its_file_when_it_is_labelled_or_made_plainer() -> None:
    media = Media("p", "photo", "cat.png", "image/png", 12)
    assert labelled(RenderedPart("", media=media)).media == media
    assert plainer(RenderedPart("", media=media)).media == media


async def test_a_photo_that_is_refused_as_one_goes_as_a_document(chat: Chat) -> None:
    chat.files.data = {"p": b"odd picture"}
    refused = RenderRejected("PHOTO_INVALID_DIMENSIONS", code="media")
    asked: list[str] = []
    send = chat.channel.send

    async def picky(message: Outgoing) -> Receipt:
        media = message.part.media
        assert media is not None
        asked.append(media.kind)
        if media.kind == "photo":
            raise refused
        return await send(message)

    chat.channel.send = picky  # type: ignore[method-assign]
    outbox = MemoryOutbox(chat.clock)
    sent = outbox.add(ADDRESS, "", media=[Media("p", "photo", "wide.png", "image/png", 11)])
    await Courier([chat.channel], outbox, "c", chat.clock).drain()
    assert asked == ["photo", "document"] and outbox.states(sent) == ["sent"]


async def rich_answer(chat: Chat, text: str) -> list[str]:
    """The methods an answer went out by, where rich messages are allowed."""
    settings = {"token": chat.telegram.token, "api_base": chat.telegram.base_url}
    config = TelegramConfig.model_validate({**settings, "rich_messages": True})
    channel = TelegramChannel(config, clock=chat.clock)
    outbox = MemoryOutbox(chat.clock)
    outbox.add(ADDRESS, text)
    before = len(chat.telegram.calls)
    courier = Courier([channel], outbox, "c", chat.clock)
    for _ in range(4):
        await courier.drain()
        await chat.clock.advance(2.0)
    await channel.close()
    return [call.method for call in chat.telegram.calls[before:]]


async def test_rich_messages_are_sent_when_allowed_and_give_way_when_refused(chat: Chat) -> None:
    assert await rich_answer(chat, "# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |") == [
        "sendRichMessage"
    ]
    chat.telegram.core.faults.clear()
    chat.telegram.core.world.chats[CHAT].messages.clear()
    assert set(await rich_answer(chat, "word " * 2000)) == {"sendMessage"}


async def test_a_refused_rich_message_is_sent_plain() -> None:
    channel = PickyRich()
    outbox = MemoryOutbox()
    sent = outbox.add(ADDRESS, "# Title")
    await Courier([channel], outbox, "c").drain()  # type: ignore[list-item]
    assert [bool(part.rich) for part in channel.asked] == [True, False]
    assert outbox.states(sent) == ["sent"] and channel.asked[1].text == "Title"


class PickyRich:
    """A channel whose server knows no rich messages."""

    name = "telegram"
    account = "42"
    capabilities = replace(TELEGRAM, rich=True)

    def __init__(self) -> None:
        self.asked: list[RenderedPart] = []

    async def send(self, message: Outgoing) -> Receipt:
        self.asked.append(message.part)
        if message.part.rich:
            raise RenderRejected("method not found", code="rich")
        return Receipt("1")
