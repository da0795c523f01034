"""The API routes of flows: start one, list them, look at one with its journal."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field

from roost_channels.message import Sender
from roost_platform.api.routes import Operator, Page, UsesApi, Viewer, client_ip
from roost_platform.api.schemas import NO_NUL, Body
from roost_platform.flows import start_flow
from roost_platform.views.workflows import flows as views

router = APIRouter()
Name = Annotated[str, Query(max_length=64)]


class NewFlow(Body):
    """A flow to start. `input` has its fields by name; for a flow that takes a message, `message`.

    session: the name of a console session; without one it gets its own.
    """

    name: str = Field(min_length=1, max_length=64, pattern=NO_NUL)
    input: dict[str, Any] = Field(default_factory=dict)
    session: str = Field(default="", max_length=200, pattern=NO_NUL)
    event_id: str = Field(
        default="",
        max_length=200,
        pattern=NO_NUL,
        description="Start again in the same session with the same id: started once.",
    )


class StartedFlow(BaseModel):
    """A flow that begins. `id`: GET /flows/{id} finds it by this one as well as by its own."""

    id: str
    conversation_id: str
    key: str
    duplicate: bool = False


class FlowItem(BaseModel):
    """One flow in the list. state: running | waiting | done | stopped | failed.

    steps: entries of its journal, of which `ended` have ended. waits_for: approval | question |
    child | sleep.
    """

    id: str
    name: str
    state: str
    reason: str
    conversation_id: str
    key: str
    steps: int
    ended: int
    waits_for: list[str]
    created_at: float
    finished_at: float | None


class FlowList(BaseModel):
    """A page of flows, newest first; `total` is how many there are."""

    total: int
    flows: list[FlowItem]


class FlowStep(BaseModel):
    """One entry of the journal, in the order in which the flow asked for it.

    path: where it stands in the function; inside a gather `2/1/0` is the first step of the second
    branch. state: planned | waiting | ready | running | ok | error | cancelled | unknown | skipped.
    """

    number: int
    path: str
    op: str
    name: str
    state: str
    wait: str
    arguments: str
    result: str
    error: str
    attempts: int
    started_at: float | None
    finished_at: float | None
    due_at: float | None
    approval_id: str
    child_id: str


class FlowDetail(FlowItem):
    """A flow with its journal. state: also `queued`, for one that has not begun."""

    input: str
    answer: str
    ending: str
    error: str
    code_hash: str
    journal: list[FlowStep]


@router.post("/flows", status_code=202, tags=["flows"])
async def start(request: Request, api: UsesApi, me: Operator, body: NewFlow) -> StartedFlow:
    """Start a flow."""
    started = await start_flow(
        *(api.stores, api.intake, api.registry, body.name, body.input),
        by=Sender(me.id, me.name),
        session=body.session,
        event_id=body.event_id,
    )
    if not started.is_duplicate:
        detail = {"flow": body.name, "inbox_id": started.id}
        await api.stores.audit.write(
            me.name, "flow.start", started.conversation_id, detail, client_ip(request)
        )
    return StartedFlow(
        id=started.id,
        conversation_id=started.conversation_id,
        key=started.key,
        duplicate=started.is_duplicate,
    )


@router.get("/flows", tags=["flows"])
async def list_flows(
    api: UsesApi, _: Viewer, page: Page = 1, state: str = "", name: Name = ""
) -> FlowList:
    """Flows, newest first; `state` and `name` narrow the list."""
    if state and state not in views.STATES:
        raise HTTPException(422, f"{state!r} is not one of: {', '.join(views.STATES)}.")
    async with api.stores.database.read() as session:
        total, rows = await views.flows(session, views.FlowFilter(state, name), page)
    return FlowList(total=total, flows=[_item(row) for row in rows])


@router.get("/flows/{id}", tags=["flows"])
async def show(request: Request, api: UsesApi, me: Operator, id: str) -> FlowDetail:
    """A flow with its journal, by its id or by that of the message that started it."""
    now = api.stores.database.now()
    async with api.stores.database.read() as session:
        turn_id = await views.flow_id(session, id)
        view = None if turn_id is None else await views.flow_view(session, turn_id, now)
        names = [flow.name for flow in api.registry.flows]
        queued = None if view is not None else await views.queued_flow(session, id, names)
    if view is None and queued is None:
        raise HTTPException(404, f"There is no flow {id!r}.")
    if view is None:
        assert queued is not None
        return FlowDetail(
            **asdict(queued), input="", answer="", ending="", error="", code_hash="", journal=[]
        )
    await api.stores.audit.write(
        me.name, "transcript.read", view.row.key, {"as": "flow", "id": id}, client_ip(request)
    )
    return FlowDetail(
        **asdict(view.row),
        input=view.input,
        answer=view.answer,
        ending=view.ending,
        error=view.error,
        code_hash=view.code_hash,
        journal=[_step(entry) for entry in view.entries],
    )


def _item(row: views.FlowRow) -> FlowItem:
    return FlowItem(**asdict(row))


def _step(entry: views.FlowEntry) -> FlowStep:
    fields = asdict(entry)
    return FlowStep(**{name: fields[name] for name in FlowStep.model_fields})
