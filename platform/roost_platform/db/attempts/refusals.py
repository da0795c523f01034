"""Why a turn can't be tried again, or a flow can't be forked, in words for operators."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.locks import open_turn
from roost_platform.db.policies.switches import off_rule
from roost_platform.db.turns.lookups import person_of
from roost_platform.errors import NotAllowed
from roost_platform.queueing import INTERRUPTED
from roost_workflows.turn.endings import STOPPERS

STATES: Final = {
    "running": "It runs. Wait for its end, or stop it.",
    "waiting": "It waits and will go on. Stop it first if it should not.",
    "done": "It has ended with an answer, so there is nothing to try again.",
}
STOPPED: Final = "It was stopped by {who}. Whoever wants an answer after all asks again."
INTERRUPTED_BY: Final = "A newer message interrupted it and was answered in its place."
NEWER: Final = "A newer turn has begun in this conversation, so this one is over."
NEW_SESSION: Final = "A new session has begun since (/new), so this turn is over."
OTHER_AGENT: Final = "{now} answers in this conversation now, not {before}."
OF_JOB: Final = "A schedule began it. Run the schedule again: `roost schedules run ID`."
OF_CHILD: Final = (
    "It worked for another agent, which has heard of its end. Try the turn of the chat above again."
)
OFF: Final = "{agent} is switched off. Switch it on first."
BLOCKED: Final = "The person is blocked, so nothing may be sent to them."
OPEN: Final = "Another turn runs or waits in this conversation. Stop it, or wait for its end."


async def refuse_what_is_over(
    session: AsyncSession, turn: models.Turn, conversation: models.Conversation
) -> None:
    """Raise NotAllowed unless the turn has failed and is still the last word in its chat."""
    if turn.state in STATES:
        raise NotAllowed(STATES[turn.state])
    refuse_stopped(turn)
    if turn.number < conversation.turn_count:
        raise NotAllowed(NEWER)
    if conversation.session_id != turn.session_id:
        raise NotAllowed(NEW_SESSION)
    await refuse_place(session, turn, conversation)


def refuse_stopped(turn: models.Turn) -> None:
    """Raise NotAllowed for a turn that somebody stopped: stop means stop."""
    if turn.state != "stopped" and turn.stop_requested_at is None:
        return
    if turn.reason_code == INTERRUPTED:
        raise NotAllowed(INTERRUPTED_BY)
    who = STOPPERS.get(turn.reason_code, "")
    by_person = who in ("", STOPPERS[""])
    raise NotAllowed(STOPPED.format(who="the person" if by_person else who))


async def refuse_place(
    session: AsyncSession, turn: models.Turn, conversation: models.Conversation
) -> None:
    """Raise NotAllowed where nothing may run for this turn any more."""
    if conversation.kind in ("child", "job"):
        raise NotAllowed(OF_JOB if conversation.kind == "job" else OF_CHILD)
    if await open_turn(session, conversation.id) is not None:
        raise NotAllowed(OPEN)
    if conversation.agent != turn.agent:
        raise NotAllowed(OTHER_AGENT.format(now=conversation.agent, before=turn.agent))
    if await off_rule(session, conversation) is not None:
        raise NotAllowed(OFF.format(agent=conversation.agent))
    person = await person_of(session, turn, conversation)
    if person is not None and person.access == "blocked":
        raise NotAllowed(BLOCKED)


async def compensations(session: AsyncSession, turn_id: str) -> list[models.ToolCall]:
    """The compensations of a flow that have begun: its work was undone, or was to be."""
    rows = await session.scalars(
        select(models.ToolCall)
        .where(
            models.ToolCall.turn_id == turn_id,
            models.ToolCall.op == "compensate",
            models.ToolCall.attempts > 0,
        )
        .order_by(models.ToolCall.step)
    )
    return list(rows.all())
