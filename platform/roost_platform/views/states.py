"""The state of conversations: one rule for the list, its filter, the session page and the API."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.locks import OPEN_STATES

RUNNING_PHASES = ("queued", "thinking", "tool", "answering", "unreachable")
STATES = ("running", "waiting", "held", "failed", "stopped", "idle")


@dataclass(frozen=True, slots=True)
class ConversationState:
    """What a conversation does now.

    word: a running turn's phase (RUNNING_PHASES), else waiting | held | failed | stopped | idle.
        failed, stopped: how the last turn of the current session ended.
    since: when the turn that runs or waits began; None without one.
    """

    word: str = "idle"
    since: float | None = None
    stop_requested: bool = False


async def states_of(
    session: AsyncSession, conversations: Sequence[models.Conversation]
) -> dict[str, ConversationState]:
    """The state of each conversation by its id."""
    ids = [conversation.id for conversation in conversations]
    turns = models.Turn
    running = {
        turn.conversation_id: turn
        for turn in await session.scalars(
            select(turns).where(turns.conversation_id.in_(ids), turns.state.in_(OPEN_STATES))
        )
    }
    progress = models.RunProgress
    phases = {
        id: phase
        for id, phase in await session.execute(
            select(progress.turn_id, progress.phase).where(
                progress.turn_id.in_([turn.id for turn in running.values()])
            )
        )
    }
    waiting = {
        id: state
        for id, state in await session.execute(
            select(models.Inbox.conversation_id, func.max(models.Inbox.state))
            .where(
                models.Inbox.conversation_id.in_(ids), models.Inbox.state.in_(("pending", "held"))
            )
            .group_by(models.Inbox.conversation_id)
        )
    }
    ended = {
        id: state
        for id, state in await session.execute(
            select(models.Conversation.id, turns.state)
            .join(turns, _is_last_turn())
            .where(models.Conversation.id.in_(ids))
        )
    }
    states = {}
    for id in ids:
        turn = running.get(id)
        if turn is not None:
            phase = phases.get(turn.id, "queued")
            word = phase if phase in RUNNING_PHASES else "thinking"
            word = "waiting" if turn.state == "waiting" else word
            states[id] = ConversationState(
                word, turn.started_at, turn.stop_requested_at is not None
            )
        elif id in waiting:
            states[id] = ConversationState("held" if waiting[id] == "held" else "waiting")
        else:
            last = ended.get(id, "")
            states[id] = ConversationState(last if last in ("failed", "stopped") else "idle")
    return states


def has_state(word: str) -> ColumnElement[bool]:
    """Whether a conversation is in this state of STATES, as a condition on conversations."""
    inbox, turns = models.Inbox, models.Turn
    own = turns.conversation_id == models.Conversation.id
    runs, parked = (
        exists().where(own, turns.state == "running"),
        exists().where(own, turns.state == "waiting"),
    )

    def waits(state: str) -> ColumnElement[bool]:
        return exists().where(inbox.conversation_id == models.Conversation.id, inbox.state == state)

    def ended(*states: str) -> ColumnElement[bool]:
        return exists().where(_is_last_turn(), turns.state.in_(states))

    still = and_(~runs, ~parked, ~waits("pending"), ~waits("held"))
    match word:
        case "running":
            return runs
        case "waiting":  # for a turn, to be let in, or what its turn waits for
            return and_(~runs, or_(parked, waits("pending"), waits("held")))
        case "held":
            return and_(~runs, ~parked, waits("held"), ~waits("pending"))
        case "failed" | "stopped":
            return and_(still, ended(word))
    return and_(still, ~ended("failed", "stopped"))


def _is_last_turn() -> ColumnElement[bool]:
    """Whether a turn is its conversation's newest and belongs to the current session."""
    return and_(
        models.Turn.conversation_id == models.Conversation.id,
        models.Turn.session_id == models.Conversation.session_id,
        models.Turn.number == models.Conversation.turn_count,
    )
