"""Read what happened from the database, the phones' screens and the calls to providers."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.prompt import build_messages
from roost_channels.message import CARD_BUTTON
from roost_channels.testing.loopback import Call
from roost_platform.chaos.calls import (
    STOP_DATA,
    Span,
    early,
    finals,
    removed,
    status_edits,
    unknowable,
)
from roost_platform.chaos.record import AcceptedMessage, Record, Shown, words
from roost_platform.chaos.waits.facts import read_waits
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.enqueue import CUT_NOTICE, OUTBOX_TEXT_MAX
from roost_platform.db.turns.transcript import message_of
from roost_workflows.ports import TranscriptMessage

Screen = Mapping[str, Any]
STOPS = ("/stop", "/new")


@dataclass(slots=True)
class Sources:
    """Where a record comes from.

    written: what people wrote, as chat and word. fills: how many numbered words each answer adds.
    screens: each chat as its phone shows it. deaths: when couriers died, by the fakes' clock.
    effects: keys of calls that took effect outside, in order. away: when the database was, by the
        fakes' clock. set_back_s: by how much that clock was set back in all; times of calls then
        say nothing about their order. is_one_courier: else no courier knows of every wait that
        a provider asked for, nor of every message that was sent.
    """

    written: Sequence[tuple[str, str]]
    fills: Mapping[str, int]
    telegram: Mapping[str, Screen]
    whatsapp: Mapping[str, Screen]
    telegram_calls: Sequence[Call]
    twilio_calls: Sequence[Call]
    deaths: Sequence[float] = field(default_factory=tuple)
    effects: Sequence[str] = field(default_factory=tuple)
    away: Sequence[Span] = field(default_factory=tuple)
    set_back_s: float = 0.0
    is_one_courier: bool = True


# These run again and again until nothing is left, so they are made once.
_UNDELIVERED = select(models.Outbox.text).where(models.Outbox.state == "pending")
_UNANSWERED = select(models.Inbox.text).where(models.Inbox.state.in_(("pending", "taken")))
_ACCEPTED = select(models.Inbox.text)
_RUNNING = select(models.Turn.id).where(models.Turn.state == "running")
# Also of those whose send had an unknown outcome: they are looked for after the end of the turn.
_SHOWN = select(models.StatusMessageRow.turn_id).where(models.StatusMessageRow.state != "closed")


async def unfinished(database: Database, written: Sequence[tuple[str, str]]) -> list[str]:
    """Everything that is still unfinished, in words."""
    async with database.read() as session:
        pending = await session.scalars(_UNDELIVERED, {})
        left = [f"not delivered: {text[:60]!r}" for text in pending]
        waiting = await session.scalars(_UNANSWERED, {})
        left += [f"not answered: {text!r}" for text in waiting]
        texts = await session.scalars(_ACCEPTED, {})
        accepted = {word for text in texts for word in words(text)[:1]}
        left += [f"not accepted: {word}" for _, word in written if word not in accepted]
        running = await session.scalars(_RUNNING, {})
        left += [f"turn {turn_id} runs" for turn_id in running]
        shown = await session.scalars(_SHOWN, {})
        left += [f"status of turn {turn_id} is not closed" for turn_id in shown]
    return left


async def sent_parts(database: Database) -> int:
    """How many parts of messages the networks took."""
    async with database.read() as session:
        taken = select(func.count()).select_from(models.Part).where(models.Part.state == "sent")
        return await session.scalar(taken) or 0


async def read(database: Database, sources: Sources) -> Record:
    """The record of a run."""
    record = Record(sent=[AcceptedMessage(chat, word, 0) for chat, word in sources.written])
    async with database.read() as session:
        record.taken |= await _taken(session)
        record.accepted += await _accepted_messages(session, sources.fills, record.taken)
        record.waits = await read_waits(session, sources.effects)
        failed = await session.scalars(
            select(models.Outbox.text).where(models.Outbox.state == "failed")
        )
        record.stuck += [f"dead letter: {text[:60]!r}" for text in failed]
        record.stuck += await _dropped_without_a_word(session)
        record.transcripts = await _transcripts(session)
        answers = (
            await session.execute(
                select(models.Outbox.text, models.Outbox.turn_id, models.Conversation.chat)
                .join(models.Conversation, models.Conversation.id == models.Outbox.conversation_id)
                .where(models.Outbox.turn_id.is_not(None))
            )
        ).all()
    if not sources.set_back_s:
        if sources.is_one_courier:
            record.early += early(sources.telegram_calls, sources.deaths)
            record.early += early(sources.twilio_calls, sources.deaths)
        record.finals += finals(answers, sources.telegram_calls)
    record.removed += removed(sources.telegram_calls)
    record.status_edits += status_edits(sources.telegram_calls)
    record.unknowable |= unknowable(
        sources.telegram_calls, sources.deaths, sources.away, sources.set_back_s
    )
    for chat, screen in sources.telegram.items():
        record.shown += _telegram(chat, screen)
        record.waits.live_cards += _live_cards(chat, screen)
    for chat, screen in sources.whatsapp.items():
        record.shown += _whatsapp(chat, screen)
    return record


async def _dropped_without_a_word(session: AsyncSession) -> list[str]:
    """Answers that were dropped although the person was not told how much of them was sent."""
    dropped = await session.execute(
        select(models.Outbox.id, models.Outbox.drop_notice_id).where(
            models.Outbox.dropped_at.is_not(None)
        )
    )
    sent = set(await session.scalars(select(models.Outbox.id).where(models.Outbox.state == "sent")))
    return [f"dropped without a word: {id}" for id, notice_id in dropped if notice_id not in sent]


async def _taken(session: AsyncSession) -> set[str]:
    """The words of messages that answered a question of ours, or got a notice for an answer."""
    taken: set[str] = set()
    for answers in await session.scalars(select(models.Approval.answers)):
        taken.update(word for text in answers for word in words(text)[:1])
    told = set(
        await session.scalars(
            select(models.Outbox.dedupe_key).where(models.Outbox.dedupe_key.startswith("inbox:"))
        )
    )
    for id, text in await session.execute(select(models.Inbox.id, models.Inbox.text)):
        if f"inbox:{id}" in told:
            taken.update(words(text)[:1])
    return taken


async def _accepted_messages(
    session: AsyncSession, fills: Mapping[str, int], taken: Set[str]
) -> list[AcceptedMessage]:
    """Accepted questions; those before a stop of their chat are excused from a whole answer."""
    rows = await session.execute(
        select(
            models.Inbox.text,
            models.Inbox.sequence,
            models.Conversation.chat,
            models.Inbox.turn_id,
        )
        .join(models.Conversation, models.Conversation.id == models.Inbox.conversation_id)
        .order_by(models.Inbox.sequence)
    )
    messages = [(text, place, chat, turn_id) for text, place, chat, turn_id in rows]
    stops: dict[str, int] = {
        chat: place for text, place, chat, _ in messages if text.partition("@")[0] in STOPS
    }
    kept = await _kept_of_cut(session)
    accepted: list[AcceptedMessage] = []
    for text, place, chat, turn_id in messages:
        for word in words(text)[:1]:
            if word in taken:
                continue
            message = AcceptedMessage(
                chat, word, place, fills.get(word, 0), place < stops.get(chat, -1)
            )
            if turn_id in kept:
                message = replace(message, cut=frozenset(message.answer_words) - kept[turn_id])
            accepted.append(message)
    return accepted


async def _kept_of_cut(session: AsyncSession) -> Mapping[str | None, Set[str]]:
    """The words that are left of answers that were too long for a message, by turn."""
    cut = await session.execute(
        select(models.Outbox.turn_id, models.Outbox.text).where(
            models.Outbox.turn_id.is_not(None),
            models.Outbox.kind == "answer",
            func.length(models.Outbox.text) == OUTBOX_TEXT_MAX,
        )
    )
    return {id: frozenset(words(text)) for id, text in cut if text.endswith(CUT_NOTICE)}


async def _transcripts(session: AsyncSession) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Each session's messages as a server is sent them."""
    rows = await session.scalars(
        select(models.Transcript).order_by(models.Transcript.session_id, models.Transcript.position)
    )
    talks: dict[str, list[TranscriptMessage]] = {}
    for row in rows:
        talks.setdefault(row.session_id, []).append(message_of(row))
    return {id: build_messages("", messages)[1:] for id, messages in talks.items()}


def _telegram(chat: str, screen: Screen) -> Iterator[Shown]:
    for message in screen["messages"]:
        if message["from"] == "bot":
            buttons = [str(button["data"]) for button in message["buttons"]]
            is_status = any(data.startswith(STOP_DATA) for data in buttons)
            place = int(message["message_id"])
            yield Shown(chat, str(place), place, message["text"], is_status)


def _live_cards(chat: str, screen: Screen) -> Iterator[tuple[str, str]]:
    for message in screen["messages"]:
        if any(str(button["data"]).startswith(CARD_BUTTON) for button in message["buttons"]):
            yield chat, str(message["message_id"])


def _whatsapp(chat: str, screen: Screen) -> Iterator[Shown]:
    for place, message in enumerate(screen["messages"]):
        if message["from"] == "bot":
            yield Shown(chat, message["sid"], place, message["body"])
