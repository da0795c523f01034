"""Questions to people, for operators: those that are open, what became of others, and grants."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.text import visible
from roost_platform.db.turns.scheduled.titles import title_of
from roost_platform.db.waits.grants import PERSON, SCHEDULE, live_grants
from roost_platform.errors import NotFound

LISTED_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """One question, as it stands now.

    chat_key: the session key of the chat in which it is asked. rule: requester | operator |
    another. can_decide: whether an operator may decide it: open, and no question for words.
    options, free_text: of each question, and whether other words answer it, too.
    arguments: what the call would be given, as JSON. before: the arguments that were asked about
    last in an earlier round of the same call, empty for none. card_state: whether the card reached
    the person (pending | sent | failed | cancelled). via: a channel, console, cli, api, clock,
    delivery, turn or grant.
    """

    id: str
    kind: str
    state: str
    agent: str
    tool: str
    preview: str
    arguments: str
    before: str
    questions: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    free_text: tuple[bool, ...]
    answers: tuple[str, ...]
    rule: str
    conversation_id: str
    chat_id: str
    chat_key: str
    turn_id: str
    requester_id: str
    requester_name: str
    round: int
    created_at: float
    expires_at: float
    decided_at: float | None
    decided_name: str
    via: str
    reason: str
    card_id: str | None
    card_state: str
    call_state: str

    @property
    def can_decide(self) -> bool:
        """Whether an operator may decide it now."""
        return self.state == "pending" and self.kind == "approve"

    @property
    def can_answer(self) -> bool:
        """Whether an operator may answer it now, in the person's place."""
        return self.state == "pending" and self.kind != "approve"


@dataclass(frozen=True, slots=True)
class GrantView:
    """A standing approval that counts now. subject: `person:ID` or `schedule:ID`.

    schedule_id, schedule_title: of a schedule's, else empty.
    """

    id: str
    subject: str
    person_name: str
    schedule_id: str
    schedule_title: str
    agent: str
    tool: str
    arguments: str
    uses: int
    uses_max: int | None
    created_at: float
    expires_at: float
    approval_id: str | None


async def open_for_operators(
    session: AsyncSession, *, text: str = "", limit: int = LISTED_MAX, offset: int = 0
) -> Sequence[ApprovalView]:
    """The open questions, those first that only operators can decide, then the oldest.

    text: part of a tool's or an agent's name.
    """
    waits_for_operator = models.Approval.rule != "requester"
    rows = await session.scalars(
        select(models.Approval)
        .where(models.Approval.state == "pending", *named(text))
        .order_by(waits_for_operator.desc(), models.Approval.created_at, models.Approval.id)
        .limit(limit)
        .offset(offset)
    )
    return await _views(session, rows.all())


async def open_count(session: AsyncSession) -> int:
    """How many approvals operators can decide now: the badge's number."""
    query = (
        select(func.count())
        .select_from(models.Approval)
        .where(models.Approval.state == "pending", models.Approval.kind == "approve")
    )
    return await session.scalar(query) or 0


async def history(
    session: AsyncSession,
    *,
    text: str = "",
    conversation_id: str = "",
    state: str = "",
    limit: int = 50,
    offset: int = 0,
) -> tuple[Sequence[ApprovalView], int]:
    """Questions that are over, the newest first, and how many there are.

    text: part of a tool's or an agent's name. conversation_id: of the chat or of the asker.
    state: one of those that are over.
    """
    where = [models.Approval.state != "pending", *named(text)]
    if state:
        where.append(models.Approval.state == state)
    if conversation_id:
        where.append(
            or_(
                models.Approval.conversation_id == conversation_id,
                models.Approval.chat_id == conversation_id,
            )
        )
    rows = await session.scalars(
        select(models.Approval)
        .where(*where)
        .order_by(models.Approval.created_at.desc(), models.Approval.id.desc())
        .limit(min(limit, LISTED_MAX))
        .offset(offset)
    )
    count = select(func.count()).select_from(models.Approval).where(*where)
    return await _views(session, rows.all()), await session.scalar(count) or 0


