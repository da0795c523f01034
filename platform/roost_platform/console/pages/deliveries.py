"""Outgoing messages: filters, every try with its evidence, redrive of one or all that failed."""

from dataclasses import dataclass
from typing import Annotated

from starlette.responses import Response

from roost_platform.console.actions import REDRIVE_MAX, redrive
from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.errors import NotAllowed, NotFound, Refused
from roost_platform.views.deliveries import (
    STATES,
    DeliveryFilter,
    count_of,
    deliveries,
    delivery,
    failed_ids,
)
from roost_platform.views.delivery_views import DeliveryRow, DeliveryView
from roost_platform.views.pagination import Pages, page_number


@dataclass(frozen=True, slots=True)
class DeliveryList:
    """The part of the page that lives."""

    rows: Annotated[tuple[DeliveryRow, ...], "This page's messages"]
    pages: Annotated[Pages, "Where we are in the list"]


@dataclass(frozen=True, slots=True)
class DeliveriesContext:
    """The Deliveries page."""

    by: Annotated[DeliveryFilter, "What the list is narrowed to"]
    states: Annotated[tuple[str, ...], "States that can be chosen"]
    list: Annotated[DeliveryList, "The rows and their pages"]
    query: Annotated[str, "The query string, for the stream"]
    failed: Annotated[int, "How many failed, over all pages"]
    uncertain: Annotated[int, "Of how many nobody knows whether they arrived"]


@dataclass(frozen=True, slots=True)
class DeliveryContext:
    """One delivery's page."""

    delivery: Annotated[DeliveryView, "The message with its parts, tries and evidence"]


async def load(visit: Visit) -> DeliveriesContext:
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
    query = (("state", by.state), ("channel", by.channel), ("q", by.text))
    return DeliveriesContext(
        by=by,
        states=STATES,
        list=DeliveryList(rows, Pages(number, count, "/deliveries", query)),
        query=visit.request.url.query,
        failed=failed,
        uncertain=uncertain,
    )


async def page(visit: Visit) -> Response:
    return visit.page("deliveries/page.html", await load(visit))


async def json_twin(visit: Visit) -> Response:
    return visit.json(await load(visit))


async def events(visit: Visit) -> Response:
    async def live() -> LivePage:
        data = await load(visit)
        return LivePage((Fragment("delivery-list", "deliveries/list.html", data.list),))

    return visit.stream(live)


async def find(visit: Visit) -> DeliveryView | None:
    async with visit.deps.stores.database.read() as session:
        return await delivery(session, visit.param("id"), with_texts=visit.reads_texts)


async def load_one(visit: Visit) -> DeliveryContext:
    found = await find(visit)
    if found is None:
        raise NotFound("There is no such delivery.")
    return DeliveryContext(found)


async def one_page(visit: Visit) -> Response:
    return visit.page("deliveries/one.html", await load_one(visit))


async def one_json(visit: Visit) -> Response:
    return visit.json(await load_one(visit))


async def one_events(visit: Visit) -> Response:
    await load_one(visit)

    async def live() -> LivePage | None:
        found = await find(visit)
        if found is None:
            return None
        return LivePage((Fragment("delivery", "deliveries/detail.html", found),))

    return visit.stream(live)


async def redrive_one(visit: Visit) -> Response:
    found = (await load_one(visit)).delivery
    count = await redrive(visit.deps, [found.row.id], visit.me, visit.ip)
    return visit.done("It will be tried again." if count else "There is nothing to try again.")


async def confirm_one(visit: Visit) -> Response:
    found = (await load_one(visit)).delivery
    try:
        await visit.deps.stores.confirm(found.row.id, visit.me.name, visit.ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None
    return visit.done("Noted: it arrived.")


async def redrive_failed(visit: Visit) -> Response:
    async with visit.deps.stores.database.read() as session:
        ids = await failed_ids(session, REDRIVE_MAX)
    count = await redrive(visit.deps, ids, visit.me, visit.ip)
    return visit.done(f"{count} messages will be tried again." if count else "Nothing has failed.")
