"""R2 to R4, R10, R14, R15: what leaves a lane arrives once, whole and in order."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from roost_channels.capabilities import Capabilities
from roost_channels.channel import Outgoing
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.limits import Limiter
from roost_channels.errors import RenderRejected
from roost_channels.message import Address, Receipt
from roost_channels.outbox import EntryKind, OutboxEntry
from roost_channels.rendering.parts import REPEAT_LABEL, render
from roost_channels.telegram.channel import CAPABILITIES, TelegramChannel
from roost_channels.telegram.config import TelegramConfig
from roost_channels.testing import FakeTelegram
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_platform.db import models
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, Person

CHAT = 1001
QUICK = DeliveryConfig(retry_s=0.01, retry_max_s=0.02, poll_s=0.02, shutdown_s=1.0)
CORPUS = (
    "mail me at first.last+tag@example.org",
    "<b>not bold</b> & <script>alert(1)</script>",
    "**bold *italic `code* bold** unclosed **",
    "[a link](http://x.example/?a=(1)) and [broken](",
    "_snake_case_name_ and __dunder__ and \\*escaped\\*",
    "```\nno end of the fence",
    "| a | b |\n|---|---|\n| 1 | **2** |",
    "1. one\n   - two\n     > three\n\n***\n# Four",
    "😀👨‍👩‍👧‍👦🏳️‍🌈 " * 40,
    "é\u0301\u202e right to left \u2066x\u2069",
    "a" * 4095 + "👨‍👩‍👧‍👦" + "b" * 50,
    "||spoiler|| ~~gone~~ <tg-spoiler>x</tg-spoiler> {{x}} %s \\",
)


def courier(channel: Any, outbox: Any) -> Courier:
    limiter = Limiter(chat_burst=1000, account_rate=100_000)
    return Courier([channel], outbox, "courier-1", config=QUICK, limiter=limiter)


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as server:
        await server.user_says(CHAT, "hello")
        yield server


def channel_of(telegram: FakeTelegram, kind: type[TelegramChannel] = TelegramChannel) -> Any:
    config = TelegramConfig.model_validate({"token": telegram.token, "api_base": telegram.base_url})
    return kind(config)


@pytest.fixture
async def ada(sqlite_url: str, telegram: FakeTelegram) -> AsyncIterator[Person]:
    """Ada in the fake's chat, over a real database and the real time."""
    account = telegram.token.partition(":")[0]
    stores = open_stores(sqlite_url, policies={("telegram", account): AccessPolicy("open")})
    intake = PlatformIntake(stores, DoorbellLog())
    address = Address("telegram", account, str(CHAT))
    yield Person(stores, intake, DoorbellLog(), address)
    await intake.close()
    await stores.close()


async def delivered(ada: Person, channel: Any, text: str) -> None:
    """Answer with this text and bring it to its end."""
    await ada.says("hello")
    await ada.agent_says(await ada.turn(), 1, text)
    work = courier(channel, ada.stores.outbox)

    async def finished() -> None:
        while await ada.stores.outbox.next_entry(ada.address) is not None:
            await work.drain()
            await asyncio.sleep(0.005)

    await asyncio.wait_for(finished(), 30)


async def looks(stores: Stores) -> list[tuple[str, str, str]]:
    async with stores.database.read() as session:
        rows = await session.scalars(
            select(models.DeliveryAttempt).order_by(models.DeliveryAttempt.id)
        )
        return [(row.kind, row.outcome, row.concluded) for row in rows]


async def test_r4_three_lost_requests_cost_four_calls_and_leave_one_labelled_copy(
    telegram: FakeTelegram, ada: Person
) -> None:
    telegram.fault("drop_before", "sendMessage", count=3)
    channel = channel_of(telegram)
    await delivered(ada, channel, "the answer")
    await channel.close()
    assert telegram.bot_texts(CHAT) == [f"{REPEAT_LABEL}the answer"]
    assert len(telegram.calls_of("sendMessage")) == 4
    repeated = "no proof of either outcome; sent again, labelled"
    assert await looks(ada.stores) == [
        *[("send", "ambiguous", ""), ("check", "looked", repeated)] * 3,
        ("send", "sent", ""),
    ]


class Slow:
    """A channel whose sends take a random time."""

    name, account, capabilities = "telegram", "42", CAPABILITIES

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.sent: list[tuple[str, str]] = []

    async def send(self, message: Outgoing) -> Receipt:
        await asyncio.sleep(self.chance.random() * 0.01)
        self.sent.append((message.address.chat, message.part.text))
        return Receipt(str(len(self.sent)))


