"""The Telegram adapter against a Bot API server: ingest, errors, the webhook."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roost_channels.channel import Outgoing
from roost_channels.errors import (
    Ambiguous,
    AuthBroken,
    DeliveryError,
    EditTargetMissing,
    NotModified,
    NotSent,
    RenderRejected,
    Throttled,
    Unreachable,
)
from roost_channels.kinds import ChatCommand
from roost_channels.message import Address, Button, ReplyTarget
from roost_channels.rendering.parts import Entity, RenderedPart
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.client import TelegramClient
from roost_channels.telegram.config import TelegramConfig
from roost_channels.telegram.format import checked_quote
from roost_channels.telegram.inbound import TelegramWebhook
from roost_channels.telegram.polling import QUIET_S, Poller
from roost_channels.testing import FakeTelegram, VirtualClock
from roost_channels.testing.memory.intake import MemoryIntake

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))
COMMANDS = (ChatCommand("new", "Start anew"), ChatCommand("stop", "Stop what runs"))


def config(telegram: FakeTelegram, **fields: Any) -> TelegramConfig:
    known = {"token": telegram.token, "api_base": telegram.base_url, "poll_timeout_s": 1}
    return TelegramConfig.model_validate({**known, **fields})


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram(stretch_empty_polls=False) as server:
        yield server
        assert server.complaints == []


@pytest.fixture
async def channel(telegram: FakeTelegram) -> AsyncIterator[TelegramChannel]:
    await telegram.user_says(CHAT, "hello")
    found = TelegramChannel(config(telegram))
    yield found
    await found.close()


@asynccontextmanager
async def polling(telegram: FakeTelegram, intake: MemoryIntake) -> AsyncIterator[None]:
    channel = TelegramChannel(config(telegram), commands=COMMANDS)
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


# Ingest -----------------------------------------------------------------------------------------


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
        settings = config(telegram, poll_timeout_s=0)
        client = TelegramClient(settings, clock)
        poller = Poller(client, settings, MemoryIntake(), clock, lambda callback_id, text: None)
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
    settings = config(telegram, poll_timeout_s=0)
    client = TelegramClient(settings, clock)
    poller = Poller(client, settings, intake, clock, lambda callback_id, text: None)
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
    channel = TelegramChannel(config(telegram))
    await channel.close()
    intake = MemoryIntake()
    async with polling(telegram, intake):
        await telegram.until(lambda: telegram.calls_of("getUpdates"))
        other = TelegramChannel(
            config(telegram, mode="webhook", webhook_secret="s3cret"),
            public_base_url="https://elsewhere.example",
        )
        await other.ingest(MemoryIntake())
        await other.close()
        await telegram.until(lambda: telegram.calls_of("deleteWebhook")[1:], timeout_s=20)
    assert "conflict" in [state for state, _ in intake.states]


async def test_a_pressed_button_is_answered_after_the_commit(telegram: FakeTelegram) -> None:
    intake = MemoryIntake()
    channel = TelegramChannel(config(telegram))
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


# The verbs --------------------------------------------------------------------------------------


async def test_formatting_replies_and_topics_travel_natively(telegram: FakeTelegram) -> None:
    telegram.add_group(-100, topics={9: "Work"})
    asked = await telegram.user_says(-100, "what is this?", thread=9)
    channel = TelegramChannel(config(telegram))
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
    channel = TelegramChannel(config(telegram))
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


# The webhook ------------------------------------------------------------------------------------

UPDATE = {
    "update_id": 1,
    "message": {
        "message_id": 5,
        "from": {"id": 7, "first_name": "Ada"},
        "chat": {"id": 7, "type": "private"},
        "date": 1,
        "text": "hi",
    },
}
SECRET = {"X-Telegram-Bot-Api-Secret-Token": "s3cret"}


def webhook(intake: MemoryIntake, secret: str | None = "s3cret") -> TelegramWebhook:
    settings = {"token": "42:TEST", "mode": "webhook", "webhook_secret": secret}
    return TelegramWebhook(TelegramConfig.model_validate(settings), intake)


async def test_the_webhook_commits_before_it_answers() -> None:
    intake = MemoryIntake()
    reply = await webhook(intake).handle(SECRET, json.dumps(UPDATE).encode())
    assert reply.status == 200 and list(intake.messages) == ["1"]
    intake.faults.append(RuntimeError("database is locked"))
    refused = await webhook(intake).handle(SECRET, json.dumps({**UPDATE, "update_id": 2}).encode())
    assert refused.status == 500 and list(intake.messages) == ["1"]


@pytest.mark.parametrize("headers", [{}, {"x-telegram-bot-api-secret-token": "wrong"}])
async def test_a_wrong_secret_stores_nothing(headers: dict[str, str]) -> None:
    intake = MemoryIntake()
    reply = await webhook(intake).handle(headers, json.dumps(UPDATE).encode())
    assert reply.status == 401 and not intake.messages
    # The secret is looked at before the body.
    assert (await webhook(intake).handle(headers, b"\xff{")).status == 401


@pytest.mark.parametrize("secret", [None, "", "with spaces", "ü"])
def test_a_webhook_without_a_proper_secret_does_not_start(secret: str | None) -> None:
    with pytest.raises(ValueError, match="webhook_secret"):
        webhook(MemoryIntake(), secret)


async def test_bodies_have_bounds_and_shape() -> None:
    hook = webhook(MemoryIntake())
    assert (await hook.handle(SECRET, b"x" * 1_048_577)).status == 413
    for body in (b"", b"[]", b"nonsense", b"{}", b"7"):
        assert (await hook.handle(SECRET, body)).status == 400


async def test_a_press_is_answered_in_the_response_itself() -> None:
    body = {"message_id": 5, "chat": {"id": 7, "type": "private"}, "date": 1}
    query = {"id": "99", "from": {"id": 7}, "message": body, "data": "stop:t"}
    intake = MemoryIntake()
    update = json.dumps({"update_id": 3, "callback_query": query}).encode()
    reply = await webhook(intake).handle(SECRET, update)
    assert json.loads(reply.body) == {"method": "answerCallbackQuery", "callback_query_id": "99"}
    assert intake.messages["3"].kind == "callback"


def test_a_buttons_data_keeps_to_what_telegram_takes() -> None:
    assert Button("Stop", "é" * 32).data
    with pytest.raises(ValueError, match="at most 64 bytes"):
        Button("Stop", "é" * 33)
