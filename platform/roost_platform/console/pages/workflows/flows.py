"""Flows: the list of their runs, and one run's journal as a timeline."""

from dataclasses import dataclass
from typing import Annotated

from starlette.responses import Response

from roost_platform.console.console import Visit, text_field
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page, ReadAs
from roost_platform.errors import NotAllowed, NotFound, Refused
from roost_platform.flows import fork_flow, retry_turn
from roost_platform.identity.roles import Role
from roost_platform.views.pagination import Pages, page_number
from roost_platform.views.workflows.flows.flows import (
    STATES,
    FlowFilter,
    FlowRow,
    FlowView,
    flow_view,
    flows,
)


@dataclass(frozen=True, slots=True)
class FlowListSection:
    """The table, which is updated."""

    rows: Annotated[tuple[FlowRow, ...], "This page's runs"]
    pages: Annotated[Pages, "Where we are in the list"]


@dataclass(frozen=True, slots=True)
class FlowsContext:
    """The Flows page."""

    by: Annotated[FlowFilter, "What the list is narrowed to"]
    list: Annotated[FlowListSection, "The rows and their pages"]
    query: Annotated[str, "The query string, for the stream"]


@dataclass(frozen=True, slots=True)
class FlowContext:
    """One run's page."""

    flow: Annotated[FlowView, "The run with its journal"]


async def load(visit: Visit) -> FlowsContext:
    """One page of the list, narrowed by the query string."""
    state = visit.query("state") if visit.query("state") in STATES else ""
    by = FlowFilter(state, visit.query("name").strip())
    number = page_number(visit.query("page"))
    async with visit.deps.stores.database.read() as session:
        count, rows = await flows(session, by, number)
    pages = Pages(number, count, "/flows", (("state", by.state), ("name", by.name)))
    return FlowsContext(by, FlowListSection(rows, pages), visit.request.url.query)


def live(data: FlowsContext) -> LivePage:
    """The rows and their pages."""
    return LivePage((Fragment("flow-list", "flows/list.html", data.list),))


async def load_one(visit: Visit) -> FlowContext:
    """The run of the path; raises NotFound."""
    operator = visit.me.role >= Role.operator
    async with visit.deps.stores.database.read() as session:
        view = await flow_view(
            session, visit.param("id"), visit.now, with_texts=operator and visit.reads_texts
        )
    if view is None:
        raise NotFound("There is no such flow.")
    return FlowContext(view)


def live_one(data: FlowContext) -> LivePage:
    """The run."""
    return LivePage((Fragment("flow", "flows/detail.html", data.flow),))


async def on_read(visit: Visit, data: FlowContext, read_as: ReadAs) -> None:
    """Record that somebody read what the flow said and was told, and as what."""
    if visit.me.role >= Role.operator:
        detail = {"as": "json"} if read_as == "json" else None
        await visit.audit("flow.read", data.flow.row.id, detail)


async def retry(visit: Visit) -> Response:
    """Have a failed run tried again behind its last step."""
    deps = visit.deps
    try:
        await retry_turn(deps.stores, deps.intake, visit.param("id"), visit.me.name, visit.ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None
    return visit.done("It goes on. What it has done is not done again.")


async def fork(visit: Visit) -> Response:
    """Begin a new run with the results of the steps before the one chosen."""
    at = text_field(await visit.form(), "at", length_max=6)
    if not at.isascii() or not at.isdecimal():
        raise Refused("Choose the step with which the new run begins.")
    deps, id = visit.deps, visit.param("id")
    try:
        forked = await fork_flow(deps.stores, deps.intake, id, int(at), visit.me.name, visit.ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None
    return visit.done(f"A new run began with {forked.kept} results of this one; see Forks.")


LIST_PAGE = Page(
    path="/flows",
    template="flows/page.html",
    load=load,
    live=live,
    has_json=True,
    nav=NavLink("/flows", "Flows", "history"),
)
ONE_PAGE = Page(
    path="/flows/{id}",
    template="flows/one.html",
    load=load_one,
    live=live_one,
    has_json=True,
    on_read=on_read,
)
ACTIONS = (
    ConsoleRoute("POST", "/flows/{id}/retry", Role.operator, retry, ONE_PAGE),
    ConsoleRoute("POST", "/flows/{id}/fork", Role.operator, fork, ONE_PAGE),
)
