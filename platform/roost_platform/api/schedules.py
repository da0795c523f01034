"""The API routes of schedules: list them, run, pause, resume and delete one."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from roost_platform.api.routes import Api, Operator, Page, UsesApi, client_ip
from roost_platform.db.schedules.store import OperatorAction
from roost_platform.identity.roles import Principal
from roost_platform.views.workflows import schedules as view

router = APIRouter(prefix="/schedules", tags=["schedules"])
ListedState = Literal["", "active", "paused", "done", "deleted"]
Text = Annotated[str, Query(max_length=200)]


class ScheduleItem(BaseModel):
    """A schedule. `due_at` is null when there is no next time; `times` says in words when it comes.

    `key` names its conversation; `code` is how people name it in chat.
    """

    id: str
    code: str
    key: str
    owner: str
    agent: str
    kind: str
    text: str
    times: str
    zone: str
    due_at: float | None
    state: str
    fails: int
    fail_code: str
    created_by: str
    created_at: float


class ScheduleList(BaseModel):
    """One page of schedules, those due next first."""

    total: int
    schedules: list[ScheduleItem]


class OccurrenceItem(BaseModel):
    """One time of a schedule and what became of it: fired, skipped, done or failed.

    `told` names who heard of a message that did not arrive: elsewhere (the owner, in another chat)
    or nobody.
    """

    id: str
    scheduled_for: float
    fired_at: float
    late_s: float
    state: str
    reason: str
    turn_id: str
    delivery: str
    told: str


class ScheduleDetail(ScheduleItem):
    """A schedule with its next times and its history, the newest first."""

    spec: dict[str, Any]
    missed: str
    overlap: str
    next_times: list[float]
    history: list[OccurrenceItem]


class ScheduleState(BaseModel):
    """What a schedule is after an action."""

    id: str
    state: str


@router.get("")
async def schedules(
    api: UsesApi, _: Operator, page: Page = 1, state: ListedState = "", text: Text = ""
) -> ScheduleList:
    """Schedules that are not over, or those of one state; those due next first."""
    async with api.stores.database.read() as session:
        total, rows = await view.schedules(session, state, text, page)
    return ScheduleList(total=total, schedules=[ScheduleItem(**_item(row)) for row in rows])


@router.get("/{id}")
async def schedule(api: UsesApi, _: Operator, id: str) -> ScheduleDetail:
    """One schedule with its next times and its history."""
    async with api.stores.database.read() as session:
        found = await view.schedule(session, id, api.stores.database.now())
    return ScheduleDetail(
        **_item(found.row),
        spec=dict(found.spec),
        missed=found.missed,
        overlap=found.overlap,
        next_times=list(found.next_times),
        history=[
            OccurrenceItem(**{name: getattr(one, name) for name in OccurrenceItem.model_fields})
            for one in found.history
        ],
    )


@router.post("/{id}/run")
async def run(request: Request, api: UsesApi, me: Operator, id: str) -> ScheduleState:
    """Run it now, beside its times."""
    return await _act(request, api, me, id, "run")


@router.post("/{id}/pause")
async def pause(request: Request, api: UsesApi, me: Operator, id: str) -> ScheduleState:
    """Let it rest; what is due meanwhile is not made up for."""
    return await _act(request, api, me, id, "pause")


@router.post("/{id}/resume")
async def resume(request: Request, api: UsesApi, me: Operator, id: str) -> ScheduleState:
    """Go on with the next time to come."""
    return await _act(request, api, me, id, "resume")


@router.delete("/{id}")
async def delete(request: Request, api: UsesApi, me: Operator, id: str) -> ScheduleState:
    """Delete it; its history stays."""
    return await _act(request, api, me, id, "delete")


async def _act(
    request: Request, api: Api, me: Principal, id: str, action: OperatorAction
) -> ScheduleState:
    rung = await api.stores.schedules.act(id, action, me.name, client_ip(request))
    api.intake.ring(rung)
    async with api.stores.database.read() as session:
        found = await view.schedule(session, id, api.stores.database.now())
    return ScheduleState(id=id, state=found.row.state)


def _item(row: view.ScheduleRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ScheduleItem.model_fields}