async def get(session: AsyncSession, approval_id: str) -> ApprovalView:
    """One question. Raises NotFound."""
    row = await session.get(models.Approval, approval_id)
    if row is None:
        raise NotFound("There is no such question.")
    (view,) = await _views(session, [row])
    return view


async def grants(session: AsyncSession, now: float) -> Sequence[GrantView]:
    """The standing approvals that count now, the newest first."""
    views = []
    for row in await live_grants(session, now):
        person, schedule = None, None
        if row.subject.startswith(PERSON):
            person = await session.get(models.Identity, row.subject.removeprefix(PERSON))
        elif row.subject.startswith(SCHEDULE):
            schedule = await session.get(models.Schedule, row.subject.removeprefix(SCHEDULE))
        approval = await session.get(models.Approval, row.approval_id) if row.approval_id else None
        views.append(
            GrantView(
                id=row.id,
                subject=row.subject,
                person_name="" if person is None else person.display_name,
                schedule_id="" if schedule is None else schedule.id,
                schedule_title="" if schedule is None else title_of(schedule),
                agent=row.agent,
                tool=row.tool,
                arguments="" if approval is None else visible(approval.arguments),
                uses=row.uses,
                uses_max=row.uses_max,
                created_at=row.created_at,
                expires_at=row.expires_at,
                approval_id=row.approval_id,
            )
        )
    return views


def named(text: str) -> Sequence[ColumnElement[bool]]:
    """The condition on a part of a tool's or an agent's name; none for an empty text."""
    if not text:
        return ()
    columns = (models.Approval.tool, models.Approval.agent)
    return (or_(*(column.icontains(text, autoescape=True) for column in columns)),)


async def _views(session: AsyncSession, rows: Sequence[models.Approval]) -> Sequence[ApprovalView]:
    kept = await _read_ahead(session, rows)
    views = [await _view(session, row) for row in rows]
    del kept
    return views


async def _read_ahead(session: AsyncSession, rows: Sequence[models.Approval]) -> Sequence[Any]:
    """What the views of all rows need, read at once; held by the caller while it is looked up."""
    wanted = (
        (models.Conversation, {row.chat_id for row in rows}),
        (models.Identity, {row.requester_id for row in rows if row.requester_id}),
        (models.Outbox, {row.card_id for row in rows if row.card_id}),
    )
    found: list[Any] = []
    for table, ids in wanted:
        if ids:
            found += await session.scalars(select(table).where(table.id.in_(ids)))
    return found


async def _view(session: AsyncSession, row: models.Approval) -> ApprovalView:
    chat = await session.get(models.Conversation, row.chat_id)
    person = await session.get(models.Identity, row.requester_id) if row.requester_id else None
    card = await session.get(models.Outbox, row.card_id) if row.card_id else None
    call = await session.get(models.ToolCall, (row.turn_id, row.step, row.call_id))
    before = None
    if row.round > 1:
        before = await session.scalar(
            select(models.Approval.arguments).where(
                models.Approval.turn_id == row.turn_id,
                models.Approval.step == row.step,
                models.Approval.call_id == row.call_id,
                models.Approval.round == row.round - 1,
            )
        )
    return ApprovalView(
        id=row.id,
        kind=row.kind,
        state=row.state,
        agent=row.agent,
        tool=row.tool,
        preview=row.preview,
        arguments=row.arguments,
        before=before or "",
        questions=tuple(question["text"] for question in row.questions),
        options=tuple(tuple(question["options"]) for question in row.questions),
        free_text=tuple(bool(question["free_text"]) for question in row.questions),
        answers=tuple(row.answers),
        rule=row.rule,
        conversation_id=row.conversation_id,
        chat_id=row.chat_id,
        chat_key="" if chat is None else chat.key,
        turn_id=row.turn_id,
        requester_id=row.requester_id,
        requester_name="" if person is None else person.display_name,
        round=row.round,
        created_at=row.created_at,
        expires_at=row.expires_at,
        decided_at=row.decided_at,
        decided_name=row.decided_name,
        via=row.decided_via,
        reason=row.reason,
        card_id=row.card_id,
        card_state="" if card is None else card.state,
        call_state="" if call is None else call.state,
    )
