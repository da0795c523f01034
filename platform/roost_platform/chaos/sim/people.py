"""People of a simulation who answer what they are asked: soon, late, twice, or never."""

import asyncio
import random
from dataclasses import dataclass

from sqlalchemy import select

from roost_channels.message import CARD_BUTTON
from roost_channels.testing.telegram import FakeTelegram
from roost_channels.testing.twilio import FakeTwilio
from roost_platform.chaos.sim.plan import Plan
from roost_platform.chaos.sim.storage import MortalDatabase
from roost_platform.db import models

LOOK_S = 0.7
TRIES_MAX = 40  # looks at a screen that does not show the card yet
AGAIN_S = 0.15  # between two presses of one button
AGAIN_AFTER_S = 20.0
SCHEDULES_END_S = 110.0  # then people delete what comes again and again

_OPEN = (
    select(
        models.Approval.id,
        models.Approval.nonce,
        models.Approval.kind,
        models.Approval.questions,
        models.Approval.answers,
        models.Conversation.chat,
    )
    .join(models.Conversation, models.Conversation.id == models.Approval.chat_id)
    .where(models.Approval.state == "pending")
    .order_by(models.Approval.created_at, models.Approval.id)
)
_AGAIN = (
    select(models.Schedule.id, models.Conversation.chat)
    .join(models.Conversation, models.Conversation.id == models.Schedule.conversation_id)
    .where(models.Schedule.state == "active")
    .order_by(models.Schedule.created_at)
)


@dataclass(frozen=True, slots=True)
class Open:
    """A question that waits for somebody in a chat."""

    nonce: str
    kind: str
    options: tuple[str, ...]
    chat: str


class People:
    """Everybody who is asked something."""

    def __init__(
        self, plan: Plan, database: MortalDatabase, telegram: FakeTelegram, twilio: FakeTwilio
    ) -> None:
        self._habits = plan.habits
        self._rng = random.Random(f"people of {plan.seed}")
        self._database = database
        self._telegram = telegram
        self._twilio = twilio
        self._seen: set[tuple[str, int]] = set()
        self._busy: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Look for questions for ever."""
        ended = 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._look()
                if asyncio.get_running_loop().time() > ended + SCHEDULES_END_S:
                    ended += AGAIN_AFTER_S
                    await self.end_schedules()
            except Exception:
                continue  # the database is away

    async def _look(self) -> None:
        async with self._database.read() as session:
            rows = (await session.execute(_OPEN, {})).all()
        for id, nonce, kind, asked, answers, chat in rows:
            if (id, len(answers)) in self._seen:
                continue
            self._seen.add((id, len(answers)))
            if self._rng.random() > self._habits.decides:
                continue  # never: the time runs out
            options = tuple(asked[len(answers)]["options"]) if asked else ()
            task = asyncio.create_task(self._decide(Open(nonce, kind, options, chat)))
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)

    async def _decide(self, asked: Open) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, self._habits.delay_s))
        agrees = self._rng.random() < self._habits.agrees
        twice = self._rng.random() < self._habits.doubles
        for _ in range(TRIES_MAX):
            if await self._press(asked, agrees=agrees):
                break
            await asyncio.sleep(LOOK_S)
        if twice:
            await asyncio.sleep(AGAIN_S)
            await self._press(asked, agrees=self._rng.random() < 0.5)

    async def _press(self, asked: Open, *, agrees: bool) -> bool:
        """Press a button of the card, or write where it has none; whether that could be done."""
        is_telegram = asked.chat.isdigit()
        if asked.kind != "approve" and not asked.options:
            await self._write(asked.chat, "as you like")
            return True
        wanted = f"{CARD_BUTTON}{asked.nonce}:"
        for message_id, buttons in self._cards(asked.chat):
            data = [one for one in buttons if one.startswith(wanted)]
            if not data:
                continue
            choice = data[0 if agrees else min(1, len(data) - 1)]
            if is_telegram:
                await self._telegram.press(int(asked.chat), int(message_id), choice)
            else:
                await self._twilio.press(asked.chat, message_id, choice, wait=False)
            return True
        return False

    def _cards(self, chat: str) -> list[tuple[str, list[str]]]:
        """The ids of messages with buttons, and the data of these; the newest first."""
        if chat.isdigit():
            shown = self._telegram.screen_json(int(chat))["messages"]
            cards = [
                (str(one["message_id"]), [str(button["data"]) for button in one["buttons"]])
                for one in shown
            ]
        else:
            shown = self._twilio.screen_json(chat)["messages"]
            cards = [
                (str(one["sid"]), [str(button["id"]) for button in one["buttons"]]) for one in shown
            ]
        return [card for card in reversed(cards) if card[1]]

    async def _write(self, chat: str, text: str) -> None:
        if chat.isdigit():
            await self._telegram.user_says(int(chat), text)
        else:
            await self._twilio.user_says(chat, text, wait=False)

    async def end_schedules(self) -> None:
        """Delete by command what comes again and again."""
        async with self._database.read() as session:
            rows = (await session.execute(_AGAIN, {})).all()
        for id, chat in rows:
            await self._write(chat, f"/schedules delete {id[-6:]}")
