"""The API routes of flows: start one, list them, look at one with its journal."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field

from roost_channels.message import Sender
from roost_platform.api.routes import Operator, Page, UsesApi, Viewer, client_ip
from roost_platform.api.schemas import NO_NUL, Body
from roost_platform.db.turns.flow_entries import flow_id
from roost_platform.flows import fork_flow, retry_turn, start_flow
from roost_platform.views.workflows.flows import flows as views
from roost_platform.views.workflows.flows.journal import FlowEntry

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
    is_copied: bool = Field(description="An earlier run did it; this one took its result over.")
    manifest: dict[str, Any] | None = Field(
        description="Of a model call: what the prompt was made of, by ids and hashes."
    )


class FlowDetail(FlowItem):
    """A flow with its journal. state: also `queued`, for one that has not begun.

    forked_from, forked_at, kept: of a run that began with the first `kept` results of another one.
    """

    input: str
    answer: str
    ending: str
    error: str
    code_hash: str
    journal: list[FlowStep]
    forked_from: str = ""
    forked_at: int = 0
    kept: int = 0
    forks: list[str] = Field(default_factory=list)
    retries: int = 0


class NewFork(Body):
    """Where to fork: a new run takes over the results of the steps before `at`, from 1."""

    at: int = Field(ge=1, le=100_000)


class ForkedFlow(BaseModel):
    """A new run. `kept`: how many steps it took over."""

    id: str
    conversation_id: str
    kept: int


class RetriedTurn(BaseModel):
    """A turn that goes on. `retries`: how often operators had it tried again by now."""

    turn_id: str
    conversation_id: str
    retries: int


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
        turn_id = await flow_id(session, id)
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
        forked_from=view.forked_from,
        forked_at=view.forked_at,
        kept=view.kept,
        forks=list(view.forks),
        retries=view.retries,
    )


@router.post("/flows/{id}/fork", status_code=202, tags=["flows"])
async def fork(request: Request, api: UsesApi, me: Operator, id: str, body: NewFork) -> ForkedFlow:
    """Begin a new run with the results of the steps before one; no effect is repeated."""
    ip = client_ip(request)
    forked = await fork_flow(api.stores, api.intake, id, body.at, me.name, ip)
    return ForkedFlow(id=forked.turn_id, conversation_id=forked.conversation_id, kept=forked.kept)


@router.post("/turns/{id:path}/retry", status_code=202, tags=["sessions"])
async def retry(request: Request, api: UsesApi, me: Operator, id: str) -> RetriedTurn:
    """Have a failed turn tried again: by its id, that of a message or flow, or a session's key.

    It goes on behind its last step. Calls that have ended keep their results, also unknown ones.
    """
    retried = await retry_turn(api.stores, api.intake, id, me.name, client_ip(request))
    return RetriedTurn(
        turn_id=retried.turn_id,
        conversation_id=retried.conversation_id,
        retries=retried.retries,
    )


def _item(row: views.FlowRow) -> FlowItem:
    return FlowItem(**asdict(row))


def _step(entry: FlowEntry) -> FlowStep:
    fields = asdict(entry)
    return FlowStep(**{name: fields[name] for name in FlowStep.model_fields})
