"""Ends the delivery of answers that the person wants no more of: what is in flight still settles.

A stop drops every part that has not begun to leave, in the transaction that records the stop. A
part in flight then ends as sent, failed or dropped; it is never tried again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import and_, bindparam, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.commands import undelivered_line
from roost_platform.db import models
from roost_platform.db.turns.transcript import append

# A part in one of these states may reach the person, or has.
UNDER_WAY: Final = ("sending", "sent", "ambiguous")
IN_FLIGHT: Final = ("sending", "ambiguous")
# A final message without an answer is dropped if it is longer: a short one only says how the turn
# ended, as the confirmation of a stop does.
FINAL_CHARS_MAX = 1000
SEEN_SHOWN_MAX = 80  # characters told to the agent of where the person stopped reading
BEGUN = and_(models.Part.outbox_id == models.Outbox.id, models.Part.state.in_(UNDER_WAY))
_UNSENT = and_(
    models.Part.outbox_id == models.Outbox.id, models.Part.state.in_(("planned", "not_sent"))
)
_PLANNED = models.Part.outbox_id == models.Outbox.id

# Every stop runs this, and nearly always finds nothing.
_DROPPABLE = (
    select(models.Outbox)
    .where(
        models.Outbox.conversation_id == bindparam("id"),
        models.Outbox.state == "pending",
        models.Outbox.dropped_at.is_(None),
        models.Outbox.turn_id.is_not(None),  # an operator's own words stay
        or_(
            models.Outbox.kind == "answer",
            and_(
                models.Outbox.kind.in_(("notice", "error")),
                func.length(models.Outbox.text) > FINAL_CHARS_MAX,
            ),
        ),
        or_(exists().where(_UNSENT), ~exists().where(_PLANNED)),
    )
    .order_by(models.Outbox.sequence)
)
_PARTS = (
    select(models.Part)
    .where(models.Part.outbox_id.in_(bindparam("ids", expanding=True)))
    .order_by(models.Part.outbox_id, models.Part.position)
    .execution_options(populate_existing=True)
)
# Nobody is asked any more to write, so that nothing can be sent.
_HELD = exists().where(models.Part.conversation_id == bindparam("of"), models.Part.held)
_CANCEL_INVITATION = (
    update(models.Outbox)
    .where(
        models.Outbox.conversation_id == bindparam("of"),
        models.Outbox.kind == "invitation",
        models.Outbox.state == "pending",
        ~exists().where(BEGUN),
        ~_HELD,
    )
    .values(state="cancelled", finished_at=bindparam("now"))
    .execution_options(synchronize_session=False)
)


@dataclass(frozen=True, slots=True)
class Undelivered:
    """What a stop left of messages that were being delivered.

    sent: parts that were sent or are in flight, of `parts` in all. unplanned: messages of which
    nothing had begun. ids: the messages.
    """

    sent: int = 0
    parts: int = 0
    unplanned: int = 0
    ids: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The sentence for people; empty where nothing was dropped."""
        return undelivered_line(self.sent, self.parts, self.unplanned) if self.ids else ""


NOTHING: Final = Undelivered()


async def drop_undelivered(
    session: AsyncSession,
    conversation: models.Conversation,
    now: float,
    *,
    turn_id: str = "",
    only_begun: bool = False,
) -> Undelivered:
    """Drop what has not begun to leave of the agent's messages; the conversation is locked.

    turn_id: only the messages of this turn, empty for all. only_begun: only messages of which the
    person has seen a part. The agent reads in its transcript what the person saw.
    """
    query = _DROPPABLE.where(models.Outbox.turn_id == turn_id) if turn_id else _DROPPABLE
    if only_begun:
        query = query.where(exists().where(BEGUN))
    locked = query.with_for_update().execution_options(populate_existing=True)
    entries = (await session.scalars(locked, {"id": conversation.id})).all()
    if not entries:
        return NOTHING
    parts = await _parts_of(session, entries)
    had_held = any(part.held for one in parts.values() for part in one)
    for entry in entries:
        entry.dropped_at = now
        for part in parts[entry.id]:
            if part.state not in (*UNDER_WAY, "failed"):
                drop_part(part)
        if not any(part.state in IN_FLIGHT for part in parts[entry.id]):
            entry.state, entry.finished_at = "cancelled", now
        await _tell_agent(session, conversation, entry, parts[entry.id], now)
    await session.flush()
    if had_held:
        await session.execute(_CANCEL_INVITATION, {"of": conversation.id, "now": now})
    return _count(entries, parts)


