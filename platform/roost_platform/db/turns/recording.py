"""What is kept of model calls, and what turns and their calls tell those who measure."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.committed.facts import ModelCalled, ToolCalled, TurnEnded, record
from roost_platform.db.base.text import clean
from roost_workflows.model_calls import Asked


def record_turn(session: AsyncSession, turn: models.Turn, now: float) -> None:
    """Record that a turn is over; its state and reason are set."""
    record(
        session,
        TurnEnded(
            turn_id=turn.id,
            conversation_id=turn.conversation_id,
            agent=turn.agent,
            outcome=turn.state,
            reason=turn.reason_code,
            queued_at=turn.queued_at,
            started_at=turn.started_at,
            finished_at=now,
        ),
    )


def record_model_call(session: AsyncSession, turn: models.Turn, row: models.TurnStep) -> None:
    """Record a model call that is committed with this transaction."""
    record(
        session,
        ModelCalled(
            turn_id=row.turn_id,
            conversation_id=turn.conversation_id,
            step=row.step,
            model=row.model,
            finish=row.finish,
            prompt_tokens=row.prompt_tokens,
            cached_tokens=row.cached_tokens,
            completion_tokens=row.completion_tokens,
            first_token_s=row.time_to_first_token_s,
            started_at=row.started_at,
            duration_s=row.duration_s,
        ),
    )


def record_tool_call(
    session: AsyncSession, turn: models.Turn, call: models.ToolCall, now: float
) -> None:
    """Record that a tool call ended; its state is set. One that never ran began when it ended."""
    record(
        session,
        ToolCalled(
            turn_id=call.turn_id,
            conversation_id=turn.conversation_id,
            step=call.step,
            call_id=call.call_id,
            name=call.name,
            status=call.state,
            started_at=call.started_at or now,
            finished_at=now,
        ),
    )


def asked_columns(asked: Asked | None) -> dict[str, Any]:
    """The columns that tell how the model was asked."""
    if asked is None:
        return {}
    return {
        "prompt_end": asked.end,
        "shortening": asked.shortening,
        "last": asked.last,
        "pictures": None if asked.pictures is None else list(asked.pictures),
        "temperature": asked.temperature,
        "max_tokens": asked.max_tokens,
        "agent_digest": asked.agent_digest,
        "finish_reason": asked.finish_reason,
        "manifest": clean(dict(asked.manifest)) or None,
    }


def assistant_message(turn: models.Turn, row: models.TurnStep, now: float) -> models.Transcript:
    """The transcript row of a step's text."""
    return models.Transcript(
        turn_id=turn.id,
        role="assistant",
        content=row.text,
        engine_message_id=row.engine_message_id,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        created_at=now,
    )
