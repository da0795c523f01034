"""Parts of unknown outcome: which ones are in doubt, and what was found out about them."""

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.outbox.part_states import note


def is_in_doubt(part: models.Part) -> bool:
    """Whether nobody knows if the part arrived: it is being settled, or was given up unsettled."""
    if part.state == "ambiguous":
        return True
    return part.state == "failed" and part.reason_code == "outcome_unknown"


def in_doubt() -> ColumnElement[bool]:
    """The same as a condition on outbox rows: whether any part of the message is in doubt."""
    return models.Outbox.id.in_(
        select(models.Part.outbox_id).where(
            or_(
                models.Part.state == "ambiguous",
                (models.Part.state == "failed") & (models.Part.reason_code == "outcome_unknown"),
            )
        )
    )


async def record_look(
    session: AsyncSession,
    part: models.Part,
    now: float,
    *,
    asked: str,
    answered: str,
    concluded: str,
    kind: str = "check",
) -> None:
    """Record an inquiry about a part for operators: the question, the answer and the conclusion."""
    note(part, concluded, now)
    last = await session.scalar(
        select(models.DeliveryAttempt.attempt)
        .where(models.DeliveryAttempt.part_id == part.id)
        .order_by(models.DeliveryAttempt.attempt.desc())
        .limit(1)
    )
    session.add(
        models.DeliveryAttempt(
            part_id=part.id,
            attempt=last or 0,
            kind=kind,
            outcome="looked",
            asked=asked,
            description=answered,
            concluded=concluded,
            started_at=now,
            finished_at=now,
        )
    )
