"""One person: their addresses, in groups that were linked, and whom they could be linked with."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.people.linking import current_id
from roost_platform.views.people import AliasView, PersonRow, people, rows_of

CANDIDATES_MAX = 10


@dataclass(frozen=True, slots=True)
class AddressGroup:
    """Addresses that came to the person together.

    linked_from: as in `models.Alias`. linked_at, linked_by: of the link, None and empty for the
    person's own addresses.
    """

    linked_from: str
    aliases: tuple[AliasView, ...]
    linked_at: float | None
    linked_by: str


async def person(
    session: AsyncSession, id: str
) -> tuple[PersonRow, tuple[AddressGroup, ...]] | None:
    """The person of this id, which may be from before a link; None for nobody."""
    row = await session.get(models.Identity, await current_id(session, id))
    if row is None:
        return None
    [found] = await rows_of(session, [row])
    links = {
        link.former_id: link
        for link in await session.scalars(
            select(models.PersonLink).where(models.PersonLink.identity_id == row.id)
        )
    }
    groups = []
    for linked_from in dict.fromkeys(alias.linked_from for alias in found.aliases):
        link = links.get(linked_from)
        groups.append(
            AddressGroup(
                linked_from,
                tuple(alias for alias in found.aliases if alias.linked_from == linked_from),
                None if link is None else link.linked_at,
                "" if link is None else link.linked_by,
            )
        )
    return found, tuple(groups)


async def candidates(session: AsyncSession, id: str, text: str) -> tuple[PersonRow, ...]:
    """People to link this one with: those who match the text, at most CANDIDATES_MAX."""
    if not text:
        return ()
    _, rows = await people(session, "", text, 1)
    return tuple(row for row in rows if row.id != id)[:CANDIDATES_MAX]
