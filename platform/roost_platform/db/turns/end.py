"""The end of a turn that has no answer: the transcript keeps what was done, people hear it once."""

from dataclasses import replace
from typing import Literal

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost.messages import NoteKind
from roost_platform.db import models
from roost_platform.db.base.committed.bells import stop_after
from roost_platform.db.cards.cards import cancel_questions
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import OPEN_STATES, lock_turn
from roost_platform.db.reply_targets import refresh_reply_target
from roost_platform.db.turns.children.ending import close_calls, end_child
from roost_platform.db.turns.children.stopping import (
    calls_stopped_with,
    left_behind,
    stop_tasks,
)
from roost_platform.db.turns.dropping import UNDER_WAY
from roost_platform.db.turns.flow_entries import COUNTED, close_entries, has_compensations
from roost_platform.db.turns.scheduled.ends import where_to_tell
from roost_platform.db.turns.steps import close_group, end_turn
from roost_platform.db.turns.transcript import append
from roost_platform.queueing import INTERRUPTED
from roost_workflows.storage.ends import Settled
from roost_workflows.turn.endings import (
    PARENT_ENDED,
    count_calls,
    ending_note,
    final_message,
    status_line,
)

# Many turns may stop at once and wait for these, so they are built once.
_OPEN_STEPS = (
    select(models.TurnStep.step)
    .where(models.TurnStep.turn_id == bindparam("id"), models.TurnStep.state == "open")
    .order_by(models.TurnStep.step)
)
_LAST_STEP = (
    select(models.TurnStep)
    .where(models.TurnStep.turn_id == bindparam("id"))
    .order_by(models.TurnStep.step.desc())
    .limit(1)
)
_CALLS = (
    select(models.ToolCall.name, models.ToolCall.state, models.ToolCall.op)
    .where(
        models.ToolCall.turn_id == bindparam("id"),
        # Agents that were stopped with the turn are counted as agents.
        or_(models.ToolCall.wait != "child", models.ToolCall.state != "cancelled"),
    )
    .order_by(models.ToolCall.step, models.ToolCall.position)
)
_BEGUN = select(models.Part.id).where(
    models.Part.outbox_id == models.Outbox.id, models.Part.state.in_(UNDER_WAY)
)
_CANCEL_UNSENT = (
    update(models.Outbox)
    .where(
        models.Outbox.turn_id == bindparam("id_of_turn"),
        models.Outbox.state == "pending",
        ~_BEGUN.exists(),
    )
    .values(state="cancelled", finished_at=bindparam("now"))
    .execution_options(synchronize_session=False)
)


async def settle(
    session: AsyncSession,
    turn_id: str,
    outcome: Literal["stopped", "failed"],
    reason: str,
    now: float,
) -> Settled:
    """Close the open group, keep the partial text with a note, queue the final message; once."""
    turn, conversation = await lock_turn(session, turn_id, running=False)
    if turn.state not in OPEN_STATES:
        return await counts(session, turn, already=True)
    await cancel_questions(session, turn_id, now)
    cause = turn.reason_code
    await _stop_left_behind(session, turn, now)
    await close_calls(session, turn, now)
    open_steps = await session.scalars(_OPEN_STEPS, {"id": turn_id})
    for step in open_steps.all():
        await close_group(session, turn, step, now)
    await close_entries(session, turn, now)
    partial, engine_message_id = await partial_text(session, turn)
    chat_session = await session.get_one(models.Session, turn.session_id)
    is_interrupted = outcome == "stopped" and turn.reason_code == INTERRUPTED
    reason = INTERRUPTED if is_interrupted else reason
    kind: NoteKind = "interrupted" if is_interrupted else outcome
    message = models.Transcript(
        turn_id=turn_id,
        role="assistant",
        content=partial,
        note_kind=kind,
        note=ending_note(kind, reason, now - turn.started_at, turn.reason_code),
        engine_message_id=engine_message_id,
        created_at=now,
    )
    await append(session, chat_session, [message])
    if conversation.kind == "child":
        await end_turn(session, turn, outcome, reason, now)
        why = reason if outcome == "failed" else cause
        await end_child(session, conversation, outcome, partial, why, now)
        return Settled(elapsed_s=now - turn.started_at)
    await cancel_unsent(session, turn_id, now)
    turn.reply_to = await refresh_reply_target(session, turn)
    await end_turn(session, turn, outcome, reason, now)
    await session.flush()
    settled = await counts(session, turn, already=False)
    if is_interrupted and not partial and not settled.calls:
        return settled  # nothing was said or done: the next turn answers both messages
    chat = await where_to_tell(session, turn, conversation)
    if chat is None:
        return settled
    await enqueue(
        session,
        chat,
        kind="notice" if outcome == "stopped" else "error",
        body=final_message(kind, reason, partial, settled),
        dedupe_key=f"turn:{turn_id}:{outcome}",
        now=now,
        turn=turn if chat is conversation else None,
        reply_to=turn.reply_to if chat is conversation else None,
    )
    return settled


