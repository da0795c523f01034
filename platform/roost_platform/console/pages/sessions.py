"""The list of conversations: filters, search, pages, and current states."""

from dataclasses import dataclass
from typing import Annotated

from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import Page
from roost_platform.views.pagination import Pages, page_number
from roost_platform.views.sessions import SessionFilter, SessionRow, sessions
from roost_platform.views.states import STATES


@dataclass(frozen=True, slots=True)
class SessionListSection:
    """The part of the page that is updated."""

    rows: Annotated[tuple[SessionRow, ...], "This page's conversations"]
    pages: Annotated[Pages, "Where we are in the list"]


@dataclass(frozen=True, slots=True)
class SessionsContext:
    """The Sessions page."""

    by: Annotated[SessionFilter, "What the list is narrowed to"]
    states: Annotated[tuple[str, ...], "States that can be chosen"]
    list: Annotated[SessionListSection, "The rows and their pages"]
    query: Annotated[str, "The query string, for the stream and the links"]


async def load(visit: Visit) -> SessionsContext:
    """One page of the list, narrowed by the query string."""
    by = SessionFilter(
        state=visit.query("state") if visit.query("state") in STATES else "",
        channel=visit.query("channel"),
        text=visit.query("q").strip(),
    )
    number = page_number(visit.query("page"))
    async with visit.deps.stores.database.read() as session:
        count, rows = await sessions(session, by, number, with_texts=visit.reads_texts)
    query = (("state", by.state), ("channel", by.channel), ("q", by.text))
    return SessionsContext(
        by=by,
        states=STATES,
        list=SessionListSection(rows, Pages(number, count, "/sessions", query)),
        query=visit.request.url.query,
    )


def live(data: SessionsContext) -> LivePage:
    """The rows and their pages."""
    return LivePage((Fragment("session-list", "sessions/list.html", data.list),))


PAGE = Page(
    path="/sessions",
    template="sessions/page.html",
    load=load,
    live=live,
    has_json=True,
    nav=NavLink("/sessions", "Sessions", "messages-square"),
)
