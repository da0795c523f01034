"""What became of everything that waited, read when all is at rest."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.turns.children.ending import told


@dataclass(frozen=True, slots=True)
class Acted:
    """A call with an effect outside.

    verdicts: the states of its approvals. runs: how often it took effect. turn: its turn's state.
    approved: the arguments that a card showed and somebody approved. marks: with what it ran.
    """

    key: str
    tool: str
    state: str
    turn: str
    verdicts: tuple[str, ...]
    runs: int
    approved: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person decided or answered in a chat.

    rule: requester or another, as the tool wants it. requester, person: ids of people; name: how
    the card names who decided.
    """

    chat: str
    state: str
    rule: str
    requester: str
    person: str
    name: str


@dataclass(frozen=True, slots=True)
class Handed:
    """A task for another agent that has ended.

    is_told: the call of a waited one has its result; brought: how many messages brought it.
    parent: the state of the turn that gave it.
    """

    id: str
    state: str
    parent: str
    is_waited: bool
    is_told: bool
    brought: int


@dataclass(frozen=True, slots=True)
class Reminded:
    """A schedule that reminds people: the text, how often it fired, and whether it comes once."""

    chat: str
    text: str
    fired: int
    state: str
    is_single: bool


@dataclass(slots=True)
class Waits:
    """All that the rules about waits look at.

    wrong: what broke a rule that holds at every moment. live_cards: (chat, message id) of messages
    that still have the buttons of a question.
    """

    acted: list[Acted] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)
    reminded: list[Reminded] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    live_cards: list[tuple[str, str]] = field(default_factory=list)


ACTING = ("pay", "send")


async def read_waits(session: AsyncSession, effects: Sequence[str]) -> Waits:
    """Read everything from the database. effects: key and mark of calls that took effect, in
    order.
    """
    return Waits(
        acted=await _acted(session, effects),
        verdicts=await _verdicts(session),
        handed=await _handed(session),
        reminded=await _reminded(session),
    )


async def _acted(session: AsyncSession, effects: Sequence[str]) -> list[Acted]:
    call = models.ToolCall
    runs: dict[str, list[str]] = {}
    for effect in effects:
        key, _, mark = effect.partition(" ")
        runs.setdefault(key, []).append(mark)
    asked: dict[str, list[models.Approval]] = {}
    for one in await session.scalars(select(models.Approval)):
        asked.setdefault(f"{one.turn_id}:{one.step}:{one.call_id}", []).append(one)
    rows = await session.execute(
        select(call, models.Turn.state)
        .join(models.Turn, models.Turn.id == call.turn_id)
        .where(call.name.in_(ACTING), call.op.in_(("", "call")))
    )
    acted = []
    for row, turn_state in rows:
        key = f"{row.turn_id}:{row.step}:{row.call_id}"
        cards, marks = asked.get(key, []), tuple(runs.get(key, ()))
        verdicts = tuple(card.state for card in cards)
        approved = tuple(card.arguments for card in cards if card.state == "approved")
        acted.append(
            Acted(key, row.name, row.state, turn_state, verdicts, len(marks), approved, marks)
        )
    return acted


async def _verdicts(session: AsyncSession) -> list[Verdict]:
    asked = models.Approval
    rows = await session.execute(
        select(asked, models.Conversation.chat)
        .join(models.Conversation, models.Conversation.id == asked.chat_id)
        .where(asked.state.in_(("approved", "denied", "answered")))
    )
    return [
        Verdict(
            *(chat, row.state, row.rule, row.requester_id),
            person=row.decided_by or "",
            name=row.decided_name or "",
        )
        for row, chat in rows
    ]


async def _handed(session: AsyncSession) -> list[Handed]:
    call, task = models.ToolCall, models.ChildTask
    rows = await session.execute(
        select(task, call.result, models.Turn.state)
        .join(models.Turn, models.Turn.id == task.parent_turn_id)
        .join(
            call,
            (call.turn_id == task.parent_turn_id)
            & (call.step == task.parent_step)
            & (call.call_id == task.parent_call_id),
        )
    )
    brought = {
        event_id: count
        for event_id, count in await session.execute(
            select(models.Inbox.event_id, func.count())
            .where(models.Inbox.kind == "result")
            .group_by(models.Inbox.event_id)
        )
    }
    return [
        Handed(
            row.conversation_id,
            row.state,
            turn_state,
            row.is_waited,
            row.state != "running" and told(row) in result,
            brought.get(f"result:{row.conversation_id}", 0),
        )
        for row, result, turn_state in rows
    ]


async def _reminded(session: AsyncSession) -> list[Reminded]:
    fired = {
        id: count
        for id, count in await session.execute(
            select(models.Occurrence.schedule_id, func.count())
            .where(models.Occurrence.outbox_id.is_not(None))
            .group_by(models.Occurrence.schedule_id)
        )
    }
    rows = await session.execute(
        select(models.Schedule, models.Conversation.chat)
        .join(models.Conversation, models.Conversation.id == models.Schedule.conversation_id)
        .where(models.Schedule.kind == "reminder")
    )
    return [
        Reminded(chat, row.text, fired.get(row.id, 0), row.state, "at" in row.spec)
        for row, chat in rows
    ]