async def partial_text(session: AsyncSession, turn: models.Turn) -> tuple[str, str]:
    """The text that the model had written when it was cut off, and the engine's id of it.

    The stopped step has it; where the worker died instead, the last progress snapshot does.
    """
    last = await session.scalar(_LAST_STEP, {"id": turn.id})
    if last is not None and last.finish == "stopped":
        return last.text.strip(), last.engine_message_id
    progress = await session.get(models.RunProgress, turn.id)
    if progress is None or progress.phase != "answering":
        return "", ""
    if last is not None and last.text.strip() == progress.text.strip():
        return "", ""  # the snapshot still shows a step whose text is in the transcript already
    return progress.text.strip(), ""


async def ending_of(session: AsyncSession, entry_id: str) -> str:
    """How the turn of a dropped final message ended, in words; empty for an answer, and where
    there is nothing to say but that it was stopped.
    """
    entry = await session.get_one(models.Outbox, entry_id)
    turn = None if entry.turn_id is None else await session.get(models.Turn, entry.turn_id)
    if turn is None or entry.kind == "answer":
        return ""
    settled = await counts(session, turn, already=True)
    if turn.state == "failed":
        return final_message("failed", turn.reason_code, "", settled)
    return status_line(settled) if settled.calls else ""


async def cancel_unsent(session: AsyncSession, turn_id: str, now: float) -> None:
    """Cancel the turn's messages that have not begun to leave."""
    await session.execute(_CANCEL_UNSENT, {"id_of_turn": turn_id, "now": now})


async def counts(session: AsyncSession, turn: models.Turn, *, already: bool) -> Settled:
    """The turn's tool calls counted by outcome, with those of the agents stopped with it."""
    rows = (await session.execute(_CALLS, {"id": turn.id})).all()
    calls = [(name, state) for name, state, op in rows if op in COUNTED]
    end = turn.finished_at if turn.finished_at is not None else turn.started_at
    agents, of_agents = await calls_stopped_with(session, turn)
    elapsed_s = end - turn.started_at
    settled = count_calls([*calls, *of_agents], elapsed_s, already=already, agents=agents)
    undone = [(name, state) for name, state, op in reversed(rows) if op == "compensate"]
    return replace(
        settled,
        compensated=tuple(dict.fromkeys(name for name, state in undone if state == "ok")),
        not_compensated=tuple(dict.fromkeys(name for name, state in undone if state != "ok")),
    )


async def _stop_left_behind(session: AsyncSession, turn: models.Turn, now: float) -> None:
    """Stop the agents for whose answers a turn waited that is over."""

    async def end(session: AsyncSession, below: models.Turn) -> object:
        return await settle(session, below.id, "stopped", "stopped", now)

    tasks = await left_behind(session, turn)
    stopped = await stop_tasks(session, tasks, "", PARENT_ENDED, now, end, has_compensations)
    for conversation_id in stopped.runs:
        stop_after(session, conversation_id)
