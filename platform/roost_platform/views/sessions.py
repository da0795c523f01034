"""The list of conversations, each with its current state."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.views.channels import account_labels
from roost_platform.views.pagination import PAGE_SIZE, like
from roost_platform.views.states import has_state, states_of

PREVIEW_LENGTH_MAX = 140
RUNNING_SHOWN_MAX = 12


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """What the list is narrowed to; empty means all."""

    state: str = ""
    channel: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One conversation in the list.

    account: which account of its channel, where the channel has several; else empty.
    state, since, waits_for: see ConversationState. turns, tokens: of the current session.
    active_at: when somebody last wrote, or when the conversation began.
    """

    id: str
    key: str
    channel: str
    account: str
    title: str
    agent: str
    state: str
    since: float | None
    stop_requested: bool
    waits_for: str
    turns: int
    tokens: int
    preview: str
    preview_role: str
    active_at: float


def display_title(conversation: models.Conversation, person: str | None) -> str:
    """The name of a conversation: its title, else the person's name, else the chat's id."""
    return conversation.title or person or conversation.chat


def narrowed(statement: Select[str], by: SessionFilter) -> Select[str]:
    """The statement with the filter's conditions. Agents that work for a chat stand on its page."""
    statement = statement.where(models.Conversation.kind == "chat")
    if by.state:
        statement = statement.where(has_state(by.state))
    if by.channel:
        statement = statement.where(models.Conversation.channel == by.channel)
    if by.text:
        pattern = like(by.text)
        statement = statement.where(
            or_(
                *(
                    column.ilike(pattern, escape="\\")
                    for column in (
                        models.Conversation.key,
                        models.Conversation.title,
                        models.Conversation.agent,
                        models.Identity.display_name,
                    )
                )
            )
        )
    return statement


async def sessions(
    session: AsyncSession, by: SessionFilter, page: int, *, with_texts: bool
) -> tuple[int, tuple[SessionRow, ...]]:
    """The number of conversations that match, and one page, the most recently active first."""
    ids = narrowed(
        select(models.Conversation.id).outerjoin(
            models.Identity, models.Identity.id == models.Conversation.identity_id
        ),
        by,
    )
    total = await session.scalar(select(func.count()).select_from(ids.subquery())) or 0
    active = func.coalesce(models.Conversation.last_inbound_at, models.Conversation.created_at)
    chosen = (
        await session.scalars(
            ids.order_by(active.desc(), models.Conversation.id.desc())
            .limit(PAGE_SIZE)
            .offset((page - 1) * PAGE_SIZE)
        )
    ).all()
    return total, await rows_of(session, chosen, with_texts=with_texts)


async def running(session: AsyncSession, *, with_texts: bool) -> tuple[SessionRow, ...]:
    """The chats for which something runs now, also another agent, the longest running first.

    A chat whose own turn waits meanwhile is among `waiting`.
    """
    query = _running_chats().order_by(func.min(models.Turn.started_at))
    chosen = (await session.scalars(query.limit(RUNNING_SHOWN_MAX))).all()
    return await rows_of(session, chosen, with_texts=with_texts)


async def running_count(session: AsyncSession) -> int:
    """How many chats `running` would show without its bound."""
    query = select(func.count()).select_from(_running_chats().subquery())
    return await session.scalar(query) or 0


def _running_chats() -> Select[str]:
    chat = func.coalesce(models.Conversation.root_id, models.Conversation.id)
    parked = select(models.Turn.conversation_id).where(models.Turn.state == "waiting")
    return (
        select(chat)
        .join(models.Turn, models.Turn.conversation_id == models.Conversation.id)
        .where(models.Turn.state == "running", chat.not_in(parked))
        .group_by(chat)
    )


