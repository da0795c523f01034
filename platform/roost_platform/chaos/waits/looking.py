"""What must hold of waits at every moment, asked of the database while processes die."""

from typing import Any

from sqlalchemy import and_, exists, or_, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.locks import OPEN_STATES

_CALL, _TURN, _TASK, _ASKED = models.ToolCall, models.Turn, models.ChildTask, models.Approval

_OPEN_QUESTION = exists().where(
    _ASKED.turn_id == _CALL.turn_id,
    _ASKED.step == _CALL.step,
    _ASKED.call_id == _CALL.call_id,
    _ASKED.state == "pending",
)
_LIVE_CHILD = exists().where(
    _TASK.parent_turn_id == _CALL.turn_id,
    _TASK.parent_step == _CALL.step,
    _TASK.parent_call_id == _CALL.call_id,
    _TASK.state == "running",
)
_WAITS_FOR_EVER = select(_CALL.turn_id, _CALL.name, _CALL.wait).where(
    _CALL.state == "waiting",
    ~or_(
        and_(_CALL.wait.in_(("approval", "question")), _OPEN_QUESTION),
        and_(_CALL.wait == "child", _LIVE_CHILD),
        and_(_CALL.wait == "sleep", _CALL.due_at.is_not(None)),
    ),
)
_WAITS_AFTER_THE_END = (
    select(_CALL.turn_id, _CALL.name, _TURN.state)
    .join(_TURN, _TURN.id == _CALL.turn_id)
    .where(_CALL.state.in_(("waiting", "ready")), _TURN.state.not_in(OPEN_STATES))
)
_ASKED_AFTER_THE_END = (
    select(_ASKED.id, _ASKED.tool, _TURN.state)
    .join(_TURN, _TURN.id == _ASKED.turn_id)
    .where(_ASKED.state == "pending", _TURN.state.not_in(OPEN_STATES))
)
_PARKED_FOR_NOTHING = select(_TURN.id, _TURN.agent, _TURN.state).where(
    _TURN.state == "waiting",
    _TURN.stop_requested_at.is_(None),
    ~exists().where(_CALL.turn_id == _TURN.id, _CALL.state.in_(("waiting", "ready"))),
)
_CHILD_OF_THE_DEAD = (
    select(_TASK.conversation_id, _TASK.agent, _TURN.reason_code)
    .join(_TURN, _TURN.id == _TASK.parent_turn_id)
    .where(
        _TASK.state == "running",
        or_(
            and_(_TASK.is_waited, _TURN.state.not_in(OPEN_STATES)),
            and_(_TURN.state == "stopped", _TURN.reason_code == "stopped"),
        ),
    )
)
_WAITS_THOUGH_ENDED = (
    select(_TASK.conversation_id, _TASK.agent, _TASK.state)
    .join(_TURN, _TURN.conversation_id == _TASK.conversation_id)
    .where(_TASK.state != "running", _TURN.state == "waiting", _TURN.stop_requested_at.is_(None))
)
_ALWAYS = {
    "waits for ever": _WAITS_FOR_EVER,
    "call of a turn that is over": _WAITS_AFTER_THE_END,
    "question of a turn that is over": _ASKED_AFTER_THE_END,
    "turn parked for nothing": _PARKED_FOR_NOTHING,
    "child of a turn that is over": _CHILD_OF_THE_DEAD,
    "waiting turn of a child that has ended": _WAITS_THOUGH_ENDED,
}
_PARKED = select(_TURN.conversation_id).where(
    _TURN.state == "waiting",
    _TURN.stop_requested_at.is_(None),
    ~exists().where(_CALL.turn_id == _TURN.id, _CALL.state == "ready"),
)
# What is still open and must come to an end.
_UNFINISHED: dict[str, Any] = {
    "turn waits": select(_TURN.id).where(_TURN.state == "waiting"),
    "question is open": select(_ASKED.id).where(_ASKED.state == "pending"),
    "child works": select(_TASK.conversation_id).where(_TASK.state == "running"),
    "schedule goes on": select(models.Schedule.id).where(models.Schedule.state == "active"),
}


async def wrong_now(database: Database) -> list[str]:
    """Every rule that is broken at this moment, in words."""
    async with database.read() as session:
        found = {rule: (await session.execute(query, {})).all() for rule, query in _ALWAYS.items()}
    return [f"{rule}: {', '.join(map(str, row))}" for rule, rows in found.items() for row in rows]


async def parked(database: Database) -> list[str]:
    """The conversations whose turn waits, and nothing of it can go on."""
    async with database.read() as session:
        return list(await session.scalars(_PARKED, {}))


async def waiting(database: Database) -> list[str]:
    """What waits still, in words."""
    async with database.read() as session:
        found = {
            what: (await session.scalars(query, {})).all() for what, query in _UNFINISHED.items()
        }
    return [f"{what}: {id}" for what, ids in found.items() for id in ids]
