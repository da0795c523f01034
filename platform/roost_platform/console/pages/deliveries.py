"""Outgoing messages: filters, every attempt with its evidence, and sending failed ones again."""

from dataclasses import dataclass
from typing import Annotated

from starlette.responses import Response

from roost_platform.console.actions import REDRIVE_MAX, redrive
from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.errors import NotAllowed, NotFound, Refused
from roost_platform.identity.roles import Role
from roost_platform.views.deliveries import (
    STATES,
    DeliveryFilter,
    count_of,
    deliveries,
    delivery,
    failed_ids,
)
from roost_platform.views.delivery_views import (
    DeliveryRow,
    DeliveryView,
    plain_delivery,
    plain_rows,
)
from roost_platform.views.pagination import Pages, page_number


@dataclass(frozen=True, slots=True)
class DeliveryListSection:
    """The part of the page that is updated."""

    rows: Annotated[tuple[DeliveryRow, ...], "This page's messages"]
    pages: Annotated[Pages, "Where we are in the list"]


@dataclass(frozen=True, slots=True)
class DeliveryHead:
    """The line on top: how many failed, and of how many nobody knows whether they arrived."""

    failed: int
    uncertain: int


@dataclass(frozen=True, slots=True)
class DeliveriesContext:
    """The Deliveries page."""

    by: Annotated[DeliveryFilter, "What the list is narrowed to"]
    states: Annotated[tuple[str, ...], "States that can be chosen"]
    list: Annotated[DeliveryListSection, "The rows and their pages"]
    query: Annotated[str, "The query string, for the stream"]
    failed: Annotated[int, "How many failed, over all pages"]
    uncertain: Annotated[int, "Of how many nobody knows whether they arrived"]


@dataclass(frozen=True, slots=True)
class DeliveryContext:
    """One delivery's page."""

    delivery: Annotated[DeliveryView, "The message with its parts, tries and evidence"]


async def load(visit: Visit) -> DeliveriesContext:
    """One page of the list, narrowed by the query string."""
    by = DeliveryFilter(
        state=visit.query("state") if visit.query("state") in STATES else "",
        channel=visit.query("channel"),
        text=visit.query("q").strip(),
    )
    number = page_number(visit.query("page"))
    texts = visit.reads_texts
    async with visit.deps.stores.database.read() as session:
        count, rows = await deliveries(session, by, number, with_texts=texts)
        failed = await count_of(session, "failed")
        uncertain = await count_of(session, "uncertain")
    rows = rows if visit.me.may("operator") else plain_rows(rows)
    query = (("state", by.state), ("channel", by.channel), ("q", by.text))
    return DeliveriesContext(
        by=by,
        states=STATES,
        list=DeliveryListSection(rows, Pages(number, count, "/deliveries", query)),
        query=visit.request.url.query,
        failed=failed,
        uncertain=uncertain,
    )


def live(data: DeliveriesContext) -> LivePage:
    """The line on top, the rows and their pages."""
    return LivePage(
        (
            Fragment(
                "delivery-head", "deliveries/head.html", DeliveryHead(data.failed, data.uncertain)
            ),
            Fragment("delivery-list", "deliveries/list.html", data.list),
        )
    )


async def load_one(visit: Visit) -> DeliveryContext:
    """The delivery of the path; raises NotFound."""
    async with visit.deps.stores.database.read() as session:
        view = await delivery(session, visit.param("id"), with_texts=visit.reads_texts)
    if view is None:
        raise NotFound("There is no such delivery.")
    return DeliveryContext(view if visit.me.may("operator") else plain_delivery(view))


def live_one(data: DeliveryContext) -> LivePage:
    """The message with its parts."""
    return LivePage((Fragment("delivery", "deliveries/detail.html", data.delivery),))


async def redrive_one(visit: Visit) -> Response:
    """Try a failed message again."""
    view = (await load_one(visit)).delivery
    count = await redrive(visit.deps, [view.row.id], visit.me, visit.ip)
    return visit.done("It is sent again." if count else "There is nothing to send again.")


async def confirm_one(visit: Visit) -> Response:
    """Record that an uncertain message arrived."""
    view = (await load_one(visit)).delivery
    try:
        await visit.deps.stores.confirm(view.row.id, visit.me.name, visit.ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None
    return visit.done("Noted: it arrived.")


async def redrive_failed(visit: Visit) -> Response:
    """Try every failed message again, at most REDRIVE_MAX."""
    async with visit.deps.stores.database.read() as session:
        ids = await failed_ids(session, REDRIVE_MAX)
    count = await redrive(visit.deps, ids, visit.me, visit.ip)
    messages = "1 message is" if count == 1 else f"{count} messages are"
    return visit.done(f"{messages} sent again." if count else "Nothing has failed.")


LIST_PAGE = Page(
    path="/deliveries",
    template="deliveries/page.html",
    load=load,
    live=live,
    has_json=True,
    nav=NavLink("/deliveries", "Deliveries", "truck"),
)
ONE_PAGE = Page(
    path="/deliveries/{id}",
    template="deliveries/one.html",
    load=load_one,
    live=live_one,
    has_json=True,
)
ACTIONS = (
    ConsoleRoute("POST", "/deliveries/redrive", Role.operator, redrive_failed, LIST_PAGE),
    ConsoleRoute("POST", "/deliveries/{id}/confirm", Role.operator, confirm_one, ONE_PAGE),
    ConsoleRoute("POST", "/deliveries/{id}/redrive", Role.operator, redrive_one, ONE_PAGE),
)
