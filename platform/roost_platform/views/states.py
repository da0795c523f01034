"""The state of conversations: one rule for the list, its filter, the session page and the API."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.locks import OPEN_STATES
from roost_platform.views.waiting.waits import waits_of, whom

RUNNING_PHASES = ("queued", "thinking", "tool", "answering", "unreachable")
STATES = ("running", "waiting", "pending", "held", "failed", "stopped", "idle")


@dataclass(frozen=True, slots=True)
class ConversationState:
    """What a conversation does now.

    word: a running turn's phase (RUNNING_PHASES); waiting: a turn that waits for people, agents or
        a time; pending: a message that no turn has taken; held: one of somebody who is not let in;
        failed, stopped: how the last turn of the current session ended; else idle.
    since: when the running turn began, or the other one began to wait; None without a turn.
    waits_for: who or what a waiting turn waits for, in words.
    """

    word: str = "idle"
    since: float | None = None
    stop_requested: bool = False
    waits_for: str = ""


async def states_of(
    session: AsyncSession, conversations: Sequence[models.Conversation]
) -> dict[str, ConversationState]:
    """The state of each conversation by its id."""
    ids = [conversation.id for conversation in conversations]
    turns = models.Turn
    open_turns = {
        turn.conversation_id: turn
        for turn in await session.scalars(
            select(turns).where(turns.conversation_id.in_(ids), turns.state.in_(OPEN_STATES))
        )
    }
    parked = [turn for turn in open_turns.values() if turn.state == "waiting"]
    waits = await waits_of(session, parked) if parked else {}
    progress = models.RunProgress
    phases = {
        id: phase
        for id, phase in await session.execute(
            select(progress.turn_id, progress.phase).where(
                progress.turn_id.in_([turn.id for turn in open_turns.values()])
            )
        )
    }
    arrived = {
        id: state
        for id, state in await session.execute(
            # "pending" comes after "held"
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
        turn = open_turns.get(id)
        if turn is not None and turn.state == "waiting":
            since, stopping = turn.waiting_since, turn.stop_requested_at is not None
            waits_for = whom(waits.get(turn.id, ()))
            states[id] = ConversationState("waiting", since, stopping, waits_for)
        elif turn is not None:
            phase = phases.get(turn.id, "queued")
            word = phase if phase in RUNNING_PHASES else "thinking"
            states[id] = ConversationState(
                word, turn.started_at, turn.stop_requested_at is not None
            )
        elif id in arrived:
            states[id] = ConversationState(arrived[id])
        else:
            last = ended.get(id, "")
            states[id] = ConversationState(last if last in ("failed", "stopped") else "idle")
    return states


def has_state(word: str) -> ColumnElement[bool]:
    """Whether a conversation is in this state of STATES, as a condition on conversations."""
    inbox, turns = models.Inbox, models.Turn
    own = turns.conversation_id == models.Conversation.id
    runs = exists().where(own, turns.state == "running")
    parked = exists().where(own, turns.state == "waiting")

    def has(state: str) -> ColumnElement[bool]:
        return exists().where(inbox.conversation_id == models.Conversation.id, inbox.state == state)

    def ended(*states: str) -> ColumnElement[bool]:
        return exists().where(_is_last_turn(), turns.state.in_(states))

    no_turn = and_(~runs, ~parked)
    still = and_(no_turn, ~has("pending"), ~has("held"))
    match word:
        case "running":
            return runs
        case "waiting":
            return parked
        case "pending":
            return and_(no_turn, has("pending"))
        case "held":
            return and_(no_turn, has("held"), ~has("pending"))
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
