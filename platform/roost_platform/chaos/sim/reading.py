"""What a simulated world holds at the end, as a record for the invariants."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from sqlalchemy import select

from roost_channels.testing.loopback import Call
from roost_channels.testing.telegram import FakeTelegram
from roost_channels.testing.twilio import FakeTwilio
from roost_platform.chaos.calls import STOP_DATA, early, status_edits, unknowable
from roost_platform.chaos.record import (
    Asked,
    Final,
    Record,
    Removed,
    Shown,
    words,
)
from roost_platform.chaos.sim.plan import Plan, Says
from roost_platform.chaos.sim.temporal import SimTemporal
from roost_platform.db import models
from roost_platform.db.engine import Database


async def unfinished(plan: Plan, database: Database, temporal: SimTemporal) -> list[str]:
    """Everything that is still to be done, in words."""
    async with database.read() as session:
        outbox = await session.scalars(
            select(models.Outbox.text).where(models.Outbox.state == "pending")
        )
        left = [f"not delivered: {text[:60]!r}" for text in outbox]
        inbox = await session.scalars(
            select(models.Inbox.text).where(models.Inbox.state.in_(("pending", "taken")))
        )
        left += [f"not answered: {text!r}" for text in inbox]
        accepted = set((await session.scalars(select(models.Inbox.text))).all())
        left += [f"not accepted: {says.text!r}" for says in promised(plan, accepted)]
        turns = await session.scalars(select(models.Turn.id).where(models.Turn.state == "running"))
        left += [f"turn {turn} runs" for turn in turns]
        statuses = await session.scalars(
            select(models.StatusMessageRow.turn_id).where(models.StatusMessageRow.state == "open")
        )
        left += [f"status of turn {turn} is open" for turn in statuses]
    left += [f"session {conversation} is open" for conversation in temporal.open]
    return left


def promised(plan: Plan, accepted: Set[str]) -> list[Says]:
    """What was written and is not there: Telegram delivers for a day, Twilio tries a few times."""
    return [
        says
        for says in plan.says
        if not says.chat.startswith("whatsapp:") and says.text not in accepted
    ]


async def read(
    plan: Plan,
    database: Database,
    telegram: FakeTelegram,
    twilio: FakeTwilio,
    deaths: Sequence[float],
) -> Record:
    """The record of a schedule. deaths: when couriers died, by the fakes' clock."""
    record = Record()
    fills = {says.word: says.fill for says in plan.says}
    async with database.read() as session:
        rows = (
            await session.execute(
                select(models.Inbox, models.Conversation)
                .join(models.Conversation, models.Conversation.id == models.Inbox.conversation_id)
                .order_by(models.Inbox.sequence)
            )
        ).all()
        record.asked += asked(((row.text, row.sequence, talk.chat) for row, talk in rows), fills)
        failed = await session.scalars(
            select(models.Outbox.text).where(models.Outbox.state == "failed")
        )
        record.stuck += [f"dead letter: {text[:60]!r}" for text in failed]
        record.transcripts = await _transcripts(session)
        finals = (
            await session.execute(
                select(models.Outbox.text, models.Outbox.turn_id, models.Conversation.chat)
                .join(models.Conversation, models.Conversation.id == models.Outbox.conversation_id)
                .where(models.Outbox.turn_id.is_not(None))
            )
        ).all()
    record.sent = [
        Asked(says.chat, says.word, 0)
        for says in plan.says
        if not says.stop and not says.chat.startswith("whatsapp:")
    ]
    record.early += early(telegram.calls, deaths)
    record.early += early(twilio.calls, deaths)
    record.finals += _finals(finals, telegram.calls)
    record.unknowable |= unknowable(telegram.calls, deaths)
    for chat in plan.chats:
        if chat.startswith("whatsapp:"):
            record.shown += _whatsapp(chat, twilio)
        else:
            record.shown += _telegram(chat, telegram)
    record.removed += _removed(telegram)
    record.status_edits += status_edits(telegram.calls)
    return record


def asked(rows: Iterator[tuple[str, int, str]], fills: Mapping[str, int]) -> Iterator[Asked]:
    """Accepted questions; those before a stop of their chat are excused from a whole answer."""
    found = list(rows)
    for text, place, chat in found:
        stopped = any(
            other == "/stop" and where == chat and at > place for other, at, where in found
        )
        for word in words(text)[:1]:
            yield Asked(chat, word, place, fills.get(word, 0), stopped)


async def _transcripts(session: Any) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    rows = await session.scalars(
        select(models.Transcript).order_by(models.Transcript.session_id, models.Transcript.position)
    )
    talks: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        message = {
            "role": row.role,
            "content": row.content,
            "note": row.note,
            "tool_calls": row.tool_calls,
            "tool_call_id": row.tool_call_id,
        }
        talks.setdefault(row.session_id, []).append(message)
    return talks


def _telegram(chat: str, fake: FakeTelegram) -> Iterator[Shown]:
    for message in fake.visible(int(chat)):
        if message.sender == "bot":
            is_status = any(button.data.startswith(STOP_DATA) for button in message.buttons)
            place = message.message_id
            yield Shown(chat, str(place), place, message.text, is_status)


def _whatsapp(chat: str, fake: FakeTwilio) -> Iterator[Shown]:
    for place, message in enumerate(fake.visible(chat)):
        if message.sender == "bot":
            yield Shown(chat, message.sid, place, message.body)


def _removed(fake: FakeTelegram) -> Iterator[Removed]:
    for chat in fake.core.world.chats.values():
        for message in chat.messages.values():
            if not message.exists and message.sender.is_bot:
                yield Removed(str(chat.id), str(message.message_id), message.formatted.text)


def _finals(answers: Sequence[Any], calls: Sequence[Call]) -> Iterator[Final]:
    """When the first part of each turn's last word, (text, turn, chat), reached Telegram."""
    sends = [call for call in calls if call.method == "sendMessage" and call.ok]
    for text, turn_id, chat in answers:
        heads = words(text)[:1]
        for call in sends:
            named = words(str(call.parameters.get("text", "")))[:1]
            if heads and named == heads and str(call.parameters.get("chat_id")) == chat:
                yield Final(chat, turn_id, call.started_at)
                break
