"""The links beside every page: which there are, in which section, and who sees them."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db.base.engine import Database
from roost_platform.identity.roles import Principal, Role

SECTIONS = ("", "Gateway", "Try it", "Administration")  # in their order; the first has no heading


@dataclass(frozen=True, slots=True)
class NavLink:
    """One link. `icon` names a Lucide icon of vendor.ICONS; `section` is one of SECTIONS.

    count: how many things behind the link wait for an operator; its badge, which is live.
    """

    href: str
    label: str
    icon: str
    section: str = ""
    role: Role = Role.viewer
    needs_sandbox: bool = False
    count: Callable[[AsyncSession], Awaitable[int]] | None = None

    @property
    def badge_id(self) -> str:
        """The id of the element with the count; empty for a link without one."""
        return f"badge-{self.href.strip('/')}" if self.count is not None else ""


@dataclass(frozen=True, slots=True)
class NavSection:
    """Links under one heading."""

    title: str
    links: tuple[NavLink, ...]


def sections_for(
    links: Sequence[NavLink], principal: Principal | None, *, has_sandbox: bool
) -> Iterator[NavSection]:
    """The sections with at least one link for this person; none on public pages."""
    if principal is None:
        return
    for title in SECTIONS:
        shown = tuple(
            link
            for link in links
            if link.section == title
            and principal.role >= link.role
            and (has_sandbox or not link.needs_sandbox)
        )
        if shown:
            yield NavSection(title, shown)


async def badges_for(
    links: Sequence[NavLink], principal: Principal | None, database: Database
) -> Mapping[str, int]:
    """What waits behind the links that this person sees, by the id of the link's badge."""
    counted = [
        (link.badge_id, link.count)
        for link in links
        if link.count is not None and principal is not None and principal.role >= link.role
    ]
    if not counted:
        return {}
    async with database.read() as session:
        return {id: await count(session) for id, count in counted}