async def waiting(session: AsyncSession, *, with_texts: bool) -> tuple[SessionRow, ...]:
    """The chats whose turn waits for people, agents or a time, the longest waiting first."""
    query = (
        select(models.Conversation.id)
        .join(models.Turn, models.Turn.conversation_id == models.Conversation.id)
        .where(models.Turn.state == "waiting", models.Conversation.kind == "chat")
        .order_by(models.Turn.waiting_since)
    )
    chosen = (await session.scalars(query.limit(RUNNING_SHOWN_MAX))).all()
    return await rows_of(session, chosen, with_texts=with_texts)


async def rows_of(
    session: AsyncSession, ids: Sequence[str], *, with_texts: bool
) -> tuple[SessionRow, ...]:
    """Rows for these conversation ids, in their order."""
    wanted = list(dict.fromkeys(ids))
    pairs = await session.execute(
        select(models.Conversation, models.Identity.display_name)
        .outerjoin(models.Identity, models.Identity.id == models.Conversation.identity_id)
        .where(models.Conversation.id.in_(wanted))
    )
    conversations = {c.id: (c, name) for c, name in pairs}
    states = await states_of(session, [c for c, _ in conversations.values()])
    labels = await account_labels(session)
    current = [c.session_id for c, _ in conversations.values()]
    turns = await turns_by_session(session, current)
    tokens = await tokens_by_session(session, current)
    previews = await last_messages(session, current)
    rows = []
    for id in wanted:
        conversation, person = conversations[id]
        state = states[id]
        role, preview = previews.get(conversation.session_id or "", ("", ""))
        rows.append(
            SessionRow(
                id=id,
                key=conversation.key,
                channel=conversation.channel,
                account=labels.get((conversation.channel, conversation.account), ""),
                title=display_title(conversation, person),
                agent=conversation.agent,
                state=state.word,
                since=state.since,
                stop_requested=state.stop_requested,
                waits_for=state.waits_for,
                turns=turns.get(conversation.session_id or "", 0),
                tokens=tokens.get(conversation.session_id or "", 0),
                preview=preview if with_texts else hidden(preview),
                preview_role=role,
                active_at=conversation.last_inbound_at or conversation.created_at,
            )
        )
    return tuple(rows)


def hidden(text: str) -> str:
    """What people who may not read texts see instead of a text."""
    return f"{len(text)} characters, hidden" if text else ""


async def turns_by_session(session: AsyncSession, ids: Sequence[str | None]) -> dict[str, int]:
    """How many turns these sessions have had, by session."""
    rows = await session.execute(
        select(models.Turn.session_id, func.count())
        .where(models.Turn.session_id.in_(ids))
        .group_by(models.Turn.session_id)
    )
    return {id: count for id, count in rows}


async def tokens_by_session(session: AsyncSession, ids: list[str | None]) -> dict[str, int]:
    """The generated tokens of these sessions, by session."""
    rows = await session.execute(
        select(models.Turn.session_id, func.sum(models.TurnStep.completion_tokens))
        .join(models.TurnStep, models.TurnStep.turn_id == models.Turn.id)
        .where(models.Turn.session_id.in_(ids))
        .group_by(models.Turn.session_id)
    )
    return {id: int(total or 0) for id, total in rows}


async def last_messages(session: AsyncSession, ids: list[str | None]) -> dict[str, tuple[str, str]]:
    """The newest message of each session: its role and the start of its text."""
    newest = (
        select(models.Transcript.session_id, func.max(models.Transcript.position).label("position"))
        .where(models.Transcript.session_id.in_(ids), models.Transcript.role != "tool")
        .group_by(models.Transcript.session_id)
        .subquery()
    )
    rows = await session.execute(
        select(
            models.Transcript.session_id, models.Transcript.role, models.Transcript.content
        ).join(
            newest,
            (newest.c.session_id == models.Transcript.session_id)
            & (newest.c.position == models.Transcript.position),
        )
    )
    return {
        id: (role, " ".join(content.split())[:PREVIEW_LENGTH_MAX]) for id, role, content in rows
    }
