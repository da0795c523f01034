"""Model calls and tool calls of a turn; each function runs inside one transaction."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost.effects import Effect
from roost.turn import Finish
from roost_channels.rendering.layout import is_blank
from roost_platform.db import models
from roost_platform.db.base.committed.told import tell
from roost_platform.db.base.text import clean
from roost_platform.db.cards.cards import tell_outcome
from roost_platform.db.enqueue import enqueue
from roost_platform.db.locks import check_running, lock_turn
from roost_platform.db.message_files import media_of
from roost_platform.db.reply_targets import refresh_reply_target
from roost_platform.db.turns.children.budgets import charge
from roost_platform.db.turns.children.ending import end_child
from roost_platform.db.turns.children.schemas import corrected
from roost_platform.db.turns.recording import (
    asked_columns,
    assistant_message,
    record_model_call,
    record_tool_call,
    record_turn,
)
from roost_platform.db.turns.scheduled.ends import deliver, note_end
from roost_platform.db.turns.transcript import append
from roost_platform.errors import NotFound
from roost_workflows.ports import (
    CALL_ENDED,
    CallRecord,
    CallState,
    CallStatus,
    ModelCall,
    PlannedCall,
    StepRecord,
)
from roost_workflows.turn.endings import NOT_RUN, answer_end, unfinished_call

# Every answer's transaction runs these, so they are built once.
_CALLS = (
    select(models.ToolCall)
    .where(models.ToolCall.turn_id == bindparam("id"), models.ToolCall.step == bindparam("step"))
    .order_by(models.ToolCall.position)
)
_ANSWERED = (
    update(models.Inbox)
    .where(models.Inbox.turn_id == bindparam("id_of_turn"), models.Inbox.state == "taken")
    .values(state="done")
    .execution_options(synchronize_session=False)
)
_PROGRESS_OVER = (
    update(models.RunProgress)
    .where(models.RunProgress.turn_id == bindparam("id"))
    .values(
        phase=bindparam("over"),
        updated_at=bindparam("at"),
        version=models.RunProgress.version + 1,
    )
    .execution_options(synchronize_session=False)
)


async def calls_of(session: AsyncSession, turn_id: str, step: int) -> Sequence[models.ToolCall]:
    """The tool calls of a step, in the model's order."""
    return (await session.scalars(_CALLS, {"id": turn_id, "step": step})).all()


async def read_step(session: AsyncSession, turn_id: str, step: int) -> StepRecord | None:
    """The step as it was committed, without content."""
    row = await session.get(models.TurnStep, (turn_id, step))
    if row is None:
        return None
    planned = tuple(
        PlannedCall(call.call_id, call.name, call.arguments, cast(Effect, call.effect))
        for call in await calls_of(session, turn_id, step)
    )
    return StepRecord(step, cast(Finish, row.finish), planned)


async def commit(
    session: AsyncSession, turn_id: str, step: int, call: ModelCall, now: float
) -> StepRecord:
    """Store a model call; one that ends the turn stores answer, outbox row and state with it."""
    turn, conversation = await lock_turn(session, turn_id, running=False)
    if (stored := await read_step(session, turn_id, step)) is not None:
        return stored
    check_running(turn)  # a late writer of a settled turn ends here
    finish = call.finish
    if turn.stop_requested_at is not None and finish != "tools":
        finish = "stopped"  # the stop was recorded first: the text is kept as a partial answer
    if finish == "answer" and await corrected(session, turn, conversation, call, now):
        finish = "tools"
    row = models.TurnStep(
        turn_id=turn_id,
        step=step,
        state="open" if finish == "tools" else "closed",
        finish=finish,
        text=clean(call.text),
        model=call.model,
        engine_message_id=call.engine_message_id,
        prompt_tokens=call.usage.prompt_tokens,
        cached_tokens=call.usage.cached_tokens,
        completion_tokens=call.usage.completion_tokens,
        time_to_first_token_s=call.usage.time_to_first_token_s,
        duration_s=call.usage.duration_s,
        engine=clean(call.usage.engine) or None,
        started_at=call.started_at,
        created_at=now,
        **asked_columns(call.asked),
    )
    session.add(row)
    if conversation.kind == "child":
        await charge(session, turn, row.prompt_tokens + row.completion_tokens)
    record_model_call(session, turn, row)
    turn.resumes, turn.error = 0, ""  # it makes progress
    if finish == "tools":
        for position, planned in enumerate(call.calls):
            session.add(
                models.ToolCall(
                    turn_id=turn_id,
                    step=step,
                    call_id=planned.call_id,
                    position=position,
                    name=planned.name,
                    arguments=clean(planned.arguments),
                    effect=planned.effect,
                    state="planned",
                )
            )
    await session.flush()
    if finish not in ("tools", "stopped"):
        await _answer(session, turn, conversation, row, call.limit, now)
    return StepRecord(step, finish, tuple(call.calls) if finish == "tools" else ())


