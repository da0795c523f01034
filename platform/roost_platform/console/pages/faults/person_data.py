"""A person's data: take all of it along in a file, or delete it everywhere."""

from dataclasses import dataclass
from typing import Annotated

from starlette.responses import Response

from roost_platform.api.person_file import person_file
from roost_platform.console.console import Visit
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.errors import NotFound, Refused
from roost_platform.identity.roles import Role
from roost_platform.privacy.belongings import Belongings, belongings_of
from roost_platform.privacy.deletion import delete_person


@dataclass(frozen=True, slots=True)
class PersonDataContext:
    """What there is of a person, in numbers."""

    id: Annotated[str, "The person's id"]
    name: Annotated[str, "As they call themselves"]
    addresses: Annotated[tuple[tuple[str, str], ...], "(channel, address)"]
    conversations: Annotated[int, "Private chats"]
    groups: Annotated[int, "Chats of others in which they may have written"]


async def load(visit: Visit) -> PersonDataContext:
    """The person of the path; raises NotFound."""
    person = await visit.deps.stores.people.get(visit.param("id"))
    if person is None:
        raise NotFound("There is no such person.")
    async with visit.deps.stores.database.read() as session:
        owner: Belongings = await belongings_of(session, person.id)
    return PersonDataContext(
        id=person.id,
        name=person.name,
        addresses=tuple(sorted(owner.addresses)),
        conversations=len(owner.conversations),
        groups=len(owner.groups),
    )


async def export(visit: Visit) -> Response:
    """Everything as a ZIP file."""
    return await person_file(visit.deps.stores, visit.param("id"), visit.me.name, visit.ip)


async def delete(visit: Visit) -> Response:
    """Delete everything; refused without the confirmation."""
    if (await visit.form()).get("confirm") != "yes":
        raise Refused("Confirm that this person's data is to be deleted.")
    deps, id = visit.deps, visit.param("id")
    done = await delete_person(deps.stores, deps.intake, id, visit.me.name, visit.ip)
    words = f"Deleted: {done.messages} messages and {done.files} files."
    if not done.written_over:
        words += " The database was too busy to be written anew; run VACUUM later."
    return visit.done(words, "/people")


PAGE = Page(
    path="/people/{id}/data", template="faults/person_data.html", load=load, role=Role.admin
)
ACTIONS = (
    ConsoleRoute("GET", "/people/{id}/export", Role.admin, export),
    ConsoleRoute("POST", "/people/{id}/delete", Role.admin, delete, PAGE),
)
