"""For contract tests: one chat over the outbox in memory, or over the one in the database."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from roost_channels.intake import DeliveryReceipt
from roost_channels.message import Address, ReplyTarget
from roost_channels.outbox import Outbox, ProgressSnapshot, Receipts
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing import VirtualClock
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_channels.testing.memory.receipts import MemoryReceipts
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HandClock, Person

TEXTS = ("one ", "two ", "three")


class Chat(Protocol):
    """One chat over one kind of outbox, with the steps that lead to its rows."""

    @property
    def address(self) -> Address:
        """The chat's address."""

    @property
    def outbox(self) -> Outbox:
        """The outbox under test."""

    @property
    def receipts(self) -> Receipts:
        """The earlier sends under test."""

    def now(self) -> float:
        """Seconds since the epoch."""

    async def pass_time(self, seconds: float) -> None:
        """Turn the clock."""

    async def person_writes(self) -> None:
        """A message of the person arrives."""

    async def begin_turn(self) -> str:
        """The person asks for something; returns the turn's id."""

    async def answer(self, turn_id: str) -> None:
        """Queue the final of a turn."""

    async def notice(self) -> None:
        """Queue a message outside any turn."""

    async def stop_turn(self, turn_id: str) -> None:
        """The person stops the turn."""

    async def receipt(self, part_id: str, message_id: str, status: str) -> None:
        """The provider reports how far a message came."""


class MemoryChat:
    """Over MemoryOutbox, MemoryReceipts and MemoryIntake."""

    def __init__(self) -> None:
        self.address = Address("telegram", "42", "1001")
        self.clock = VirtualClock()
        self.outbox = MemoryOutbox(self.clock)
        self.intake = MemoryIntake()
        self.receipts = MemoryReceipts(self.outbox, self.intake)
        self.numbers = itertools.count(1)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.clock.time()

    async def pass_time(self, seconds: float) -> None:
        """Turn the clock."""
        await self.clock.advance(seconds)

    async def person_writes(self) -> None:
        """A message of the person arrives."""
        self.outbox.person_wrote(self.address)

    async def begin_turn(self) -> str:
        """The person asks for something; returns the turn's id."""
        number, now = next(self.numbers), self.now()
        reply, turn_id = ReplyTarget(f"m{number}"), f"turn-{number}"
        self.outbox.running(
            ProgressSnapshot(
                turn_id, "c", self.address, number, "thinking", "", (), reply, "m", now, now, 1
            )
        )
        return turn_id

    async def answer(self, turn_id: str) -> None:
        """Queue the final of a turn."""
        reply = self.outbox.snapshots[turn_id].reply_to
        self.outbox.add(self.address, "".join(TEXTS), turn_id=turn_id, reply_to=reply)

    async def notice(self) -> None:
        """Queue a message outside any turn."""
        self.outbox.add(self.address, "".join(TEXTS))

    async def stop_turn(self, turn_id: str) -> None:
        """The person stops the turn."""
        self.outbox.stopped.add(turn_id)

    async def receipt(self, part_id: str, message_id: str, status: str) -> None:
        """Record a delivery receipt."""
        await self.intake.receipt("telegram", "42", DeliveryReceipt(part_id, message_id, status))


@dataclass
class StoredChat:
    """Over OutboxStore and ReceiptStore."""

    person: Person
    clock: HandClock

    def __post_init__(self) -> None:
        self.address = self.person.address
        self.outbox = self.person.stores.outbox
        self.receipts = self.person.stores.receipts

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.clock.now

    async def pass_time(self, seconds: float) -> None:
        """Turn the clock."""
        self.clock.advance(seconds)

    async def person_writes(self) -> None:
        """A message of the person arrives."""
        await self.person.says("hello?")

    async def begin_turn(self) -> str:
        """The person asks for something; returns the turn's id."""
        await self.person.says("a task")
        return (await self.person.turn()).turn_id

    async def answer(self, turn_id: str) -> None:
        """Queue the final of a turn."""
        turn = await self.person.turn()
        assert turn.turn_id == turn_id
        await self.person.agent_says(turn, 1, "".join(TEXTS))

    async def notice(self) -> None:
        """Queue a message outside any turn."""
        conversation_id = await self.person.conversation_id()
        await self.person.stores.say_as_operator(conversation_id, "".join(TEXTS), "olga")

    async def stop_turn(self, turn_id: str) -> None:
        """The person stops the turn."""
        await self.person.says("/stop")

    async def receipt(self, part_id: str, message_id: str, status: str) -> None:
        """Record a delivery receipt."""
        report = DeliveryReceipt(part_id, message_id, status)
        await self.person.intake.receipt("telegram", "42", report)


@asynccontextmanager
async def stored_chat(url: str) -> AsyncIterator[Chat]:
    """A chat over a migrated database, whose greeting is delivered already."""
    clock, doorbell = HandClock(), DoorbellLog()
    policies = {("telegram", "42"): AccessPolicy("open")}
    stores = open_stores(Database(url, clock=clock), policies=policies)
    person = Person(stores, PlatformIntake(stores, doorbell), doorbell)
    await person.says("/help")  # makes the conversation, and queues an answer
    head = await stores.outbox.next_entry(person.address)
    assert head is not None
    [part] = await stores.outbox.plan(head[0].id, [RenderedPart("Help.", (), 0, 5)])
    await stores.outbox.sent(part.id, "h1")
    clock.advance(1.0)
    yield StoredChat(person, clock)
    await stores.close()