async def _answer(
    session: AsyncSession,
    turn: models.Turn,
    conversation: models.Conversation,
    row: models.TurnStep,
    limit: str,
    now: float,
) -> None:
    media = await media_of(session, turn.id)
    text = "" if is_blank(row.text) else row.text
    ending = answer_end(cast(Finish, row.finish), limit, text, files=len(media))
    message = assistant_message(turn, row, now)
    message.content, message.note_kind, message.note = text, ending.note_kind, ending.note
    await append(session, await session.get_one(models.Session, turn.session_id), [message])
    if conversation.kind == "job":
        await deliver(session, turn, conversation, text, ending.body, media, now)
        return await end_turn(session, turn, "done", limit, now)
    if conversation.kind == "child":
        said = text or (ending.note if media else "")  # words for people are no result
        await end_child(session, conversation, "done", said, limit, now)
        return await end_turn(session, turn, "done", limit, now)
    turn.reply_to = await refresh_reply_target(session, turn)
    await enqueue(
        session,
        conversation,
        kind="answer" if text or media else "notice",
        body=ending.body,
        dedupe_key=f"turn:{turn.id}:answer",
        now=now,
        turn=turn,
        reply_to=turn.reply_to,
        media=media,
    )
    await end_turn(session, turn, "done", limit, now)


async def end_turn(
    session: AsyncSession, turn: models.Turn, state: str, reason: str, now: float
) -> None:
    """End the turn, its messages and its progress."""
    turn.state, turn.reason_code, turn.finished_at = state, reason, now
    tell(
        session,
        "turn ended",
        turn_id=turn.id,
        conversation_id=turn.conversation_id,
        outcome=state,
        duration_s=round(now - turn.started_at, 3),
    )
    record_turn(session, turn, now)
    await note_end(session, turn, state, reason, now)
    await session.execute(_ANSWERED, {"id_of_turn": turn.id})
    await session.execute(_PROGRESS_OVER, {"id": turn.id, "over": state, "at": now})


async def begin_call(
    session: AsyncSession, turn_id: str, step: int, call_id: str, now: float
) -> CallRecord:
    """Mark a call running. A finished call comes back unchanged, and none begins after a stop."""
    turn, _ = await lock_turn(session, turn_id, running=False)
    call = await get_call(session, turn_id, step, call_id)
    before = cast(CallState, call.state)
    if call.state not in CALL_ENDED and call.state != "waiting":
        check_running(turn)
        if call.state in ("planned", "ready") and turn.stop_requested_at is not None:
            before = "skipped"
            call.state, call.result, call.finished_at = "skipped", NOT_RUN, now
        else:
            call.state, call.started_at = "running", call.started_at or now
            call.attempts += 1
    return _record(call, before)


async def get_call(session: AsyncSession, turn_id: str, step: int, call_id: str) -> models.ToolCall:
    """The call. Raises NotFound."""
    call = await session.get(models.ToolCall, (turn_id, step, call_id))
    if call is None:
        raise NotFound(f"No call {call_id} in step {step} of turn {turn_id}.")
    return call


async def read_call(session: AsyncSession, turn_id: str, step: int, call_id: str) -> CallRecord:
    """The call as it is stored. Raises NotFound."""
    call = await get_call(session, turn_id, step, call_id)
    return _record(call, cast(CallState, call.state))


def _record(call: models.ToolCall, state: CallState) -> CallRecord:
    return CallRecord(
        call_id=call.call_id,
        name=call.name,
        arguments=call.arguments,
        effect=cast(Effect, call.effect),
        state=state,
        attempt=call.attempts,
        key=f"{call.turn_id}:{call.step}:{call.call_id}",
        result=call.result,
        wait=call.wait,
    )


async def finish_call(
    session: AsyncSession,
    turn_id: str,
    step: int,
    call_id: str,
    status: CallStatus,
    result: str,
    error: str,
    now: float,
    ran_s: float | None = None,
) -> None:
    """Store a call's result once; a second or late result changes nothing."""
    turn, _ = await lock_turn(session, turn_id, running=False)
    call = await get_call(session, turn_id, step, call_id)
    if call.state not in CALL_ENDED:
        call.state, call.result, call.finished_at = status, clean(result), now
        call.error = clean(error)
        if ran_s is not None and call.started_at is not None:
            call.started_at = now - ran_s  # what set the clock meanwhile was no work
        record_tool_call(session, turn, call, now)
        if call.wait == "approval":
            await tell_outcome(session, turn_id, step, call_id, status, now)


async def close_group(session: AsyncSession, turn: models.Turn, step: int, now: float) -> None:
    """Append the assistant message and all its results; an unfinished call gets a typed result."""
    row = await session.get(models.TurnStep, (turn.id, step))
    if row is None:
        raise NotFound(f"No step {step} in turn {turn.id}.")
    if row.state == "closed":
        return
    chat_session = await session.get_one(models.Session, turn.session_id)
    calls = await calls_of(session, turn.id, step)
    for call in calls:
        if call.state not in CALL_ENDED:
            state, effect = cast(CallState, call.state), cast(Effect, call.effect)
            call.state, call.result = unfinished_call(state, effect)
            call.finished_at = now
            record_tool_call(session, turn, call, now)
    message = assistant_message(turn, row, now)
    message.tool_calls = [[call.call_id, call.name, call.arguments] for call in calls]
    results = [
        models.Transcript(
            turn_id=turn.id,
            role="tool",
            content=call.result,
            tool_call_id=call.call_id,
            name=call.name,
            status=call.state,
            created_at=now,
        )
        for call in calls
    ]
    await append(session, chat_session, [message, *results])
    row.state = "closed"
