"""A new run of a flow that begins with a part of an earlier run's journal; no effect repeats."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.attempts.journal import (
    NOTHING_DONE,
    entries_of,
    reset,
    settle_agents,
    took_effect,
)
from roost_platform.db.attempts.refusals import compensations, refuse_place, refuse_stopped
from roost_platform.db.base.committed.told import tell
from roost_platform.db.base.ids import new_id, new_nonce
from roost_platform.db.conversations.sessions import current_session
from roost_platform.db.locks import lock_turn
from roost_platform.db.turns.transcript import take
from roost_platform.errors import NotAllowed, NotFound

RUNS_MAX: Final = 20  # that forked one from another, whose effects a fork looks through
NO_FLOW: Final = "There is no flow {id!r}."
RUNS: Final = "It runs or waits. Stop it first, or wait for its end."
OUTSIDE: Final = (
    "A fork begins at a step from 1 to {most}: the journal of this run has {count} steps."
)
UNDONE: Final = (
    "The effects of this run were undone when it ended, so a fork may keep no step from {first} "
    "on. Fork it at {first} or before."
)
UNDONE_IN_PART: Final = (
    "{done} steps of this run took effect and {undone} of its compensations succeeded. Which "
    "effects still stand is not known, so it can't be forked: start it anew."
)


@dataclass(frozen=True, slots=True)
class Forked:
    """A new run. kept: how many entries it took over."""

    turn_id: str
    conversation_id: str
    kept: int


async def fork(session: AsyncSession, turn_id: str, at: int, now: float) -> Forked:
    """Begin a new run in the same conversation with what the steps before `at` have given.

    at: a number in the journal, from 1. What the earlier run did outside from there on counts as
    done where the new run comes to the same call; see `done_before`. Raises NotFound, and
    NotAllowed with the reason.
    """
    turn, conversation = await lock_turn(session, turn_id, running=False)
    flow = await session.get(models.FlowRun, turn_id)
    if flow is None:
        raise NotFound(NO_FLOW.format(id=turn_id))
    if turn.state in ("running", "waiting"):
        raise NotAllowed(RUNS)
    refuse_stopped(turn)
    await refuse_place(session, turn, conversation)
    calls = await entries_of(session, turn_id)
    if not 1 <= at <= len(calls) + 1:
        raise NotAllowed(OUTSIDE.format(most=len(calls) + 1, count=len(calls)))
    if await compensations(session, turn_id) and at > (first := await fork_point(session, turn_id)):
        raise NotAllowed(UNDONE.format(first=first))
    await settle_agents(session, calls)
    kept = [
        call
        for call in calls
        if call.step < at and (call.op == "compensate" or call.state not in NOTHING_DONE)
    ]
    new = await _begin(session, turn, conversation, now)
    session.add(
        models.FlowRun(
            turn_id=new.id,
            name=flow.name,
            code_hash=flow.code_hash,
            input=flow.input,
            started_by=flow.started_by,
            run_key=flow.run_key or turn_id,
            forked_from=turn_id,
            forked_at=at,
            kept=len(kept),
            created_at=now,
        )
    )
    for step, call in enumerate(kept, 1):
        session.add(_copy(call, new.id, step))
    tell(
        session, "flow forked", turn_id=new.id, conversation_id=conversation.id, forked_from=turn_id
    )
    return Forked(new.id, conversation.id, len(kept))


async def fork_point(session: AsyncSession, turn_id: str) -> int:
    """The last step at which a run whose work was undone can be forked: nothing that was done
    outside is kept. Raises NotAllowed where not all of it was undone.
    """
    calls = await entries_of(session, turn_id)
    done = [call for call in calls if took_effect(call)]
    undone = sum(call.state == "ok" for call in await compensations(session, turn_id))
    if len(done) > undone:
        raise NotAllowed(UNDONE_IN_PART.format(done=len(done), undone=undone))
    return done[0].step if done else len(calls) + 1


async def done_before(
    session: AsyncSession, flow: models.FlowRun, op: str, name: str, args_hash: str
) -> models.ToolCall | None:
    """The call of an earlier run that this one counts as done when it comes to the same call: same
    tool, same arguments, with an effect outside, and not used by this run yet.
    """
    wanted = (op, name, args_hash)
    found: list[models.ToolCall] = []
    run: models.FlowRun | None = flow
    for _ in range(RUNS_MAX):
        if run is None or not run.forked_from:
            break
        if not await compensations(session, run.forked_from):
            found += [
                call
                for call in await entries_of(session, run.forked_from)
                if call.step >= run.forked_at and took_effect(call) and _is(call, wanted)
            ]
        run = await session.get(models.FlowRun, run.forked_from)
    if not found:
        return None
    own = await entries_of(session, flow.turn_id)
    used = sum(_is(call, wanted) for call in own if call.step > flow.kept)
    return found[used] if used < len(found) else None


def _is(call: models.ToolCall, wanted: tuple[str, str, str]) -> bool:
    return (call.op, call.name, call.args_hash) == wanted


async def _begin(
    session: AsyncSession, turn: models.Turn, conversation: models.Conversation, now: float
) -> models.Turn:
    """A new turn with the messages of the earlier one."""
    chat_session = await current_session(session, conversation, now)
    await session.flush()
    conversation.turn_count += 1
    new = models.Turn(
        id=new_id(),
        conversation_id=conversation.id,
        session_id=chat_session.id,
        number=conversation.turn_count,
        agent=turn.agent,
        state="running",
        queued_at=now,
        started_at=now,
        nonce=new_nonce(),
    )
    rows = [
        _again(row, conversation, f"fork:{new.id}:{number}", now)
        for number, row in enumerate(await _messages(session, turn.id))
    ]
    session.add_all(rows)
    session.add(new)
    await session.flush()
    await take(session, new, chat_session, rows, now)
    session.add(
        models.RunProgress(
            turn_id=new.id,
            conversation_id=conversation.id,
            phase="queued",
            text="",
            tools=[],
            version=1,
            updated_at=now,
        )
    )
    return new


async def _messages(session: AsyncSession, turn_id: str) -> Sequence[models.Inbox]:
    """The messages that a turn answers."""
    rows = await session.scalars(
        select(models.Inbox).where(models.Inbox.turn_id == turn_id).order_by(models.Inbox.sequence)
    )
    return rows.all()


def _again(
    row: models.Inbox, conversation: models.Conversation, event_id: str, now: float
) -> models.Inbox:
    """The message once more, for the new turn."""
    conversation.inbox_sequence += 1
    return models.Inbox(
        id=new_id(),
        conversation_id=conversation.id,
        sequence=conversation.inbox_sequence,
        channel=row.channel,
        account=row.account,
        event_id=event_id,
        message_id=row.message_id,
        kind=row.kind,
        identity_id=row.identity_id,
        sender=row.sender,
        text=row.text,
        forwarded_from=row.forwarded_from,
        payload=row.payload,
        quote=row.quote,
        attachments=row.attachments,
        raw=row.raw,
        state="taken",
        sent_at=row.sent_at,
        received_at=now,
    )


def _copy(call: models.ToolCall, turn_id: str, step: int) -> models.ToolCall:
    """The entry in the journal of the new run, as done already."""
    copied = models.ToolCall(
        turn_id=turn_id,
        step=step,
        call_id=call.call_id,
        position=0,
        name=call.name,
        arguments=call.arguments,
        effect=call.effect,
        state=call.state,
        result=call.result,
        error=call.error,
        op=call.op,
        args_hash=call.args_hash,
        started_at=call.finished_at,
        finished_at=call.finished_at,
    )
    if call.op == "compensate":
        reset(copied)
    return copied
