"""People of a simulation: they write, and answer what they are asked: soon, late, twice, never, or
though nobody asked them.
"""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from roost_channels.message import CARD_BUTTON
from roost_channels.testing.telegram import FakeTelegram
from roost_channels.testing.twilio import FakeTwilio
from roost_platform.chaos.sim.plan import BOT, GROUP, Plan, Says
from roost_platform.chaos.sim.storage import MortalDatabase
from roost_platform.db import models

LOOK_S = 0.7
TRIES_MAX = 40  # looks at a screen that does not show the card yet
AGAIN_S = 0.15  # between two presses of one button
AGAIN_AFTER_S = 20.0
SCHEDULES_END_S = 110.0  # then people delete what comes again and again

STRANGER = 9
NAMES = {7: "Ada", 8: "Bo", STRANGER: "Eve"}  # in a group
STOPS = ("/stop", "/new")

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
_ROOT = func.coalesce(models.Conversation.root_id, models.Conversation.id)
_CHAT = aliased(models.Conversation)
_WAITING = (
    select(models.ToolCall.turn_id, models.ToolCall.step, models.ToolCall.call_id, _CHAT.chat)
    .join(models.Turn, models.Turn.id == models.ToolCall.turn_id)
    .join(models.Conversation, models.Conversation.id == models.Turn.conversation_id)
    .join(_CHAT, _CHAT.id == _ROOT)
    .where(models.ToolCall.state == "waiting", _CHAT.kind == "chat")
    .order_by(models.ToolCall.turn_id, models.ToolCall.step, models.ToolCall.call_id)
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
    """Everybody who writes or is asked something."""

    def __init__(
        self, plan: Plan, database: MortalDatabase, telegram: FakeTelegram, twilio: FakeTwilio
    ) -> None:
        self._plan = plan
        self._habits = plan.habits
        self._rng = random.Random(f"people of {plan.seed}")
        self._database = database
        self._telegram = telegram
        self._twilio = twilio
        self._seen: set[tuple[str, int]] = set()
        self._stopped: set[tuple[str, int, str]] = set()  # waits for which a stop was drawn
        # Buttons that were on a screen: message and data by chat, the newest last.
        self._shown: dict[str, dict[tuple[int, str], None]] = {}
        self._busy: set[asyncio.Task[None]] = set()

    async def write(self) -> None:
        """Write what the plan says, each at its time."""
        for says in self._plan.says:
            wait = says.at - asyncio.get_running_loop().time()
            if wait > 0:
                await asyncio.sleep(wait)
            await self._says(says)

    async def _says(self, says: Says) -> None:
        if says.chat.startswith("whatsapp:"):
            if says.trouble:
                self._twilio.fault(says.trouble, "inbound")
            await self._twilio.user_says(says.chat, says.text, wait=False)
            return
        if says.trouble:
            self._telegram.fault(says.trouble, "message")
        name = NAMES.get(says.by, "Ada")
        await self._telegram.user_says(
            int(says.chat), says.text, user_id=says.by or None, first_name=name
        )

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
            self._go(self._decide(Open(nonce, kind, options, chat)))
        if self._habits.stops:
            await self._draw_stops()

    async def _draw_stops(self) -> None:
        """End some waits by a command, each kind at any moment of it."""
        async with self._database.read() as session:
            waits = (await session.execute(_WAITING, {})).all()
        for turn_id, step, call_id, chat in waits:
            if (turn_id, step, call_id) not in self._stopped:
                self._stopped.add((turn_id, step, call_id))
                if self._rng.random() < self._habits.stops:
                    self._go(self._stop(chat))

    async def _stop(self, chat: str) -> None:
        await asyncio.sleep(self._rng.choice((0.0, 0.4, 3.0)))
        await self._write(chat, self._rng.choice(STOPS))

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _decide(self, asked: Open) -> None:
        await asyncio.sleep(self._rng.uniform(0.0, self._habits.delay_s))
        if self._rng.random() < self._habits.strangers:
            await self._meddle(asked)
        agrees = self._rng.random() < self._habits.agrees
        twice = self._rng.random() < self._habits.doubles
        for _ in range(TRIES_MAX):
            if await self._press(asked, agrees=agrees):
                break
            await asyncio.sleep(LOOK_S)
        if twice:
            await asyncio.sleep(AGAIN_S)
            await self._press(asked, agrees=self._rng.random() < 0.5)
        if self._rng.random() < self._habits.stale:
            await asyncio.sleep(self._rng.choice((0.5, 5.0)))
            await self._press_old(asked)

    async def _meddle(self, asked: Open) -> None:
        """Somebody who was not asked says yes by the buttons; in a group some also in words, which
        the other one was asked for.
        """
        for _ in range(TRIES_MAX):
            if await self._press(asked, agrees=True, users=(STRANGER,)):
                break
            await asyncio.sleep(LOOK_S)
        if asked.chat == GROUP:
            for message_id, buttons in self._cards(asked.chat):
                if any(one.startswith(f"{CARD_BUTTON}{asked.nonce}:") for one in buttons):
                    words = self._rng.choice(("yes", "1", "red"))
                    who = self._rng.choice((7, 8))
                    await self._telegram.user_says(
                        *(int(GROUP), words),
                        user_id=who,
                        first_name=NAMES[who],
                        reply_to=int(message_id),
                    )

    async def _press_old(self, asked: Open) -> None:
        """Press every button that the question ever had, as a phone can that saw no edit."""
        if asked.chat.startswith("whatsapp:"):
            await self._press(asked, agrees=True)  # what was sent there stays
            return
        for message_id, data in list(self._shown.get(asked.chat, {})):
            if data.startswith(f"{CARD_BUTTON}{asked.nonce}:"):
                user_id = self._rng.choice((7, 8, STRANGER)) if asked.chat == GROUP else None
                await self._telegram.press(
                    *(int(asked.chat), message_id, data), user_id=user_id, is_old=True
                )

    async def _press(self, asked: Open, *, agrees: bool, users: Sequence[int] = ()) -> bool:
        """Press a button of the card, or write where it has none; whether that could be done.

        users: who presses; by default everybody who was asked and, in a group, somebody else too.
        """
        who: Sequence[int | None] = users or (None,)
        if asked.chat == GROUP and not users:
            who = self._rng.sample((7, 8), 2)
        if asked.kind != "approve" and not asked.options:
            if not users:
                for user_id in who:
                    await self._write(asked.chat, "as you like", user_id)
            return True
        wanted = f"{CARD_BUTTON}{asked.nonce}:"
        for message_id, buttons in self._cards(asked.chat):
            data = [one for one in buttons if one.startswith(wanted)]
            if not data:
                continue
            choice = data[0 if agrees else min(1, len(data) - 1)]
            if asked.chat.startswith("whatsapp:"):
                if not users:
                    await self._twilio.press(asked.chat, message_id, choice, wait=False)
                return True
            for user_id in who:
                await self._telegram.press(
                    int(asked.chat), int(message_id), choice, user_id=user_id
                )
            return True
        return False

    def _cards(self, chat: str) -> list[tuple[str, list[str]]]:
        """The ids of messages with buttons, and the data of these; the newest first."""
        if chat.startswith("whatsapp:"):
            shown = self._twilio.screen_json(chat)["messages"]
            cards = [
                (str(one["sid"]), [str(button["id"]) for button in one["buttons"]]) for one in shown
            ]
        else:
            shown = self._telegram.screen_json(int(chat))["messages"]
            cards = [
                (str(one["message_id"]), [str(button["data"]) for button in one["buttons"]])
                for one in shown
            ]
            for message_id, buttons in cards:
                for data in buttons:
                    self._shown.setdefault(chat, {})[int(message_id), data] = None
        return [card for card in reversed(cards) if card[1]]

    async def _write(self, chat: str, text: str, user_id: int | None = None) -> None:
        """Write in a chat; in a group to the bot."""
        if chat.startswith("whatsapp:"):
            await self._twilio.user_says(chat, text, wait=False)
        elif chat == GROUP:
            who = user_id or 7
            for_bot = f"{text}@{BOT}" if text.startswith("/") else f"@{BOT} {text}"
            head, _, rest = text.partition(" ")
            if rest and text.startswith("/"):
                for_bot = f"{head}@{BOT} {rest}"
            await self._telegram.user_says(int(chat), for_bot, user_id=who, first_name=NAMES[who])
        else:
            await self._telegram.user_says(int(chat), text)

    async def end_schedules(self) -> None:
        """Delete by command what comes again and again."""
        async with self._database.read() as session:
            rows = (await session.execute(_AGAIN, {})).all()
        for id, chat in rows:
            for user_id in (7, 8) if chat == GROUP else (None,):  # whose it is, and somebody else
                await self._write(chat, f"/schedules delete {id[-6:]}", user_id)
