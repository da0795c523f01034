"""One page, declared once: its address, its data, its template, and what lives on it."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from starlette.responses import Response

from roost_platform.console.console import Visit
from roost_platform.console.endpoint import Handler
from roost_platform.console.live import LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.errors import NotFound
from roost_platform.identity.roles import Role

Data = TypeVar("Data")
ReadAs = Literal["page", "json"]

# The longest text that a field takes has 20,000 characters, of up to twelve bytes in a form.
FORM_BYTES_MAX = 512 * 1024
PUBLIC_FORM_BYTES_MAX = 16 * 1024  # of forms that need no login


@dataclass(frozen=True, slots=True)
class ConsoleRoute:
    """One route: its method, its path, the least role it needs, and who answers it.

    form_of: the page whose form is sent here; it is shown again, as it was filled in, when the
    handler refuses.
    has_file: whether the form carries a file, so that only the port's own limit bounds it.
    """

    method: Literal["GET", "POST"]
    path: str
    role: Role
    handler: Handler
    form_of: "AnyPage | None" = None
    has_file: bool = False

    @property
    def body_bytes_max(self) -> int | None:
        """The largest body that is read; None for the port's own limit.

        Parsing a form keeps every other request waiting, up to a second for four megabytes.
        """
        if self.role is Role.public:
            return PUBLIC_FORM_BYTES_MAX
        return None if self.has_file else FORM_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Data]):
    """A page and its twins: JSON at `BASE.json`, its event stream at `BASE/events`.

    path: the page's address; parameters in braces, as Starlette writes them.
    template: of the full page, below console/templates (or `templates`, for pages from elsewhere).
    load: reads the data, a frozen dataclass; raises NotFound when the page's subject is gone.
    role: the least role that may see the page.
    live: the parts of the data that are sent again when they change; None: the page stands still.
    look_s: how often to look, for a page whose data is not in the database.
    has_json: whether the data is also served as JSON.
    base: where the twins are; by default at the page's own path.
    on_read: called after somebody read the page or its JSON, for the audit trail.
    nav: the link in the menu, for pages that are reached from everywhere.
    """

    path: str
    template: str
    load: Callable[[Visit], Awaitable[Data]]
    role: Role = Role.viewer
    live: Callable[[Data], LivePage] | None = None
    look_s: float | None = None
    has_json: bool = False
    base: str = ""
    on_read: Callable[[Visit, Data, ReadAs], Awaitable[None]] | None = None
    nav: NavLink | None = None
    templates: Path | None = None

    def routes(self) -> Iterator[ConsoleRoute]:
        """The page's own route and those of its twins."""
        base = self.base or self.path
        yield ConsoleRoute("GET", self.path, self.role, self.show)
        if self.has_json:
            yield ConsoleRoute("GET", f"{base}.json", self.role, self.show_json)
        if self.live is not None:
            yield ConsoleRoute("GET", f"{base}/events", self.role, self.stream)

    async def show(self, visit: Visit) -> Response:
        """The page as HTML."""
        data = await self.load(visit)
        if self.on_read is not None:
            await self.on_read(visit, data, "page")
        return visit.page(self.template, data)

    async def show_again(self, visit: Visit, problem: str, status: int) -> Response:
        """The page with why its form was refused, and the form as it was filled in."""
        data = await self.load(visit)
        if self.on_read is not None:
            await self.on_read(visit, data, "page")
        typed = await visit.typed()
        return visit.page(self.template, data, status=status, problem=problem, typed=typed)

    async def show_json(self, visit: Visit) -> Response:
        """The page's data as JSON."""
        data = await self.load(visit)
        if self.on_read is not None:
            await self.on_read(visit, data, "json")
        return visit.json(data)

    async def stream(self, visit: Visit) -> Response:
        """The page's event stream; it ends when the page's subject is gone."""
        await self.load(visit)  # what the page refuses, its stream refuses as well

        async def current() -> LivePage | None:
            try:
                data = await self.load(visit)
            except NotFound:
                return None
            return self.live(data) if self.live is not None else None

        return visit.stream(current, look_s=self.look_s)


AnyPage = Page[Any]
