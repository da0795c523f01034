"""Telegram's updates are taken in by polling: committed first, never twice, whatever breaks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from roost_channels.channel import Outgoing
from roost_channels.kinds import ChatCommand
from roost_channels.message import Button
from roost_channels.rendering.parts import RenderedPart
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.client import TelegramClient
from roost_channels.telegram.inbound.polling import BACKOFF_MAX_S, QUIET_S, Poller
from roost_channels.telegram.testing import ADDRESS, CHAT, settings
from roost_channels.testing import FakeTelegram, VirtualClock
from roost_channels.testing.memory.intake import MemoryIntake

COMMANDS = (ChatCommand("new", "Start anew"), ChatCommand("stop", "Stop what runs"))


@asynccontextmanager
async def polling(telegram: FakeTelegram, intake: MemoryIntake) -> AsyncIterator[None]:
    channel = TelegramChannel(settings(telegram), commands=COMMANDS)
    task = asyncio.create_task(channel.ingest(intake))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await channel.close()


async def arrived(intake: MemoryIntake, count: int) -> list[str]:
    async def enough() -> None:
        while len(intake.messages) < count:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(enough(), 10)
    return [message.text for message in intake.messages.values()]


async def test_messages_are_taken_in_with_their_cursor_and_raw_update(
    telegram: FakeTelegram,
) -> None:
    intake = MemoryIntake()
    await telegram.user_says(CHAT, "one")
    async with polling(telegram, intake):
        await arrived(intake, 1)
        await telegram.user_says(CHAT, "two")
        assert await arrived(intake, 2) == ["one", "two"]
    newest = list(intake.messages.values())[-1]
    assert intake.cursors["telegram", "42"] == int(newest.event_id) + 1
    assert newest.raw["message"]["text"] == "two"
    assert intake.states[0] == ("up", "")


async def test_r35_an_update_is_never_acknowledged_before_it_is_committed(
    telegram: FakeTelegram,
) -> None:
    intake = MemoryIntake(faults=[RuntimeError("database is locked")])
    await telegram.user_says(CHAT, "precious")
    async with polling(telegram, intake):
        await arrived(intake, 1)
    polls = telegram.calls_of("getUpdates")
    failed_with, repeated_with = polls[0], polls[1]
    assert failed_with.response["result"] == repeated_with.response["result"]
    assert "offset" not in repeated_with.parameters


async def test_a_poller_killed_before_the_commit_leaves_the_update_to_the_next(
    telegram: FakeTelegram,
) -> None:
    class Stuck(MemoryIntake):
        async def accept(self, *args: Any, **fields: Any) -> Any:
            self.arrived.set()
            await asyncio.Event().wait()

    stuck = Stuck()
    await telegram.user_says(CHAT, "precious")
    async with polling(telegram, stuck):
        await asyncio.wait_for(stuck.arrived.wait(), 10)
    intake = MemoryIntake()
    async with polling(telegram, intake):
        assert await arrived(intake, 1) == ["precious"]


async def test_a_restarted_poller_takes_in_nothing_twice(telegram: FakeTelegram) -> None:
    intake = MemoryIntake()
    await telegram.user_says(CHAT, "one")
    async with polling(telegram, intake):
        await arrived(intake, 1)
    await telegram.user_says(CHAT, "two")
    async with polling(telegram, intake):
        assert await arrived(intake, 2) == ["one", "two"]


async def test_updates_numbered_anew_below_the_cursor_are_not_lost(telegram: FakeTelegram) -> None:
    """After a quiet week Telegram goes on at a random number."""
    intake = MemoryIntake(cursors={("telegram", "42"): 900_000_000})
    await telegram.user_says(CHAT, "hello again")
    async with polling(telegram, intake):
        assert await arrived(intake, 1) == ["hello again"]


async def test_after_a_quiet_day_the_offset_is_not_trusted() -> None:
    clock = VirtualClock()
    async with FakeTelegram(clock=clock, stretch_empty_polls=False) as telegram:
        config = settings(telegram, poll_timeout_s=0)
        client = TelegramClient(config, clock)
        poller = Poller(client, config, MemoryIntake(), clock, lambda callback_id, text: None)
        await telegram.user_says(CHAT, "one")
        for _ in range(2):
            await poller.poll()
        await clock.advance(QUIET_S + 1)
        await poller.poll()
        offsets = [call.parameters.get("offset") for call in telegram.calls_of("getUpdates")]
        assert offsets[0] is None and offsets[1] is not None and offsets[2] is None
        await client.close()


async def test_an_update_that_can_not_be_read_blocks_nothing(telegram: FakeTelegram) -> None:
    intake = MemoryIntake()
    telegram.core.updates.add("message", {"chat": {"id": CHAT}, "text": 5}, str(CHAT))
    await telegram.user_says(CHAT, "after it")
    async with polling(telegram, intake):
        await arrived(intake, 2)
    poison, after = intake.messages.values()
    assert poison.problem and poison.raw["message"]["text"] == 5 and after.text == "after it"


async def test_an_update_that_storage_refuses_blocks_nothing(telegram: FakeTelegram) -> None:
    class Picky(MemoryIntake):
        async def accept(self, channel: str, account: str, batch: Any, **fields: Any) -> Any:
            if any("poison" in str(message.raw) for message in batch):
                raise ValueError("a row that the database refuses")
            return await super().accept(channel, account, batch, **fields)

    intake, clock = Picky(), VirtualClock()
    for text in ("before", "poison", "after"):
        await telegram.user_says(CHAT, text)
    config = settings(telegram, poll_timeout_s=0)
    client = TelegramClient(config, clock)
    poller = Poller(client, config, intake, clock, lambda callback_id, text: None)
    polls = asyncio.create_task(poller.run())
    while len(intake.messages) < 3:
        await clock.advance(1.0)
        await asyncio.sleep(0.01)
    polls.cancel()
    await asyncio.gather(polls, return_exceptions=True)
    await client.close()
    assert [message.text for message in intake.messages.values()] == ["before", "", "after"]
    assert "refuses" in list(intake.messages.values())[1].problem


async def test_doubled_updates_are_stored_once(telegram: FakeTelegram) -> None:
    intake = MemoryIntake()
    telegram.fault("duplicate_update", "message")
    await telegram.user_says(CHAT, "one")
    await telegram.user_says(CHAT, "two")
    async with polling(telegram, intake):
        assert await arrived(intake, 2) == ["one", "two"]


async def test_polling_survives_bad_answers_and_a_restart(telegram: FakeTelegram) -> None:
    intake = MemoryIntake()
    for fault in ("http_502", "garbage"):
        telegram.fault(fault, "getUpdates")
    await telegram.user_says(CHAT, "still here")
    async with polling(telegram, intake):
        await arrived(intake, 1)
        await telegram.restart()
        await telegram.user_says(CHAT, "and here")
        assert await arrived(intake, 2) == ["still here", "and here"]


async def test_refused_credentials_are_a_state_and_no_loop(telegram: FakeTelegram) -> None:
    telegram.fault("unauthorized", "*", count=-1)
    intake = MemoryIntake()
    async with polling(telegram, intake):
        while not intake.states:
            await asyncio.sleep(0.01)
        calls = len(telegram.calls)
        await asyncio.sleep(0.2)
        assert intake.states[0][0] == "auth_error" and len(telegram.calls) == calls


async def test_r13_a_foreign_webhook_is_a_conflict_that_is_taken_back(
    telegram: FakeTelegram,
) -> None:
    channel = TelegramChannel(settings(telegram))
    await channel.close()
    intake = MemoryIntake()
    async with polling(telegram, intake):
        await telegram.until(lambda: telegram.calls_of("getUpdates"))
        other = TelegramChannel(
            settings(telegram, mode="webhook", webhook_secret="s3cret"),
            public_base_url="https://elsewhere.example",
        )
        await other.ingest(MemoryIntake())
        await other.close()
        await telegram.until(lambda: telegram.calls_of("deleteWebhook")[1:], timeout_s=20)
    assert "conflict" in [state for state, _ in intake.states]


async def test_a_pressed_button_is_answered_after_the_commit(telegram: FakeTelegram) -> None:
    intake = MemoryIntake()
    channel = TelegramChannel(settings(telegram))
    await telegram.user_says(CHAT, "hi")
    receipt = await channel.send(
        Outgoing(ADDRESS, RenderedPart("?"), buttons=[Button("Stop", "stop:t")])
    )
    await channel.close()
    async with polling(telegram, intake):
        press = await telegram.press(CHAT, int(receipt.message_id), "stop:t")
        await telegram.until(lambda: telegram.press_answer(press) is not None)
    pressed = list(intake.messages.values())[-1]
    assert (pressed.kind, pressed.text) == ("callback", "stop:t")


async def test_r12_ten_restarts_register_the_commands_once_and_meet_no_conflict(
    telegram: FakeTelegram,
) -> None:
    for _ in range(10):
        before = len(telegram.calls_of("getUpdates"))
        async with polling(telegram, MemoryIntake()):
            await telegram.until(lambda: len(telegram.calls_of("getUpdates")) > before)  # noqa: B023
    assert len(telegram.calls_of("setMyCommands")) == 1
    assert 409 not in {call.status for call in telegram.calls}


async def test_groups_are_heard_when_they_mention_us(telegram: FakeTelegram) -> None:
    telegram.add_group(-100)
    intake = MemoryIntake()
    await telegram.user_says(-100, "chatter")
    await telegram.user_says(-100, "@roost_test_bot hello")
    async with polling(telegram, intake):
        await arrived(intake, 2)
    assert [m.is_addressed for m in intake.messages.values()] == [False, True]


async def test_refused_credentials_are_tried_again_after_the_configured_time(
    telegram: FakeTelegram,
) -> None:
    telegram.fault("unauthorized", "*", count=-1)
    channel = TelegramChannel(settings(telegram), auth_probe_s=0.01)
    task = asyncio.create_task(channel.ingest(MemoryIntake()))
    async with asyncio.timeout(5):
        while len(telegram.calls_of("getUpdates") + telegram.calls_of("deleteWebhook")) < 3:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await channel.close()


async def test_a_network_that_came_back_is_up_with_the_first_poll_that_works() -> None:
    clock = VirtualClock()
    async with FakeTelegram(clock=clock, stretch_empty_polls=False) as telegram:
        config, intake = settings(telegram, poll_timeout_s=50), MemoryIntake()
        client = TelegramClient(config, clock)
        poller = Poller(client, config, intake, clock, lambda callback_id, text: None)
        telegram.fault("http_502", "getUpdates", count=4)
        polls = asyncio.create_task(poller.run())

        async def told(state: str) -> None:
            while not intake.states or intake.states[-1][0] != state:
                await clock.advance(1.0)
                await asyncio.sleep(0.01)

        await asyncio.wait_for(told("degraded"), 20)
        failed_at = clock.time()
        await asyncio.wait_for(told("up"), 20)
        waits = [call.parameters.get("timeout") for call in telegram.calls_of("getUpdates")]
        polls.cancel()
        await asyncio.gather(polls, return_exceptions=True)
        await client.close()
    assert clock.time() - failed_at <= 2 * BACKOFF_MAX_S
    assert set(map(str, waits[:5])) == {"0"}  # none waited for updates before it said so
