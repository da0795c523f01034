"""What the model was asked in one step: built again from the transcript by what built it first.

Nothing of a prompt is stored: the transcript, the agent and a few figures give it again.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.agent import Agent
from roost_platform.db import models
from roost_platform.db.turns.children.forks import read_by_child
from roost_platform.db.turns.scheduled.ends import read_by_job
from roost_platform.db.turns.transcript import messages
from roost_platform.views.faults.sections import PromptSection, sections_of
from roost_platform.views.sessions import display_title
from roost_workflows.model_calls import Asked
from roost_workflows.ports import TranscriptMessage, TurnContext, TurnRecord
from roost_workflows.turn.requests import agent_digest, build_request
from roost_workflows.turn.window import window

FindAgent = Callable[[str], Agent | None]
AGENT_GONE: Final = "This agent is not installed any more, so the prompt can't be built again."
NOT_KEPT: Final = "This step is older than the record of how models are asked."


@dataclass(frozen=True, slots=True)
class ToolError:
    """The trace of a tool call of the step that broke."""

    name: str
    error: str


@dataclass(frozen=True, slots=True)
class PromptView:
    """One step of a turn.

    is_answered: whether the engine's answer was committed; else the prompt is the one that its next
        try has. problem: why no prompt is shown, in a sentence; empty where one is.
    is_changed: the agent's instructions or tools are not those that the model was given.
    left_out: messages of the transcript that shortening left out. request: the body as JSON.
    error: the engine's own words or a trace, while the turn keeps them.
    """

    conversation_id: str
    key: str
    title: str
    turn_number: int
    turn_state: str
    step: int
    steps: int
    agent: str
    is_answered: bool
    problem: str
    is_changed: bool
    model: str
    temperature: float | None
    max_tokens: int | None
    shortening: int
    left_out: int
    may_use_tools: bool
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    ttft_s: float | None
    duration_s: float | None
    finish: str
    finish_reason: str
    error: str
    tool_errors: tuple[ToolError, ...]
    sections: tuple[PromptSection, ...]
    request: str


@dataclass(frozen=True, slots=True)
class StoredStep:
    """What the database has of a step, read in one transaction; `view` makes the page of it."""

    conversation: models.Conversation
    person: str | None
    turn: models.Turn
    step: int
    steps: int
    row: models.TurnStep | None
    calls: tuple[models.ToolCall, ...]
    asked: Asked | None
    messages: tuple[TranscriptMessage, ...]


async def stored_step(
    session: AsyncSession, conversation_id: str, turn_id: str, step: int
) -> StoredStep | None:
    """A committed step of a turn, or the one after the last, which has no answer; None if there is
    none of these.
    """
    turn = await session.get(models.Turn, turn_id)
    if turn is None or turn.conversation_id != conversation_id:
        return None
    conversation = await session.get_one(models.Conversation, conversation_id)
    row = await session.get(models.TurnStep, (turn_id, step))
    count = await session.scalar(select(func.count()).where(models.TurnStep.turn_id == turn_id))
    if row is None and (step != (count or 0) + 1 or turn.state == "done"):
        return None
    identity = None
    if conversation.identity_id is not None:
        identity = await session.get(models.Identity, conversation.identity_id)
    calls = await session.scalars(
        select(models.ToolCall)
        .where(models.ToolCall.turn_id == turn_id, models.ToolCall.step == step)
        .order_by(models.ToolCall.position)
    )
    asked = _asked(row) if row is not None else Asked(end=await _end_of(session, turn))
    shown = [] if asked is None else await messages(session, turn.session_id, asked.end)
    child = await read_by_child(session, conversation_id)
    if child is not None and asked is not None:
        shown = [*child.before, *shown]
    if conversation.kind == "job" and asked is not None:
        shown = [*(await read_by_job(session, conversation)).before, *shown]
    return StoredStep(
        conversation=conversation,
        person=identity.display_name if identity else None,
        turn=turn,
        step=step,
        steps=count or 0,
        row=row,
        calls=tuple(calls),
        asked=asked,
        messages=tuple(shown),
    )


def view(stored: StoredStep, find_agent: FindAgent) -> PromptView:
    """The page of a step. It walks over all that was said: call it in a thread."""
    turn, row, asked = stored.turn, stored.row, stored.asked or Asked()
    agent = find_agent(turn.agent)
    problem = NOT_KEPT if stored.asked is None else AGENT_GONE if agent is None else ""
    pictures = None if asked.pictures is None else {id: f"picture:{id}" for id in asked.pictures}
    sections: tuple[PromptSection, ...] = ()
    request, left_out = "", 0
    if agent is not None and not problem:
        shown = window(stored.messages, asked.shortening)
        left_out = len(stored.messages) - len([m for m in shown if m.role != "system"])
        sections = sections_of(agent, shown, last=asked.last, pictures=pictures)
        body = build_request(
            agent,
            _context(stored),
            step=stored.step,
            last=asked.last,
            shorter=asked.shortening,
            pictures=pictures,
        )
        request = json.dumps(
            {"messages": body.messages, "tools": body.tools}, ensure_ascii=False, indent=2
        )
    settings = agent.settings if agent is not None and row is None else None
    return PromptView(
        conversation_id=stored.conversation.id,
        key=stored.conversation.key,
        title=display_title(stored.conversation, stored.person),
        turn_number=turn.number,
        turn_state=turn.state,
        step=stored.step,
        steps=stored.steps,
        agent=turn.agent,
        is_answered=row is not None,
        problem=problem,
        is_changed=bool(agent and asked.agent_digest and asked.agent_digest != agent_digest(agent)),
        model=row.model if row else "",
        temperature=settings.temperature if settings else asked.temperature,
        max_tokens=settings.max_tokens if settings else asked.max_tokens,
        shortening=asked.shortening,
        left_out=left_out,
        may_use_tools=not asked.last,
        prompt_tokens=row.prompt_tokens if row else 0,
        cached_tokens=row.cached_tokens if row else 0,
        completion_tokens=row.completion_tokens if row else 0,
        ttft_s=row.time_to_first_token_s if row else None,
        duration_s=row.duration_s if row else None,
        finish=row.finish if row else "",
        finish_reason=row.finish_reason if row else "",
        error=turn.error if stored.step >= stored.steps else "",
        tool_errors=tuple(ToolError(c.name, c.error) for c in stored.calls if c.error),
        sections=sections,
        request=request,
    )


def _asked(row: models.TurnStep) -> Asked | None:
    """How the model was asked; None for a step from before this was kept."""
    if row.prompt_end is None:
        return None
    return Asked(
        end=row.prompt_end,
        shortening=row.shortening,
        last=row.last,
        pictures=None if row.pictures is None else tuple(str(id) for id in row.pictures),
        temperature=row.temperature,
        max_tokens=row.max_tokens,
        agent_digest=row.agent_digest,
        finish_reason=row.finish_reason,
    )


async def _end_of(session: AsyncSession, turn: models.Turn) -> int:
    """Where the prompt of a step without an answer ends: before the note on how the turn ended."""
    if turn.state == "running":
        chat_session = await session.get_one(models.Session, turn.session_id)
        return chat_session.transcript_length
    end = await session.scalar(
        select(func.max(models.Transcript.position)).where(models.Transcript.turn_id == turn.id)
    )
    return end or 0


def _context(stored: StoredStep) -> TurnContext:
    """What `build_request` reads of a context: the messages, and ids without a meaning here."""
    turn = stored.turn
    record = TurnRecord(
        turn.id, turn.conversation_id, turn.session_id, turn.number, turn.agent, False
    )
    return TurnContext(record, "", "", "", "", "", stored.messages)
