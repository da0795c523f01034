"""Approvals that wait for an operator: the requester alone does not decide them."""

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models


def waits_for_operator() -> ColumnElement[bool]:
    """Whether an approval waits for an operator, as a condition on approvals."""
    return and_(
        models.Approval.state == "pending",
        models.Approval.kind == "approve",
        models.Approval.rule != "requester",
    )


async def waiting_count(session: AsyncSession) -> int:
    """How many approvals wait for an operator."""
    query = select(func.count()).select_from(models.Approval).where(waits_for_operator())
    return await session.scalar(query) or 0
