"""What a turn waits for, in words for the person in the chat."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.cards.words import DECISIONS, moment, named, plain, zone_of

SHOWN_MAX: Final = 3  # waits that are named; more are counted
SOMEBODYS: Final = "somebody else's decision on"
ANSWER: Final = "an answer to:"


def wait_words(approval: models.Approval, *, is_mine: bool) -> str:
    """What an open question waits for."""
    is_somebodys = approval.rule == "requester" and not is_mine
    decision = SOMEBODYS if is_somebodys else DECISIONS[approval.rule]
    return f"{decision if approval.kind == 'approve' else ANSWER} {named(approval)}"


async def waits_of(
    session: AsyncSession,
    turn: models.Turn,
    questions: Sequence[models.Approval],
    person: models.Identity | None,
    now: float,
) -> list[str]:
    """What the turn waits for: people, other agents, a time. questions: those that are open."""
    person_id = "" if person is None else person.id
    words = [
        wait_words(one, is_mine=one.rule == "requester" and one.requester_id in ("", person_id))
        for one in questions
        if one.turn_id == turn.id
    ]
    calls = await session.scalars(
        select(models.ToolCall)
        .where(models.ToolCall.turn_id == turn.id, models.ToolCall.state == "waiting")
        .order_by(models.ToolCall.step, models.ToolCall.position)
    )
    for call in calls:
        if call.wait == "sleep" and call.due_at is not None:
            words.append(moment(call.due_at, now, zone_of(person)))
        elif call.wait == "child":
            agent = await session.scalar(
                select(models.ChildTask.agent).where(
                    models.ChildTask.parent_turn_id == turn.id,
                    models.ChildTask.parent_step == call.step,
                    models.ChildTask.parent_call_id == call.call_id,
                )
            )
            words.append(f"the agent {plain(agent)}" if agent else "another agent")
    return words


def joined(words: Sequence[str]) -> str:
    """`a, b and 4 more`."""
    shown = list(words[:SHOWN_MAX])
    if len(words) > SHOWN_MAX:
        return f"{', '.join(shown)} and {len(words) - SHOWN_MAX} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""
