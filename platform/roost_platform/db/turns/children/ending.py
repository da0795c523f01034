"""The end of a child: its result is stored once, and goes to whoever gave the task."""

from typing import Final, Literal

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost.execution.call import Outcome
from roost.waits import NO_RESULT
from roost_platform.db import models
from roost_platform.db.base.committed.bells import ring_after
from roost_platform.db.base.committed.told import tell
from roost_platform.db.base.text import clean
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import open_turn
from roost_platform.db.message_files import keep_text
from roost_platform.db.reasons import WORDS
from roost_platform.db.turns.children.schemas import faults_of
from roost_platform.db.turns.children.spawning import agent_row, short
from roost_platform.db.turns.parking import make_ready
from roost_platform.db.turns.transcript import RESULT
from roost_workflows.ports import CALL_ENDED
from roost_workflows.turn.endings import APOLOGIES, LIMITS_SAID, STOPPERS

End = Literal["done", "failed", "stopped"]
RESULT_CHARS_MAX: Final = 32_000  # about 8,000 tokens
CUT: Final = "\n\n[The rest is left out here: {more} characters more{file}.]"
IN_FILE: Final = "; the whole answer is the file {id}, which read_file reads"
NOT_VALID: Final = "[This answer does not fit the schema that was asked for: schema_valid=false]"
HEADS: Final = {
    "failed": "The agent {agent} failed: {why}",
    "stopped": "The agent {agent} was stopped by {why}.",
}
PARTIAL: Final = "What it had by then:"


async def end_child(
    session: AsyncSession,
    conversation: models.Conversation,
    state: End,
    text: str,
    reason: str,
    now: float,
) -> None:
    """Store a child's result, once, and bring it to the call that waits, or as a message.

    The tree is locked. text: the answer, or what there was of it. reason: a code of reasons.py, or
    of endings.STOPPERS for one that was stopped.
    """
    task = await session.get(models.ChildTask, conversation.id)
    if task is None:
        return
    if task.state != "running":
        if task.state == "stopped" and not task.result:  # with its tree: nobody waits for it
            task.result = await _bounded(session, task, clean(text).strip(), now)
        return
    task.state, task.reason, task.finished_at = state, reason, now
    task.result = await _bounded(session, task, clean(text).strip(), now)
    if state == "done" and task.answer_schema is not None:
        task.schema_valid = not faults_of(text, task.answer_schema)
    tell(
        session,
        "child ended",
        conversation_id=conversation.id,
        parent_turn_id=task.parent_turn_id,
        outcome=state,
    )
    await session.flush()
    await _pass_on(session, conversation, task, now)
    if task.is_waited:
        waiting = await make_ready(
            session, task.parent_turn_id, task.parent_step, task.parent_call_id
        )
        if waiting is not None:
            ring_after(session, waiting)
    else:
        await _bring(session, task, now)


async def outcome_of(
    session: AsyncSession, turn_id: str, step: int, call_id: str
) -> Outcome | None:
    """The result of a call that gave a task; None while the child works."""
    task = await task_of_call(session, turn_id, step, call_id)
    if task is None or task.state == "running":
        return None
    if task.state == "done":
        return Outcome("ok" if task.result else "error", told(task))
    return Outcome("cancelled" if task.state == "stopped" else "error", told(task))


async def task_of_call(
    session: AsyncSession, turn_id: str, step: int, call_id: str
) -> models.ChildTask | None:
    """The task that a call gave, in its latest attempt."""
    return await session.scalar(
        select(models.ChildTask)
        .where(
            models.ChildTask.parent_turn_id == turn_id,
            models.ChildTask.parent_step == step,
            models.ChildTask.parent_call_id == call_id,
        )
        .order_by(models.ChildTask.created_at.desc(), models.ChildTask.conversation_id.desc())
        .limit(1)
    )


def told(task: models.ChildTask) -> str:
    """What the parent's model reads of a child that has ended."""
    if task.state == "done":
        text = task.result or LIMITS_SAID.get(task.reason, NO_RESULT)
        return f"{NOT_VALID}\n{text}" if task.schema_valid is False else text
    if task.state == "failed":
        why = APOLOGIES.get(task.reason, APOLOGIES["internal"])
    else:
        why = STOPPERS.get(task.reason, STOPPERS[""])
    head = HEADS[task.state].format(agent=task.agent, why=why)
    return f"{head}\n{PARTIAL}\n{task.result}" if task.result else head


