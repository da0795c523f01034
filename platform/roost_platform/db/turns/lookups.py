"""Single facts of a turn, by its id."""

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.context import Person, SessionInfo
from roost.flows.advancing import FlowFacts
from roost_platform.db import models

# Every model call asks for these: they are built once.
_OPEN_GROUP = (
    select(models.TurnStep.step)
    .where(models.TurnStep.turn_id == bindparam("id"), models.TurnStep.state == "open")
    .limit(1)
)
_WRITER = (
    select(models.Inbox.identity_id)
    .where(models.Inbox.turn_id == bindparam("id"))
    .order_by(models.Inbox.sequence.desc())
    .limit(1)
)
_PAYLOAD = (
    select(models.Transcript.payload)
    .where(models.Transcript.turn_id == bindparam("id"), models.Transcript.payload != "")
    .order_by(models.Transcript.position.desc())
    .limit(1)
)


async def payload_of(session: AsyncSession, turn_id: str) -> str:
    """What came along with the newest message of the turn that had a payload; else empty."""
    return str(await session.scalar(_PAYLOAD, {"id": turn_id}) or "")


async def facts_of(
    session: AsyncSession, turn: models.Turn, conversation: models.Conversation
) -> FlowFacts:
    """For whom the turn's tools run."""
    person = await person_of(session, turn, conversation)
    return FlowFacts(
        key=turn.id,
        person=Person("", "") if person is None else Person(person.id, person.display_name),
        session=SessionInfo(turn.session_id, conversation.key, conversation.channel),
        payload=await payload_of(session, turn.id),
    )


async def has_open_group(session: AsyncSession, turn_id: str) -> bool:
    """Whether a tool group of the turn has not closed."""
    return await session.scalar(_OPEN_GROUP, {"id": turn_id}) is not None


async def person_of(
    session: AsyncSession, turn: models.Turn, conversation: models.Conversation
) -> models.Identity | None:
    """The person whom the turn answers: the sender of its newest message."""
    newest = await session.scalar(_WRITER, {"id": turn.id})
    identity_id = newest or conversation.identity_id
    return None if identity_id is None else await session.get(models.Identity, identity_id)
