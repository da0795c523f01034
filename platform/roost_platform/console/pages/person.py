"""One person: access, addresses and conversations; link them with another, unlink an address."""

from dataclasses import dataclass
from typing import Annotated

from starlette.responses import Response

from roost_platform.console.actions import link, unlink
from roost_platform.console.console import Visit, text_field
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.errors import NotFound
from roost_platform.identity.roles import Role
from roost_platform.views.people import PersonRow
from roost_platform.views.person import AddressGroup, candidates, person


@dataclass(frozen=True, slots=True)
class PersonSection:
    """The part of the page that is updated."""

    row: Annotated[PersonRow, "The person with all addresses and conversations"]
    groups: Annotated[tuple[AddressGroup, ...], "Addresses that came together"]


@dataclass(frozen=True, slots=True)
class PersonContext:
    """The page of one person."""

    person: Annotated[PersonSection, "The person"]
    text: Annotated[str, "Search text for people to link"]
    candidates: Annotated[tuple[PersonRow, ...], "People who match it"]


async def load(visit: Visit) -> PersonContext:
    """The person of the path; raises NotFound."""
    text = visit.query("q").strip()
    async with visit.deps.stores.database.read() as session:
        found = await person(session, visit.param("id"))
        if found is None:
            raise NotFound("There is no such person.")
        row, groups = found
        others = await candidates(session, row.id, text)
    return PersonContext(PersonSection(row, groups), text, others)


def live(data: PersonContext) -> LivePage:
    """Access, addresses and conversations."""
    return LivePage((Fragment("person", "people/detail.html", data.person),))


async def link_them(visit: Visit) -> Response:
    """Make the chosen person one with this one."""
    other = text_field(await visit.form(), "other", length_max=64)
    name = await link(visit.deps, visit.param("id"), other, visit.me, visit.ip)
    return visit.done(f"{name}: one person now.", f"/people/{visit.param('id')}")


async def unlink_address(visit: Visit) -> Response:
    """Make the addresses of one link a person of their own."""
    linked_from = text_field(await visit.form(), "linked_from", required=False, length_max=64)
    await unlink(visit.deps, visit.param("id"), linked_from, visit.me, visit.ip)
    return visit.done("Unlinked: they are two people now.", f"/people/{visit.param('id')}")


PAGE = Page(path="/people/{id}", template="people/one.html", load=load, live=live)
ACTIONS = (
    ConsoleRoute("POST", "/people/{id}/link", Role.operator, link_them, PAGE),
    ConsoleRoute("POST", "/people/{id}/unlink", Role.operator, unlink_address, PAGE),
)
