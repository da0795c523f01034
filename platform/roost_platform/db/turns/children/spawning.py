"""Giving a task to another agent: its conversation, its first message, and the call that waits."""

import json
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from roost.waits import Spawn
from roost_platform.db import models
from roost_platform.db.base.committed.bells import ring_after
from roost_platform.db.base.committed.told import tell
from roost_platform.db.base.ids import new_id
from roost_platform.db.base.text import clean
from roost_platform.db.turns.children import budgets, limits
from roost_platform.db.turns.lookups import person_of
from roost_platform.db.turns.recording import record_tool_call
from roost_platform.queueing import SETTING as QUEUE

CHANNEL: Final = "child"
TITLE_MAX: Final = 80
TASK: Final = "task"  # the kind of inbox rows that give a child its task
STARTED: Final = (
    "Started as {short}. Its answer will come as a message of its own; go on meanwhile, and do not "
    "wait for it or start it again."
)
AS_JSON: Final = "Answer with JSON alone that fits this schema: {schema}"


async def spawn(
    session: AsyncSession,
    turn: models.Turn,
    conversation: models.Conversation,
    call: models.ToolCall,
    wait: Spawn,
    now: float,
) -> str:
    """Start a child for a call, which waits for its answer or gets a result at once.

    Returns why none is started, for the model; else empty. The tree is locked.
    """
    why_not = await limits.refusal(session, conversation) or await budgets.reserve(session, turn)
    if why_not:
        return why_not
    root = await limits.root_of(session, conversation)
    requester = await person_of(session, turn, conversation)
    child = _conversation(conversation, root, wait, wait.agent or turn.agent, now)
    session.add(child)
    await session.flush()
    session.add(_first_message(child, turn, call, wait, requester, now))
    session.add(await _task(session, child, root, turn, call, wait, now))
    if wait.wait:
        call.state, call.wait, call.started_at = "waiting", "child", None
    else:
        call.state, call.result, call.finished_at = "ok", STARTED.format(short=short(child.id)), now
        record_tool_call(session, turn, call, now)
    ring_after(session, child.id)
    tell(
        session,
        "child started",
        conversation_id=child.id,
        parent_turn_id=turn.id,
        root_id=root.id,
        agent=child.agent,
        depth=child.depth,
    )
    return ""


def short(conversation_id: str) -> str:
    """What people and models call a child: the end of its id, which differs most."""
    return conversation_id[-6:]


def _conversation(
    parent: models.Conversation, root: models.Conversation, wait: Spawn, agent: str, now: float
) -> models.Conversation:
    id = new_id()
    settings: dict[str, Any] = {QUEUE: "steer"}
    if wait.max_tokens is not None:
        settings[budgets.TOKENS_OF_CHILD] = wait.max_tokens
    if wait.max_steps is not None:
        settings[budgets.STEPS_OF_CHILD] = wait.max_steps
    return models.Conversation(
        id=id,
        key=f"{CHANNEL}:{id}",
        channel=CHANNEL,
        account="",
        chat=id,
        agent=agent,
        title=clean(wait.task.strip().splitlines()[0])[:TITLE_MAX],
        settings=settings,
        inbox_sequence=1,
        turn_count=0,
        kind="child",
        root_id=root.id,
        depth=parent.depth + 1,
        created_at=now,
    )


def _first_message(
    child: models.Conversation,
    turn: models.Turn,
    call: models.ToolCall,
    wait: Spawn,
    requester: models.Identity | None,
    now: float,
) -> models.Inbox:
    lines = [wait.task]
    if wait.schema is not None:
        lines.append(AS_JSON.format(schema=json.dumps(wait.schema, ensure_ascii=False)))
    attempt = f":{turn.retries}" if turn.retries else ""  # a turn that is tried again gives it anew
    return agent_row(
        child,
        sequence=1,
        kind=TASK,
        event_id=f"{turn.id}:{call.step}:{call.call_id}{attempt}",
        agent=turn.agent,
        text="\n\n".join(lines),
        person_id=None if requester is None else requester.id,
        now=now,
    )


def agent_row(
    conversation: models.Conversation,
    *,
    sequence: int,
    kind: str,
    event_id: str,
    agent: str,
    text: str,
    person_id: str | None,
    now: float,
) -> models.Inbox:
    """A message that an agent writes to another. person_id: whose work it is."""
    return models.Inbox(
        id=new_id(),
        conversation_id=conversation.id,
        sequence=sequence,
        channel=CHANNEL,
        account="",
        event_id=event_id,
        message_id="",
        kind=kind,
        identity_id=person_id,
        sender={"address": "", "display_name": agent, "username": ""},
        text=clean(text),
        attachments=[],
        raw={},
        state="pending",
        sent_at=now,
        received_at=now,
        rung_at=now,
    )


async def _task(
    session: AsyncSession,
    child: models.Conversation,
    root: models.Conversation,
    turn: models.Turn,
    call: models.ToolCall,
    wait: Spawn,
    now: float,
) -> models.ChildTask:
    is_fork = wait.context == "fork"
    chat_session = await session.get_one(models.Session, turn.session_id)
    return models.ChildTask(
        conversation_id=child.id,
        parent_id=turn.conversation_id,
        root_id=root.id,
        parent_turn_id=turn.id,
        parent_step=call.step,
        parent_call_id=call.call_id,
        agent=child.agent,
        task=clean(wait.task),
        context=wait.context,
        is_waited=wait.wait,
        answer_schema=None if wait.schema is None else dict(wait.schema),
        fork_session_id=chat_session.id if is_fork else None,
        fork_position=chat_session.transcript_length if is_fork else 0,
        state="running",
        created_at=now,
    )
