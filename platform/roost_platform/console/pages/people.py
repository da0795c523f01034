"""People: those who wait to be let in, all others with their addresses; approve and block."""

from dataclasses import dataclass
from typing import Annotated

from starlette.responses import Response

from roost_platform.console.actions import approve, block
from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.identity.roles import Role
from roost_platform.views.pagination import Pages, page_number
from roost_platform.views.people import PairingRequest, PersonRow, people, requests

ACCESS = ("allowed", "pending", "blocked")


@dataclass(frozen=True, slots=True)
class PeopleListSection:
    """The table, which is updated."""

    rows: Annotated[tuple[PersonRow, ...], "This page's people"]
    pages: Annotated[Pages, "Where we are in the list"]


@dataclass(frozen=True, slots=True)
class PeopleContext:
    """The People page."""

    access: Annotated[str, "Access the list is narrowed to, empty for all"]
    text: Annotated[str, "Search text"]
    requests: Annotated[tuple[PairingRequest, ...], "Strangers who wait, longest first"]
    list: Annotated[PeopleListSection, "The rows and their pages"]
    query: Annotated[str, "The query string, for the stream"]


async def load(visit: Visit) -> PeopleContext:
    """Who waits, and one page of the list, narrowed by the query string."""
    access = visit.query("access") if visit.query("access") in ACCESS else ""
    text = visit.query("q").strip()
    number = page_number(visit.query("page"))
    async with visit.deps.stores.database.read() as session:
        waiting = await requests(session, visit.now)
        count, rows = await people(session, access, text, number)
    pages = Pages(number, count, "/people", (("access", access), ("q", text)))
    return PeopleContext(
        access, text, waiting, PeopleListSection(rows, pages), visit.request.url.query
    )


def live(data: PeopleContext) -> LivePage:
    """Who waits, and the table."""
    return LivePage(
        (
            Fragment("requests", "people/requests.html", data.requests),
            Fragment("people-list", "people/list.html", data.list),
        )
    )


async def let_in(visit: Visit) -> Response:
    """Let a person in."""
    name = await approve(visit.deps, visit.param("id"), visit.me, visit.ip)
    return visit.done(f"{name} is connected.")


async def shut_out(visit: Visit) -> Response:
    """Block a person."""
    name = await block(visit.deps, visit.param("id"), visit.me, visit.ip)
    return visit.done(f"{name} is blocked.")


PAGE = Page(
    path="/people",
    template="people/page.html",
    load=load,
    live=live,
    nav=NavLink("/people", "People", "users"),
)
ACTIONS = (
    ConsoleRoute("POST", "/people/{id}/approve", Role.operator, let_in, PAGE),
    ConsoleRoute("POST", "/people/{id}/block", Role.operator, shut_out, PAGE),
)
