"""Told to stop: nothing begins, what is on its way ends, what a provider took is written down."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from roost_channels.config import DeliveryConfig, FilesConfig
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.ledger import RECORD_TRIES_MAX, Ledger
from roost_channels.delivery.limits import Limiter
from roost_channels.delivery.sender import STOPPED
from roost_channels.files import Fetcher
from roost_channels.message import Address, Attachment
from roost_channels.outbox import ProgressSnapshot
from roost_channels.progress.renderer import ProgressRenderer
from roost_channels.telegram import session as telegram_session
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.config import TelegramConfig
from roost_channels.testing import FakeTelegram
from roost_channels.testing.memory.files import MemoryFiles
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.whatsapp import http as twilio_http

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))
QUICK = DeliveryConfig(poll_s=0.02, shutdown_s=5.0, status_delay_s=0.0)


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as server:
        await server.user_says(CHAT, "hello")
        yield server


@pytest.fixture
async def channel(telegram: FakeTelegram) -> AsyncIterator[TelegramChannel]:
    config = TelegramConfig.model_validate({"token": telegram.token, "api_base": telegram.base_url})
    found = TelegramChannel(config)
    yield found
    await found.close()


class SlowOutbox(MemoryOutbox):
    """Commits of the named method take a moment; `begun` is set when one has begun."""

    def __init__(self, slow: str) -> None:
        super().__init__()
        self.slow = slow
        self.begun = asyncio.Event()

    async def sending(self, part_id: str, owner: str, lease_s: float, *, after: int = -1) -> int:
        attempt = await super().sending(part_id, owner, lease_s, after=after)
        if self.slow == "sending":
            await self._take_a_moment()
        return attempt

    async def fenced(self, turn_id: str) -> bool:
        if self.slow == "fenced":
            await self._take_a_moment()
        return await super().fenced(turn_id)

    async def _take_a_moment(self) -> None:
        self.begun.set()
        await asyncio.sleep(0.1)


def sends(telegram: FakeTelegram) -> list[str]:
    return [call.method for call in telegram.calls if call.method.startswith(("send", "edit"))]


def snapshot() -> ProgressSnapshot:
    return ProgressSnapshot("turn-1", "c", ADDRESS, 1, "thinking", "", (), None, "1", 0.0, 0.0, 1)


async def test_a_send_that_is_claimed_but_has_not_left_is_taken_back(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox, stop = SlowOutbox("sending"), asyncio.Event()
    entry = outbox.add(ADDRESS, "the answer")
    courier = Courier([channel], outbox, "one", config=QUICK, stop=stop)
    running = asyncio.create_task(courier.run())
    await outbox.begun.wait()
    stop.set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not sends(telegram)
    assert outbox.states(entry) == ["not_sent"]
    assert outbox.history[-1].detail == STOPPED
    assert await outbox.recover("two") == 0


async def test_a_send_on_its_way_ends_and_the_next_part_stays_planned(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox, stop = MemoryOutbox(), asyncio.Event()
    entry = outbox.add(ADDRESS, "word " * 1500)
    telegram.fault("delay", "sendMessage", value=0.5)
    courier = Courier([channel], outbox, "one", config=QUICK, stop=stop)
    running = asyncio.create_task(courier.run())
    while not telegram.calls_of("sendMessage"):
        await asyncio.sleep(0.01)
    stop.set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert outbox.states(entry) == ["sent", "planned"]


async def test_a_lane_that_only_waits_ends_at_once(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    for number in range(5):
        outbox.add(ADDRESS, f"answer {number}")
    courier = Courier([channel], outbox, "one", config=QUICK, limiter=Limiter(chat_burst=1))
    running = asyncio.create_task(courier.run())
    while not telegram.bot_texts(CHAT):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    began = asyncio.get_running_loop().time()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert asyncio.get_running_loop().time() - began < 0.5
    assert telegram.bot_texts(CHAT) == ["answer 0"]


async def test_a_receipt_that_storage_refused_is_written_down_before_the_end(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox = MemoryOutbox()
    entry = outbox.add(ADDRESS, "the answer")
    for _ in range(RECORD_TRIES_MAX + 2):
        outbox.fault("sent", OSError("storage is away"))
    courier = Courier([channel], outbox, "one", config=QUICK)
    running = asyncio.create_task(courier.run())
    while not telegram.bot_texts(CHAT):
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert outbox.states(entry) == ["sent"]


async def test_progress_shows_nothing_once_the_process_is_told_to_stop(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox, stop = SlowOutbox("fenced"), asyncio.Event()
    outbox.running(snapshot())
    shown = ProgressRenderer([channel], Ledger(outbox, config=QUICK, stop=stop))
    running = asyncio.create_task(shown.run())
    await outbox.begun.wait()
    stop.set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await shown.finish_step()
    assert not sends(telegram) and not outbox.statuses


async def test_a_status_message_on_its_way_is_waited_for_and_known(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    outbox, stop = MemoryOutbox(), asyncio.Event()
    outbox.running(snapshot())
    telegram.fault("delay", "sendMessage", value=0.5)
    shown = ProgressRenderer([channel], Ledger(outbox, config=QUICK, stop=stop))
    running = asyncio.create_task(shown.run())
    while not telegram.calls_of("sendMessage"):
        await asyncio.sleep(0.01)
    stop.set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert outbox.statuses["turn-1"].message_id


async def test_no_download_begins_once_the_process_is_told_to_stop(
    telegram: FakeTelegram, channel: TelegramChannel
) -> None:
    files, stop = MemoryFiles(), asyncio.Event()
    files.arrived(Attachment("document", "f1", "a.txt", "text/plain", 3, "", "a1"))
    stop.set()
    await Fetcher([channel], files, config=FilesConfig(), stop=stop).settle()
    assert not telegram.calls and list(files.waiting) == ["a1"]


def test_the_time_to_end_covers_every_providers_time_limit() -> None:
    # Twilio's limit is Meta's too.
    longest = max(telegram_session.CALL_TIMEOUT_S, twilio_http.TIMEOUT_S)
    assert DeliveryConfig().shutdown_s >= longest + telegram_session.CONNECT_TIMEOUT_S
