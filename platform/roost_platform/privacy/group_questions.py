"""What a person was asked in chats of others, and said there: taken out with their words."""

from typing import Final

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.waits.deciding import DELIVERY, decide
from roost_platform.privacy.groups import GONE, NAME_GONE

PREFIXES: Final = ("approval", "reminder", "held", "details", "prompt")


async def take_out_questions(
    session: AsyncSession, conversation_id: str, identity_id: str, now: float
) -> list[str]:
    """Empty the questions that the person caused or decided; the conversations to ring, because
    nobody is left to answer. The conversation is locked.
    """
    rows = await session.scalars(
        select(models.Approval).where(
            models.Approval.chat_id == conversation_id,
            or_(
                models.Approval.requester_id == identity_id,
                models.Approval.decided_by == identity_id,
            ),
        )
    )
    rung = []
    for row in rows.all():
        if row.state == "pending":
            rung.append(await decide(session, row, "unreachable", DELIVERY, now))
        await _empty_messages(session, row)
        row.arguments, row.preview, row.reason = "", GONE, ""
        row.questions = [{**one, "text": GONE, "options": []} for one in row.questions]
        row.answers = [GONE for _ in row.answers]
        if row.requester_id == identity_id:
            row.requester_id = ""
        if row.decided_by == identity_id:
            row.decided_by, row.decided_name = "", NAME_GONE
    await session.flush()
    return [conversation for conversation in rung if conversation is not None]


async def _empty_messages(session: AsyncSession, row: models.Approval) -> None:
    """The cards of the question, what replaced them, and what was said about it."""
    cards = select(models.Outbox.id).where(
        or_(*(models.Outbox.dedupe_key.like(f"{one}:{row.id}%") for one in PREFIXES))
    )
    messages = select(models.Outbox.id).where(
        or_(models.Outbox.id.in_(cards), models.Outbox.edits_id.in_(cards))
    )
    ids = list(await session.scalars(messages))
    in_turns = {"synchronize_session": False}
    await session.execute(
        update(models.Outbox)
        .where(models.Outbox.id.in_(ids))
        .values(text=GONE, reply_to=None, buttons=[]),
        execution_options=in_turns,
    )
    await session.execute(
        update(models.Part)
        .where(models.Part.outbox_id.in_(ids))
        .values(rendered={"text": GONE, "entities": []}, evidence=[], error=""),
        execution_options=in_turns,
    )
