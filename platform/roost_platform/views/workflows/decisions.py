"""Approvals that wait for an operator, and what an operator compares before a verdict."""

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.text import visible
from roost_platform.errors import NotAllowed, NotFound
from roost_platform.views.approvals import ApprovalView, get, named, open_for_operators
from roost_platform.views.sessions import hidden

STATES: Final = (
    *("pending", "approved", "denied", "answered", "expired", "cancelled", "stale"),
    "unreachable",
)
ID_CHARS_MIN: Final = 6  # of a short id
MANY: Final = 2  # questions with a short id: enough to know that it is not exact


@dataclass(frozen=True, slots=True)
class ArgumentRow:
    """An argument of a call. before: of the call that it is compared with; None: not given."""

    name: str
    before: str | None
    now: str | None

    @property
    def is_changed(self) -> bool:
        """Whether it differs."""
        return self.before != self.now


@dataclass(frozen=True, slots=True)
class Comparison:
    """A call beside the one of the same tool that was decided last.

    id: of that one, empty where there is none; then `before` of each row is None.
    before: it is the round before of the same call, whose arguments changed since.
    """

    rows: tuple[ArgumentRow, ...]
    id: str = ""
    before: bool = False
    state: str = ""
    decided_at: float | None = None
    decided_name: str = ""


async def waiting_approvals(session: AsyncSession, limit: int) -> tuple[ApprovalView, ...]:
    """The approvals that wait for an operator, the oldest first."""
    first = await open_for_operators(session, limit=limit)
    return tuple(view for view in first if view.can_decide and view.rule != "requester")


async def open_count(session: AsyncSession, text: str = "") -> int:
    """How many questions are open, whoever may decide them. text: as in `open_for_operators`."""
    query = (
        select(func.count())
        .select_from(models.Approval)
        .where(models.Approval.state == "pending", *named(text))
    )
    return await session.scalar(query) or 0


async def full_id(session: AsyncSession, id: str) -> str:
    """The id of the question whose id begins or ends so. Raises NotFound; NotAllowed if several."""
    if len(id) < ID_CHARS_MIN:
        raise NotFound(f"There is no such question; a short id has {ID_CHARS_MIN} characters.")
    column = models.Approval.id
    found = await session.scalars(
        select(column)
        .where(
            or_(
                column == id,
                column.startswith(id, autoescape=True),
                column.endswith(id, autoescape=True),
            )
        )
        .order_by(column != id)
        .limit(MANY)
    )
    ids = found.all()
    if not ids:
        raise NotFound("There is no such question.")
    if ids[0] != id and len(ids) > 1:
        raise NotAllowed(f"Several questions have an id with {id!r}. Write more of it.")
    return ids[0]


async def compared(session: AsyncSession, view: ApprovalView) -> Comparison:
    """The arguments of a call, beside those that were asked about before they were changed, else
    those of the last decided call of the same tool.
    """
    now = _arguments(view.arguments)
    if not view.tool:
        return Comparison(())
    other = await _round_before(session, view)
    is_before = other is not None
    other = other or await session.scalar(
        select(models.Approval)
        .where(
            models.Approval.agent == view.agent,
            models.Approval.tool == view.tool,
            models.Approval.id != view.id,
            models.Approval.state.in_(("approved", "denied")),
            models.Approval.created_at <= view.created_at,
        )
        .order_by(models.Approval.decided_at.desc())
        .limit(1)
    )
    if other is None:
        return Comparison(tuple(ArgumentRow(name, None, now[name]) for name in now))
    before = _arguments(other.arguments)
    rows = [ArgumentRow(name, before.get(name), now.get(name)) for name in {**now, **before}]
    return Comparison(
        *(tuple(rows), other.id, is_before, other.state, other.decided_at, other.decided_name)
    )


async def _round_before(session: AsyncSession, view: ApprovalView) -> models.Approval | None:
    """What was asked about the same call before its tool or arguments changed."""
    mine = await session.get_one(models.Approval, view.id)
    return await session.scalar(
        select(models.Approval).where(
            models.Approval.turn_id == mine.turn_id,
            models.Approval.step == mine.step,
            models.Approval.call_id == mine.call_id,
            models.Approval.round == mine.round - 1,
        )
    )


def without_words(view: ApprovalView) -> ApprovalView:
    """The question without what people and agents wrote."""
    return replace(
        view,
        preview=hidden(view.preview),
        arguments="",
        before="",
        questions=tuple(hidden(one) for one in view.questions),
        options=tuple(tuple(hidden(one) for one in options) for options in view.options),
        answers=tuple(hidden(one) for one in view.answers),
        reason=hidden(view.reason),
    )


async def question(session: AsyncSession, id: str, *, with_texts: bool) -> ApprovalView:
    """One question. Raises NotFound."""
    view = await get(session, id)
    return view if with_texts else without_words(view)


def _arguments(text: str) -> dict[str, str]:
    """Each argument as text: a text as it is, other values as JSON. Too deep ones stay whole."""
    try:
        values: Any = json.loads(text or "{}")
        if not isinstance(values, dict):
            values = {"": values}
        return {
            visible(name): visible(
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            )
            for name, value in values.items()
        }
    except (ValueError, RecursionError):
        return {"": visible(text)}
