"""The platform's load with a scripted engine: rates, latency, stops, a restart, memory."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import func, select

from roost_channels.rendering.parts import REPEAT_LABEL
from roost_channels.testing.loopback import Call
from roost_inference.benchmarking.figures import Figure, Goal, percentile
from roost_inference.benchmarking.report import BenchmarkRun
from roost_platform.chaos.storm import Storm, calls_of, settings_url
from roost_platform.chaos.usage import (
    FLAT_MIB_PER_MINUTE,
    JUDGED_FROM_MINUTES,
    ResidentSamples,
    processor_s,
    resident_mib,
)
from roost_platform.db import models
from roost_platform.db.stores import Stores, open_stores
from roost_platform.testing import eventually

PATIENCE_S = 600.0
ROUND_S = 4.0  # between two messages of one person, while memory is watched
NEW_EVERY = 25
FIRST_CHAT = 20_001


class LoadParameters(BaseSettings):
    """Sizes of the load, set as LOAD_ and the name."""

    model_config = SettingsConfigDict(env_prefix="LOAD_", extra="forbid")

    answers: int = 200
    calm_answers: int = 40
    stops: int = 20
    queued_parts: int = 500
    memory_minutes: float = 1.0
    database: str = "sqlite"
    record: bool = True


@dataclass(slots=True)
class Load:
    """Measures one running stack from outside: by its phones, its calls and its rows."""

    world: Storm
    parameters: LoadParameters
    run: BenchmarkRun
    next_chat: int = FIRST_CHAT

    def chats(self, count: int) -> list[int]:
        """The numbers of this many new chats."""
        first, self.next_chat = self.next_chat, self.next_chat + count
        return list(range(first, first + count))

    def add(
        self, name: str, value: float, unit: str, goal: Goal | None = None, *, less: bool = True
    ) -> None:
        """Add a figure to the run; `less`: a lower value is better."""
        scenario = f"load, {self.parameters.database}"
        self.run.add(Figure(scenario, name, value, unit, lower_is_better=less, goal=goal))

    def calm(self) -> None:
        """One message at a time: the latency that the platform itself adds."""
        phone = self.world.phones.telegram
        for chat in self.chats(self.parameters.calm_answers):
            message_id = phone.say(chat, f"w{chat} think=0 fill=0")
            phone.answer(chat, message_id, within_s=PATIENCE_S)
        begun, sent = asyncio.run(self._waits(self.next_chat - self.parameters.calm_answers))
        for name, values, goals in (
            ("inbound stored to model asked", begun, {50: Goal(60, 40), 95: Goal(150, 100)}),
            ("final text to the channel's call", sent, {50: None, 95: Goal(50, 30)}),
        ):
            for percent, goal in goals.items():
                self.add(f"{name}, p{percent}", percentile(values, percent) * 1000, "ms", goal)

    def flood(self) -> None:
        """Everybody writes at once: how fast messages are accepted and answers are sent."""
        phone, count = self.world.phones.telegram, self.parameters.answers
        before, used = len(self._sends()), processor_s(self.world.stack)
        chats, began = self.chats(count), time.time()
        for chat in chats:
            phone.say(chat, f"w{chat} think=0 fill=0")
        sends = eventually(
            f"{count} answers",
            lambda: self._enough(before + count),
            within_s=PATIENCE_S,
        )
        accepted = asyncio.run(self._accepted(chats))
        ended = max(call.started_at for call in sends)
        self.add("messages accepted", count / (accepted - began), "/s", less=False)
        goal = Goal(15, 25)
        self.add("answers sent", count / (ended - began), "/s", goal, less=False)
        spent = {
            part: now - used.get(part, 0.0) for part, now in processor_s(self.world.stack).items()
        }
        shares = ", ".join(
            f"{part} {seconds / (time.time() - began):.2f}"
            for part, seconds in sorted(spent.items(), key=lambda item: -item[1])
        )
        self.run.note(
            f"Processor cores used while {count} wrote at once, phones left out: {shares}. Each had"
            " a chat of its own, so what binds is the machine, or 25 calls a second of one bot."
        )

    def stops(self) -> None:
        """One person stops a long answer while many others are written; then everybody does."""
        phone, count = self.world.phones.telegram, self.parameters.stops
        busy = self.chats(count)
        for chat in busy:
            phone.say(chat, f"w{chat} think=60 fill=600")
        waits: list[float] = []
        for chat in self.chats(count):
            phone.say(chat, f"w{chat} think=60 fill=600")
            waits += self._stop([chat], running=count + 1)
        self._add_stops(f"/stop to visible stop while {count} others are answered", waits)
        waits = self._stop(busy, running=count)
        self._add_stops(f"/stop to visible stop, {count} at once", waits)

    def _stop(self, chats: list[int], running: int) -> list[float]:
        """Stop in these chats once this many answers run; the seconds until each stop was seen."""
        eventually("all to be written", lambda: self._running() >= running, within_s=PATIENCE_S)
        sent_at: dict[int, float] = {}
        for chat in chats:
            sent_at[chat] = time.time()
            self.world.phones.telegram.say(chat, "/stop")
        seen = eventually("all stops", lambda: self._stopped(chats), within_s=PATIENCE_S)
        return [seen[chat] - at for chat, at in sent_at.items()]

    def _add_stops(self, name: str, waits: list[float]) -> None:
        self.add(f"{name}, p50", percentile(waits, 50), "s")
        self.add(f"{name}, p95", percentile(waits, 95), "s", Goal(1.0, 0.5))
        self.add(f"{name}, worst", max(waits), "s")

    def restart(self) -> None:
        """The courier is killed with a full queue: every message comes once, as fast as allowed."""
        chats = self.chats(20)
        phone, count = self.world.phones.telegram, self.parameters.queued_parts
        for chat in chats:
            phone.answer(chat, phone.say(chat, f"w{chat} think=0 fill=0"), within_s=PATIENCE_S)
        before = len(self._sends())
        asyncio.run(self._queue(chats, count))
        self.world.stack.kill("courier")
        began = time.time()
        sends = eventually(
            f"{count} queued parts", lambda: self._enough(before + count), within_s=PATIENCE_S
        )[before:]
        texts = Counter(str(call.parameters["text"]) for call in sends)
        copies = sum(n - 1 for text, n in texts.items() if not text.startswith(REPEAT_LABEL))
        self.add(f"copies of {count} parts queued at a courier's kill", copies, "", Goal(0, 0))
        took = max(call.started_at for call in sends) - began
        self.add("parts drained after it", count / took, "/s", less=False)
        early = sum(call.early for call in sends)
        self.add("calls inside a wait", early, "", Goal(0, 0))

    def memory(self) -> None:
        """Resident memory of each process under steady load: at the end, and its growth."""
        phone, minutes = self.world.phones.telegram, self.parameters.memory_minutes
        chats = self.chats(20)
        samples = ResidentSamples(minutes)
        began, number, rounds = time.monotonic(), 0, 0
        while (now_s := time.monotonic() - began) < minutes * 60:
            if (
                rounds % NEW_EVERY == NEW_EVERY - 1
            ):  # else transcripts grow, and with them the cost of answers
                for chat in chats:
                    phone.say(chat, "/new")
            else:
                for chat in chats:
                    number += 1
                    phone.say(chat, f"w{chat}{number:06d} think=0 fill=0")
            rounds += 1
            samples.look(now_s, resident_mib(self.world.stack))
            time.sleep(ROUND_S)
        is_judged = minutes >= JUDGED_FROM_MINUTES
        for part, taken in samples.taken.items():
            self.add(f"{part} resident at the end", taken[-1][1], "MiB")
            is_ours = part != "temporal server"  # which has caches of its own sizes
            goal = Goal(FLAT_MIB_PER_MINUTE, 0.0) if is_judged and is_ours else None
            name = f"{part} grows per minute, second half of {minutes:g} minutes"
            self.add(name, samples.growth(part), "MiB", goal)

    def _sends(self) -> list[Call]:
        return [
            call
            for call in calls_of(self.world.phones.telegram.http)
            if call.method == "sendMessage" and call.ok and "reply_markup" not in call.parameters
        ]

    def _enough(self, count: int) -> list[Call] | None:
        time.sleep(0.5)  # the list of calls is long, and reading it slows the stack
        sends = self._sends()
        return sends if len(sends) >= count else None

    def _running(self) -> int:
        return asyncio.run(self._count(models.Turn.state == "running"))

    def _stopped(self, chats: list[int]) -> dict[int, float] | None:
        wanted = set(chats)
        seen_at: dict[int, float] = {}
        for call in self._sends():
            chat = int(call.parameters["chat_id"])
            if chat in wanted and "Stopped after" in str(call.parameters.get("text")):
                seen_at.setdefault(chat, call.started_at)
        return seen_at if len(seen_at) == len(chats) else None

    def _stores(self) -> Stores:
        return open_stores(settings_url(self.world.stack))

    async def _count(self, condition: object) -> int:
        stores = self._stores()
        try:
            async with stores.database.read() as session:
                query = select(func.count()).select_from(models.Turn).where(condition)  # type: ignore[arg-type]
                return await session.scalar(query) or 0
        finally:
            await stores.close()

    async def _accepted(self, chats: list[int]) -> float:
        """When the last of these chats' messages was committed."""
        stores = self._stores()
        try:
            async with stores.database.read() as session:
                query = (
                    select(func.max(models.Inbox.received_at))
                    .join(
                        models.Conversation, models.Conversation.id == models.Inbox.conversation_id
                    )
                    .where(models.Conversation.chat.in_([str(chat) for chat in chats]))
                )
                return float(await session.scalar(query) or 0.0)
        finally:
            await stores.close()

    async def _waits(self, first_chat: int) -> tuple[list[float], list[float]]:
        """Per chat from `first_chat` on: stored → model asked, answer queued → channel called."""
        calls = {int(c.parameters["chat_id"]): c.started_at for c in self._sends()}
        stores = self._stores()
        begun, sent = [], []
        try:
            async with stores.database.read() as session:
                rows = await session.execute(
                    select(
                        models.Conversation.chat,
                        models.Turn.queued_at,
                        models.TurnStep.started_at,
                        models.Outbox.created_at,
                    )
                    .join(models.Turn, models.Turn.conversation_id == models.Conversation.id)
                    .join(models.TurnStep, models.TurnStep.turn_id == models.Turn.id)
                    .join(models.Outbox, models.Outbox.turn_id == models.Turn.id)
                )
                for chat, queued_at, started_at, created_at in rows:
                    if int(chat) >= first_chat:
                        begun.append(started_at - queued_at)
                        sent.append(calls[int(chat)] - created_at)
        finally:
            await stores.close()
        return begun, sent

    async def _queue(self, chats: list[int], count: int) -> None:
        """Queue this many messages as an operator."""
        stores = self._stores()
        try:
            for number in range(count):
                key = f"telegram:4242:{chats[number % len(chats)]}"
                talk = await stores.queries.conversation_id(key)
                assert talk is not None
                await stores.say_as_operator(talk, f"part {number}", "benchmark")
        finally:
            await stores.close()


SCENARIOS: dict[str, Callable[[Load], None]] = {
    "calm": Load.calm,
    "flood": Load.flood,
    "stops": Load.stops,
    "restart": Load.restart,
    "memory": Load.memory,
}
