"""Files on Telegram: fetched beside the intake within limits, sent after the answer's text."""

from collections.abc import AsyncIterator

import pytest

from roost_channels.config import FilesConfig, TelegramConfig
from roost_channels.delivery import Courier, plan
from roost_channels.files import FETCH_ATTEMPTS_MAX, FETCHES_MAX, Fetcher
from roost_channels.message import Address, Attachment, Media
from roost_channels.outbox import OutboxEntry
from roost_channels.rendering import RenderedPart, labelled, plainer
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.testing import FakeTelegram, VirtualClock
from roost_channels.testing.files import MemoryFiles
from roost_channels.testing.memory import MemoryOutbox

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))


class Desk:
    """One bot, the files it keeps, and the phone of who writes to it."""

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
async def desk() -> AsyncIterator[Desk]:
    clock = VirtualClock()
    async with FakeTelegram(clock=clock) as telegram:
        await telegram.user_says(CHAT, "hello")
        found = Desk(telegram, clock)
        yield found
        await found.channel.close()


async def test_a_file_is_fetched_whole(desk: Desk) -> None:
    desk.arrives(b"\x00\xff" * 100)
    await desk.fetcher.settle()
    assert desk.files.data == {"a": b"\x00\xff" * 100}


async def test_a_file_over_the_limit_is_given_up_with_a_reason(desk: Desk) -> None:
    desk.arrives(b"x" * 2000, "tells", size=2000)
    desk.arrives(b"x" * 2000, "lies")
    desk.arrives(b"", "server", size=None)
    desk.telegram.core.world.files[desk.files.waiting["server"].attachment.provider_id].size = (
        1 << 30
    )
    await desk.fetcher.settle()
    assert "more than 1024" in desk.files.failed["tells"]
    assert "more than 1024" in desk.files.failed["lies"]
    assert "too big" in desk.files.failed["server"]
    assert not desk.files.data


async def test_a_failing_fetch_is_tried_a_few_times_then_given_up(desk: Desk) -> None:
    desk.telegram.fault("http_502", "getFile", count=-1)
    desk.arrives(b"x")
    for _ in range(FETCH_ATTEMPTS_MAX):
        assert not desk.files.failed
        await desk.fetcher.settle()
        await desk.clock.advance(60.0)
    assert "502" in desk.files.failed["a"]
    assert len(desk.telegram.calls_of("getFile")) == FETCH_ATTEMPTS_MAX


async def test_no_more_files_than_allowed_are_fetched_at_once(desk: Desk) -> None:
    for number in range(FETCHES_MAX + 3):
        desk.arrives(b"x", f"n{number}")
    await desk.fetcher.settle()
    assert len(desk.files.data) == FETCHES_MAX
    await desk.fetcher.settle()
    assert len(desk.files.data) == FETCHES_MAX + 3


async def test_an_answers_files_follow_its_text(desk: Desk) -> None:
    desk.files.data = {"p": b"\x89PNG picture", "d": b"%PDF"}
    outbox = MemoryOutbox(desk.clock)
    media = (
        Media("p", "photo", "cat.png", "image/png", 12),
        Media("d", "document", "bill.pdf", "application/pdf", 4),
    )
    outbox.add(ADDRESS, "Here they are.", media=media)
    courier = Courier([desk.channel], outbox, "c", desk.clock)
    await courier.drain()
    sent = [c.method for c in desk.telegram.calls if c.method.startswith("send")]
    assert sent == ["sendMessage", "sendPhoto", "sendDocument"]
    document = desk.telegram.core.world.chats[CHAT].messages
    names = [m.media["document"]["file_name"] for m in document.values() if "document" in m.media]
    assert names == ["bill.pdf"]


def entry(*media: Media) -> OutboxEntry:
    return OutboxEntry("e", ADDRESS, "answer", "", None, (), None, 0, 0.0, media)


async def test_a_file_that_a_channel_can_not_carry_is_named_instead(desk: Desk) -> None:
    capabilities = desk.channel.capabilities
    huge = Media("h", "video", "film.mp4", "video/mp4", capabilities.media_bytes_max + 1)
    large = Media("l", "photo", "map.png", "image/png", capabilities.photo_bytes_max + 1)
    named, as_document = plan(entry(huge, large), desk.channel)
    assert named.media is None and "film.mp4" in named.text
    assert as_document.media is not None and as_document.media.kind == "document"


def test_a_part_keeps_its_file_when_it_is_labelled_or_made_plainer() -> None:
    media = Media("p", "photo", "cat.png", "image/png", 12)
    assert labelled(RenderedPart("", media=media)).media == media
    assert plainer(RenderedPart("", media=media)).media == media