async def test_r10_answers_notices_and_errors_leave_in_the_order_they_were_decided() -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    outbox, channel = MemoryOutbox(), Slow(chance)
    kinds: tuple[EntryKind, ...] = ("answer", "notice", "error", "approval")
    decided: dict[str, list[OutboxEntry]] = {str(chat): [] for chat in range(100, 106)}
    for number in range(60):
        chat = chance.choice(list(decided))
        text = f"{number} " + "word " * chance.choice((1, 1, 1500))
        address = Address("telegram", "42", chat)
        decided[chat].append(outbox.add(address, text, kind=chance.choice(kinds)))
    work = courier(channel, outbox)
    await work.drain()
    for chat, entries in decided.items():
        expected = [p.text for e in entries for p in render(e.text, CAPABILITIES)]
        assert [text for to, text in channel.sent if to == chat] == expected, f"seed {seed}"


async def test_r14_whatever_markup_a_model_writes_it_arrives(
    telegram: FakeTelegram, ada: Person
) -> None:
    channel = channel_of(telegram)
    for text in CORPUS:
        before = len(telegram.bot_texts(CHAT))
        await delivered(ada, channel, text)
        parts = telegram.bot_texts(CHAT)[before:]
        assert "".join(parts) == "".join(part.text for part in render(text, CAPABILITIES)), text
        assert len(telegram.calls_of("sendMessage")) == len(telegram.bot_texts(CHAT)), text
    await channel.close()


class Picky(TelegramChannel):
    """Refuses the formatting of the second part it is given, once."""

    calls = 0

    async def send(self, message: Outgoing) -> Receipt:
        self.calls += 1
        if self.calls == 2:
            raise RenderRejected("can't parse entities", code="entities", http_status=400)
        return await super().send(message)


async def test_r15_a_long_answer_with_a_refused_part_is_whole_and_each_part_there_once(
    telegram: FakeTelegram, ada: Person
) -> None:
    code = "\n".join(f"line_{number} = {number}  # {'x' * 40}" for number in range(150))
    words, end = "Words and words. " * 200, "The end of it. " * 300
    text = f"# Long\n\n{words}\n\n```python\n{code}\n```\n\n{end}"
    assert len(text) > 15_000
    channel = channel_of(telegram, Picky)
    await delivered(ada, channel, text)
    await channel.close()
    rendered = render(text, CAPABILITIES)
    shown = [message for message in telegram.visible(CHAT) if message.sender == "bot"]
    # Telegram cuts blanks at the ends of a message off.
    assert [message.text for message in shown] == [part.text.strip() for part in rendered]
    limits: Capabilities = CAPABILITIES
    assert all(len(part.text) <= limits.text_max for part in rendered)
    plain = [index for index, message in enumerate(shown) if not message.entities]
    assert 1 in plain, "the refused part lost its formatting, and only that"
    fenced = [index for index, part in enumerate(rendered) if "line_" in part.text]
    assert len(fenced) > 1
    for index in fenced:
        assert index == 1 or any(entity["type"] == "pre" for entity in shown[index].entities)


class Stopping(TelegramChannel):
    """The person says /stop while the part `stop_at` is under way."""

    calls = 0
    stop_at = 4
    person: Person

    async def send(self, message: Outgoing) -> Receipt:
        self.calls += 1
        if self.calls == self.stop_at:
            await self.person.says("/stop")
        return await super().send(message)


async def test_r22_a_stop_ends_the_delivery_of_a_long_answer_and_tells_how_much_was_sent(
    telegram: FakeTelegram, ada: Person
) -> None:
    channel = channel_of(telegram, Stopping)
    channel.person = ada
    text = "A long story. " * 4300
    assert len(text) > 60_000
    parts = len(render(text, CAPABILITIES))
    await ada.says("tell me all")
    await ada.agent_says(await ada.turn(), 1, text)
    work = courier(channel, ada.stores.outbox)
    async with asyncio.timeout(30):
        while await ada.stores.outbox.next_entry(ada.address) is not None:
            await work.drain()
    *story, notice = telegram.bot_texts(CHAT)
    assert len(story) == 4 and "story" in story[-1]
    assert notice == f"Stopped: 4 of {parts} parts were sent."
    await delivered(ada, channel, "And now?")
    assert telegram.bot_texts(CHAT)[-1] == "And now?"
    await channel.close()