async def close_calls(session: AsyncSession, turn: models.Turn, now: float) -> None:
    """End the calls of a turn that is over which wait for children: done, if the child is."""
    calls = await session.scalars(
        select(models.ToolCall).where(
            models.ToolCall.turn_id == turn.id,
            models.ToolCall.wait == "child",
            models.ToolCall.state.not_in(CALL_ENDED),
        )
    )
    for call in calls.all():
        outcome = await outcome_of(session, turn.id, call.step, call.call_id)
        call.state = "cancelled" if outcome is None else outcome.status
        call.result = "" if outcome is None else outcome.text
        call.finished_at = now


async def _pass_on(
    session: AsyncSession, conversation: models.Conversation, task: models.ChildTask, now: float
) -> None:
    """Give answers of children's children that came too late for the child to whom it worked."""
    late = await session.scalars(
        select(models.Inbox)
        .where(
            models.Inbox.conversation_id == conversation.id,
            models.Inbox.state == "pending",
            models.Inbox.kind == RESULT,
        )
        .order_by(models.Inbox.sequence)
    )
    for row in late.all():
        target = await _open_ancestor(session, task)
        if await _is_flow(session, target):
            await _send(
                session, target, row.event_id, str(row.sender["display_name"]), row.text, now
            )
            row.state = "done"
            continue
        target.inbox_sequence += 1
        row.conversation_id, row.sequence = target.id, target.inbox_sequence
        ring_after(session, target.id)
    await session.execute(
        update(models.Inbox)
        .where(models.Inbox.conversation_id == conversation.id, models.Inbox.state == "pending")
        .values(state="dropped", reason_code="stopped", reason=WORDS["stopped"])
    )


async def _bring(session: AsyncSession, task: models.ChildTask, now: float) -> None:
    """Let the answer of a child for which nobody waits arrive as a message."""
    target = await _open_ancestor(session, task)
    event_id = f"result:{task.conversation_id}"
    agent = f"{task.agent} {short(task.conversation_id)}"
    if await _is_flow(session, target):
        return await _send(session, target, event_id, agent, told(task), now)
    first = await session.scalar(
        select(models.Inbox.identity_id)
        .where(models.Inbox.conversation_id == task.conversation_id)
        .order_by(models.Inbox.sequence)
        .limit(1)
    )
    target.inbox_sequence += 1
    session.add(
        agent_row(
            target,
            sequence=target.inbox_sequence,
            kind=RESULT,
            event_id=event_id,
            agent=agent,
            text=told(task),
            person_id=first,
            now=now,
        )
    )
    ring_after(session, target.id)


async def _is_flow(session: AsyncSession, target: models.Conversation) -> bool:
    """Whether a flow answers in the chat at the top: what comes as a message begins it anew."""
    latest = await session.scalar(
        select(models.Turn.id)
        .where(models.Turn.conversation_id == target.id)
        .order_by(models.Turn.number.desc())
        .limit(1)
    )
    return target.kind == "chat" and await session.get(models.FlowRun, latest or "") is not None


async def _send(
    session: AsyncSession,
    target: models.Conversation,
    event_id: str,
    agent: str,
    text: str,
    now: float,
) -> None:
    """Show people a child's answer, which nothing else reads."""
    await enqueue(
        session,
        target,
        kind="answer",
        body=f"{agent}:\n\n{text}",
        dedupe_key=event_id,
        now=now,
    )


async def _open_ancestor(session: AsyncSession, task: models.ChildTask) -> models.Conversation:
    """The nearest conversation above in which somebody still reads: the chat at the top does."""
    parent_id = task.parent_id
    while (above := await session.get(models.ChildTask, parent_id)) is not None:
        if above.state == "running" and await open_turn(session, parent_id) is not None:
            break
        parent_id = above.parent_id
    return await session.get_one(models.Conversation, parent_id)


async def _bounded(session: AsyncSession, task: models.ChildTask, text: str, now: float) -> str:
    """The beginning of a long result; the whole is a file of the conversation that reads it."""
    if len(text) <= RESULT_CHARS_MAX:
        return text
    if task.is_waited:
        reader = await session.get_one(models.Conversation, task.parent_id)
    else:
        reader = await _open_ancestor(session, task)
    id = await keep_text(
        session,
        reader,
        turn_id=task.parent_turn_id,
        origin=f"child:{task.conversation_id}",
        name=f"{task.agent} {short(task.conversation_id)}.txt",
        text=text,
        now=now,
    )
    more = len(text) - RESULT_CHARS_MAX
    return text[:RESULT_CHARS_MAX] + CUT.format(more=more, file=IN_FILE.format(id=id) * bool(id))