async def is_droppable(session: AsyncSession, conversation_id: str) -> bool:
    """Whether a stop would end the delivery of something."""
    return await session.scalar(_DROPPABLE.limit(1), {"id": conversation_id}) is not None


def drop_part(part: models.Part) -> None:
    """Record that a part is not sent any more."""
    part.state, part.held, part.lease_until = "dropped", False, None


async def remember_notice(
    session: AsyncSession, undelivered: Undelivered, notice_id: str, head: str, tail: str
) -> None:
    """Remember which message tells how much was sent: parts in flight may still correct it.

    head: the word before the figure; tail: the words after it.
    """
    notice = await session.get_one(models.Outbox, notice_id)
    notice.drop_words = {"head": head, "tail": tail}
    for entry_id in undelivered.ids:
        entry = await session.get_one(models.Outbox, entry_id)
        entry.drop_notice_id = notice_id


def notice_text(undelivered: Undelivered, head: str, tail: str) -> str:
    """`Stopped: 4 of 16 parts were sent.` and what else there is to say."""
    return f"{head}: {undelivered.line} {tail}".strip()


async def correct_notice(session: AsyncSession, entry: models.Outbox) -> None:
    """Bring the notice up to date once nothing of the message is in flight any more.

    The notice follows the message in its lane, so it has not left. The message is locked; its
    notice, which comes later in the lane, is locked after it.
    """
    if entry.drop_notice_id is None:
        return
    await session.flush()
    notice = await session.get_one(models.Outbox, entry.drop_notice_id, with_for_update=True)
    dropped = await session.scalars(
        select(models.Outbox).where(
            models.Outbox.conversation_id == entry.conversation_id,
            models.Outbox.drop_notice_id == notice.id,
        )
    )
    entries = dropped.all()
    count = _count(entries, await _parts_of(session, entries))
    words = notice.drop_words or {}
    if notice.state == "pending":
        notice.text = notice_text(count, str(words.get("head")), str(words.get("tail")))


async def _parts_of(
    session: AsyncSession, entries: Sequence[models.Outbox]
) -> dict[str, list[models.Part]]:
    parts: dict[str, list[models.Part]] = {entry.id: [] for entry in entries}
    for part in await session.scalars(_PARTS, {"ids": list(parts)}):
        parts[part.outbox_id].append(part)
    return parts


def _count(entries: Sequence[models.Outbox], parts: dict[str, list[models.Part]]) -> Undelivered:
    every = [part for one in parts.values() for part in one]
    return Undelivered(
        sent=sum(part.state in UNDER_WAY for part in every),
        parts=len(every),
        unplanned=sum(not one for one in parts.values()),
        ids=tuple(entry.id for entry in entries),
    )


async def _tell_agent(
    session: AsyncSession,
    conversation: models.Conversation,
    entry: models.Outbox,
    parts: Sequence[models.Part],
    now: float,
) -> None:
    """Append to the transcript what the person saw, unless another session has begun since."""
    turn = await session.get(models.Turn, entry.turn_id)
    if turn is None or turn.session_id != conversation.session_id:
        return
    chat_session = await session.get_one(models.Session, turn.session_id)
    note = models.Transcript(
        turn_id=None, role="system", content=_seen(entry, parts), created_at=now
    )
    await append(session, chat_session, [note])


def _seen(entry: models.Outbox, parts: Sequence[models.Part]) -> str:
    answer = f"your answer that begins {_quoted(entry.text, end=False)}"
    seen = [part for part in parts if part.state in UNDER_WAY]
    if not seen:
        return f"The delivery of {answer} was stopped before it began: the user has not seen it."
    last = _quoted(str(seen[-1].rendered["text"]), end=True)
    count = f"{len(seen)} of {len(parts)} parts"
    told = f"The delivery of {answer} was stopped: the user was sent {count}"
    doubt = "; the last of them was still on its way" if seen[-1].state in IN_FLIGHT else ""
    return f"{told}, up to {last}{doubt}. They have not seen the rest."


def _quoted(text: str, *, end: bool) -> str:
    words = " ".join(text.split())
    if len(words) > SEEN_SHOWN_MAX:
        words = f"…{words[-SEEN_SHOWN_MAX:]}" if end else f"{words[:SEEN_SHOWN_MAX]}…"
    return f"\u201c{words}\u201d"
