"""What a model call reads of a turn: the transcript, who asks, and what was used so far."""

from dataclasses import replace

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.turn import OpenCalls
from roost_platform.db import models
from roost_platform.db.locks import get_turn
from roost_platform.db.people.tenants import Tenants
from roost_platform.db.turns import steps
from roost_platform.db.turns.children.budgets import limit_of
from roost_platform.db.turns.children.forks import read_by_child
from roost_platform.db.turns.children.limits import root_of
from roost_platform.db.turns.lookups import facts_of, has_open_group, payload_of, person_of
from roost_platform.db.turns.scheduled.ends import read_by_job
from roost_platform.db.turns.spending import spent
from roost_platform.db.turns.transcript import complete_rows, messages, pending_rows, take
from roost_workflows.model_calls import Given, Spent
from roost_workflows.ports import CALL_ENDED, CallContext, TurnContext, TurnRecord

_OPEN_CALLS = (
    select(models.ToolCall.call_id, models.ToolCall.state)
    .where(
        models.ToolCall.turn_id == bindparam("id"),
        models.ToolCall.step == bindparam("step"),
        models.ToolCall.state.not_in(CALL_ENDED),
    )
    .order_by(models.ToolCall.position)
)
_LAST_STEP = (
    select(models.TurnStep.step, models.TurnStep.state)
    .where(models.TurnStep.turn_id == bindparam("id"))
    .order_by(models.TurnStep.step.desc())
    .limit(1)
)


async def read_context(
    session: AsyncSession,
    turn: models.Turn,
    conversation: models.Conversation,
    tenants: Tenants,
    now: float,
    *,
    is_first: bool,
    steers: bool,
) -> TurnContext:
    """Take messages that arrived meanwhile, if the turn steers, then read what a call needs.

    The conversation is locked.
    """
    chat_session = await session.get_one(models.Session, turn.session_id)
    has_open = await has_open_group(session, turn.id)
    steered = 0
    if not has_open and steers:
        taken = complete_rows(await pending_rows(session, conversation.id), now)
        await take(session, turn, chat_session, taken, now)
        steered = len(taken)
    person = await person_of(session, turn, conversation)
    root = await root_of(session, conversation)
    context = TurnContext(
        turn=record(turn),
        person_id="" if person is None else person.id,
        person_name="" if person is None else person.display_name,
        channel=conversation.channel,
        session_key=conversation.key,
        cache_salt=await tenants.salt(session, root.channel, root.account, root.chat),
        messages=await messages(session, chat_session.id, chat_session.transcript_length),
        end=chat_session.transcript_length,
        steered=steered,
        spent=Spent() if is_first and not has_open else await spent(session, turn),
        payload=await payload_of(session, turn.id),
    )
    if conversation.kind == "job":
        job = await read_by_job(session, conversation)
        return replace(
            context,
            messages=[*job.before, *context.messages],
            given=Given(in_background=True, schema=job.schema),
        )
    if conversation.kind != "child":
        return context
    return await _of_child(session, turn, conversation, context)


async def read_call(session: AsyncSession, turn_id: str, step: int, call_id: str) -> CallContext:
    """What a call of an agent needs to run. Raises NotFound."""
    turn = await get_turn(session, turn_id)
    conversation = await session.get_one(models.Conversation, turn.conversation_id)
    return CallContext(
        turn=record(turn),
        call=await steps.read_call(session, turn_id, step, call_id),
        facts=await facts_of(session, turn, conversation),
        spent=await spent(session, turn),
    )


async def _of_child(
    session: AsyncSession,
    turn: models.Turn,
    conversation: models.Conversation,
    context: TurnContext,
) -> TurnContext:
    """The same for a child: with what it forks, and what it may use with its whole tree."""
    read = await read_by_child(session, conversation.id)
    if read is None:
        return context
    limit = await limit_of(session, turn, conversation)
    return replace(
        context,
        messages=[*read.before, *context.messages],
        spent=replace(context.spent, limit=limit),
        given=Given(read.in_background, read.schema),
    )


def record(
    turn: models.Turn, first_step: int = 1, open_calls: OpenCalls | None = None
) -> TurnRecord:
    """The turn as the workflow knows it."""
    return TurnRecord(
        turn_id=turn.id,
        conversation_id=turn.conversation_id,
        session_id=turn.session_id,
        number=turn.number,
        agent=turn.agent,
        stop_requested=turn.stop_requested_at is not None,
        worker_deaths=turn.worker_deaths,
        first_step=first_step,
        open_calls=open_calls or OpenCalls(),
        steps_before=turn.steps_before,
    )


async def resumed(session: AsyncSession, turn: models.Turn) -> TurnRecord:
    """The turn with where it goes on: at its last step if that is open, else at the next."""
    flow = await session.get(models.FlowRun, turn.id)
    if flow is not None:
        return record(turn, flow.advances + 1)
    last = (await session.execute(_LAST_STEP, {"id": turn.id})).first()
    if last is None:
        return record(turn)
    step, state = last
    if state != "open":
        return record(turn, int(step) + 1)
    rows = (await session.execute(_OPEN_CALLS, {"id": turn.id, "step": step})).all()
    waiting = tuple(call_id for call_id, state in rows if state == "waiting")
    ready = tuple(call_id for call_id, state in rows if state != "waiting")
    return record(turn, int(step), OpenCalls(ready, waiting))
