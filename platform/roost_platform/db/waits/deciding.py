"""The decision of a question: the first one counts, and it brings the call back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import CursorResult, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.audit import audit
from roost_platform.db.base.text import clean
from roost_platform.db.cards.cards import close_card
from roost_platform.db.turns.parking import make_ready

Decided = Literal["approved", "denied", "answered", "expired", "cancelled", "unreachable", "stale"]
REASON_MAX: Final = 1000
ANSWER_MAX: Final = 20_000  # characters of an answer in words
# In the audit trail; what nobody decided is not in it.
ACTIONS: Final = {
    "approved": "approval.approve",
    "denied": "approval.deny",
    "answered": "approval.answer",
}
CHAT: Final = "chat"  # the actor, where no operator decided


@dataclass(frozen=True, slots=True)
class Decider:
    """Who decides. id: of a person, or the operator's name. via: a channel, console, cli or api.

    is_operator: a person otherwise. ip: of an operator's request.
    """

    id: str
    name: str
    via: str
    is_operator: bool = False
    ip: str = ""


CLOCK: Final = Decider("", "", "clock")
DELIVERY: Final = Decider("", "", "delivery")


async def decide(
    session: AsyncSession,
    approval: models.Approval,
    verdict: Decided,
    by: Decider,
    now: float,
    *,
    answers: Sequence[str] = (),
    reason: str = "",
) -> str | None:
    """Decide a pending question, once; the conversation to ring, None where it was decided before.

    What comes after the end of the time, before the clock looked, lets the question expire.
    The conversation that asked is locked. Whether `by` may decide is the caller's to check.
    """
    if verdict in ACTIONS and approval.expires_at <= now:
        verdict, by, answers, reason = "expired", CLOCK, (), ""
    result = await session.execute(
        update(models.Approval)
        .where(models.Approval.id == approval.id, models.Approval.state == "pending")
        .values(
            state=verdict,
            answers=[clean(answer)[:ANSWER_MAX] for answer in answers],
            reason=clean(reason)[:REASON_MAX],
            decided_by=by.id,
            decided_name=clean(by.name),
            decided_via=by.via,
            decided_at=now,
        )
        .execution_options(synchronize_session=False)
    )
    decided = isinstance(result, CursorResult) and bool(result.rowcount)
    await session.refresh(approval)
    if not decided:
        return None
    await close_card(session, approval, now)
    if verdict in ACTIONS:
        detail: dict[str, Any] = {"tool": approval.tool, "decided_via": by.via}
        actor = by.id if by.is_operator else CHAT
        if not by.is_operator:
            detail["person"] = by.id
        await audit(session, now, actor, ACTIONS[verdict], approval.id, detail, by.ip)
    return await make_ready(session, approval.turn_id, approval.step, approval.call_id)
