"""Status, sessions and deliveries as the API shows them, from the same views as the console."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.api import schemas
from roost_platform.db import models
from roost_platform.views.channels import plain_channel
from roost_platform.views.deliveries import DeliveryFilter, deliveries
from roost_platform.views.health import plain_service
from roost_platform.views.overview import StackStatus
from roost_platform.views.sessions import SessionFilter, rows_of, sessions

MESSAGES_MAX = 1000  # the newest of a session
TURNS_MAX = 200


def status_of(status: StackStatus, *, with_details: bool = True) -> schemas.Status:
    """The status as `/api/status` shows it: processes first, then accounts.

    with_details: with the words of errors, which are for operators.
    """
    services, accounts = status.health.services, status.health.channels
    if not with_details:
        services = tuple(plain_service(one) for one in services)
        accounts = tuple(plain_channel(one) for one in accounts)
    parts = [
        schemas.PartStatus(name=service.name, up=service.is_up, detail=service.detail)
        for service in services
    ]
    parts += [
        schemas.PartStatus(
            name=f"{account.channel} {account.account}",
            up=account.is_up,
            detail=account.detail or account.state,
        )
        for account in accounts
    ]
    return schemas.Status(
        ok=status.health.is_up,
        version=status.version,
        parts=parts,
        counts=dict(status.counts),
    )


async def read_sessions(
    session: AsyncSession, state: str, text: str, page: int
) -> schemas.SessionList:
    """One page of conversations."""
    total, rows = await sessions(
        session, SessionFilter(state=state, text=text), page, with_texts=False
    )
    return schemas.SessionList(
        total=total,
        sessions=[
            schemas.SessionItem(
                id=row.id,
                key=row.key,
                channel=row.channel,
                title=row.title,
                agent=row.agent,
                state=row.state,
                turns=row.turns,
                last_at=row.active_at,
            )
            for row in rows
        ],
    )


async def read_session(session: AsyncSession, conversation_id: str) -> schemas.SessionDetail:
    """A conversation and its current session."""
    conversation = await session.get_one(models.Conversation, conversation_id)
    (row,) = await rows_of(session, [conversation_id], with_texts=False)
    newest = (
        await session.scalars(
            select(models.Transcript)
            .where(models.Transcript.session_id == conversation.session_id)
            .order_by(models.Transcript.position.desc())
            .limit(MESSAGES_MAX)
        )
    ).all()
    turns = (
        await session.scalars(
            select(models.Turn)
            .where(models.Turn.session_id == conversation.session_id)
            .order_by(models.Turn.number.desc())
            .limit(TURNS_MAX)
        )
    ).all()
    return schemas.SessionDetail(
        id=conversation.id,
        key=conversation.key,
        channel=conversation.channel,
        title=row.title,
        agent=conversation.agent,
        session_id=conversation.session_id,
        state=row.state,
        turns=[_turn(turn) for turn in reversed(turns)],
        transcript=[_message(entry) for entry in reversed(newest)],
    )


async def read_deliveries(
    session: AsyncSession, state: str, text: str, page: int
) -> schemas.DeliveryList:
    """One page of outgoing messages."""
    total, rows = await deliveries(
        session, DeliveryFilter(state=state, text=text), page, with_texts=True
    )
    keys = await _keys(session, [row.conversation_id for row in rows])
    return schemas.DeliveryList(
        total=total,
        deliveries=[
            schemas.DeliveryItem(
                id=row.id,
                key=keys[row.conversation_id],
                channel=row.channel,
                kind=row.kind,
                state=row.state,
                parts=row.parts,
                parts_sent=row.parts_sent,
                attempts=row.attempts,
                error=row.error,
                preview=row.preview,
                evidence=row.evidence,
                created_at=row.created_at,
            )
            for row in rows
        ],
    )


async def _keys(session: AsyncSession, ids: list[str]) -> dict[str, str]:
    rows = await session.execute(
        select(models.Conversation.id, models.Conversation.key).where(
            models.Conversation.id.in_(ids)
        )
    )
    return {id: key for id, key in rows}


def _turn(turn: models.Turn) -> schemas.Turn:
    return schemas.Turn(
        id=turn.id,
        number=turn.number,
        state=turn.state,
        reason=turn.reason_code,
        started_at=turn.started_at,
        finished_at=turn.finished_at,
    )


def _message(entry: models.Transcript) -> schemas.Message:
    return schemas.Message(
        id=entry.id,
        role=entry.role,
        content=entry.content,
        at=entry.created_at,
        turn_id=entry.turn_id,
        forwarded_from=entry.forwarded_from,
        payload=entry.payload,
        quoted=entry.quoted,
        tool_calls=entry.tool_calls,
        tool_call_id=entry.tool_call_id,
        name=entry.name,
        status=entry.status,
        note=entry.note,
    )
