"""What became of everything that waited, read when all is at rest."""

from collections import Counter
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
    """

    key: str
    tool: str
    state: str
    turn: str
    verdicts: tuple[str, ...]
    runs: int


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
    handed: list[Handed] = field(default_factory=list)
    reminded: list[Reminded] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    live_cards: list[tuple[str, str]] = field(default_factory=list)


ACTING = ("pay", "send")


async def read_waits(session: AsyncSession, effects: Sequence[str]) -> Waits:
    """Read everything from the database. effects: keys of calls that took effect, in order."""
    return Waits(
        await _acted(session, Counter(effects)), await _handed(session), await _reminded(session)
    )


async def _acted(session: AsyncSession, runs: Counter[str]) -> list[Acted]:
    call = models.ToolCall
    verdicts: dict[tuple[str, int, str], list[str]] = {}
    for row in await session.scalars(select(models.Approval)):
        verdicts.setdefault((row.turn_id, row.step, row.call_id), []).append(row.state)
    rows = await session.execute(
        select(call, models.Turn.state)
        .join(models.Turn, models.Turn.id == call.turn_id)
        .where(call.name.in_(ACTING), call.op.in_(("", "call")))
    )
    return [
        Acted(
            f"{row.turn_id}:{row.step}:{row.call_id}",
            row.name,
            row.state,
            turn_state,
            tuple(verdicts.get((row.turn_id, row.step, row.call_id), ())),
            runs[f"{row.turn_id}:{row.step}:{row.call_id}"],
        )
        for row, turn_state in rows
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
