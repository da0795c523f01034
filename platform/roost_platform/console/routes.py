"""Every route of the console, collected from its pages and put in an order by itself."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from roost_platform.console.assets import static_file
from roost_platform.console.console import Console, Visit
from roost_platform.console.dependencies import ConsoleDeps
from roost_platform.console.endpoint import Endpoint, body_limit
from roost_platform.console.page import AnyPage, ConsoleRoute
from roost_platform.console.pages import (
    administration,
    channels,
    chat,
    deliveries,
    files,
    inference,
    overview,
    patterns,
    people,
    person,
    sandbox,
    session,
    sessions,
    sign_in,
)
from roost_platform.console.pages.faults import (
    alerts,
    bulk_stop,
    person_data,
    prompt,
    search,
    system,
)
from roost_platform.console.pages.gateway import keys, models, usage
from roost_platform.console.pages.workflows import approvals, flows, schedules, tools
from roost_platform.console.rendering import add_templates
from roost_platform.errors import NotFound
from roost_platform.identity.roles import Role

# In the order of their links in the menu.
PAGES: Sequence[AnyPage] = (
    overview.PAGE,
    sessions.PAGE,
    session.PAGE,
    prompt.PAGE,
    search.PAGE,
    bulk_stop.PAGE,
    alerts.PAGE,
    approvals.LIST_PAGE,
    approvals.ONE_PAGE,
    schedules.LIST_PAGE,
    schedules.ONE_PAGE,
    flows.LIST_PAGE,
    flows.ONE_PAGE,
    deliveries.LIST_PAGE,
    deliveries.ONE_PAGE,
    channels.PAGE,
    people.PAGE,
    person.PAGE,
    person_data.PAGE,
    tools.LIST_PAGE,
    tools.ONE_PAGE,
    inference.PAGE,
    models.PAGE,
    keys.PAGE,
    usage.PAGE,
    chat.PAGE,
    sandbox.PAGE,
    administration.OPERATORS_PAGE,
    administration.TOKENS_PAGE,
    administration.AUDIT_PAGE,
    system.SETTINGS_PAGE,
    system.DOCTOR_PAGE,
    system.LOGS_PAGE,
    sign_in.ACCOUNT_PAGE,
    patterns.PAGE,
)


async def serve_static(visit: Visit) -> Response:
    """A style sheet, a script, a font or an image."""
    return await static_file(visit.request)


ACTIONS: Sequence[ConsoleRoute] = (
    ConsoleRoute("GET", "/static/{digest}/{path:path}", Role.public, serve_static),
    *sign_in.ACTIONS,
    *session.ACTIONS,
    *bulk_stop.ACTIONS,
    *files.ACTIONS,
    *approvals.ACTIONS,
    *schedules.ACTIONS,
    *flows.ACTIONS,
    *tools.ACTIONS,
    *deliveries.ACTIONS,
    *people.ACTIONS,
    *person.ACTIONS,
    *person_data.ACTIONS,
    *chat.ACTIONS,
    *sandbox.ACTIONS,
    *models.ACTIONS,
    *keys.ACTIONS,
    *usage.ACTIONS,
    *administration.ACTIONS,
)


def ordered(routes: Iterable[ConsoleRoute]) -> tuple[ConsoleRoute, ...]:
    """The routes with the more exact paths first: `/people/events` before `/people/{id}`.

    Starlette takes the first route that fits. Raises ValueError for two that nothing tells apart.
    """
    seen: dict[tuple[str, str], str] = {}
    table = sorted(routes, key=lambda route: [_exactness(part) for part in _parts(route.path)])
    for route in table:
        shape = route.method, re.sub(r"{[^}]*}", "{}", route.path)
        if shape in seen:
            raise ValueError(
                f"Two console routes answer {route.method} {route.path} and {seen[shape]}: "
                "give one of them another path."
            )
        seen[shape] = route.path
    return tuple(table)


def _parts(path: str) -> list[str]:
    return path.strip("/").split("/")


def _exactness(part: str) -> tuple[int, int]:
    """Sorts a part of a path: literal text first, then text around a parameter, then less."""
    if "{" not in part:
        return 0, 0
    literal = re.sub(r"{[^}]*}", "", part)
    if literal:
        return 1, -len(literal)
    return (3, 0) if ":path}" in part else (2, 0)


def table_of(
    pages: Sequence[AnyPage] = PAGES, actions: Sequence[ConsoleRoute] = ACTIONS
) -> tuple[ConsoleRoute, ...]:
    """The routes of these pages and actions, ordered; raises ValueError for an ambiguous one."""
    return ordered([*(route for page in pages for route in page.routes()), *actions])


TABLE = table_of()


def build_console(
    deps: ConsoleDeps, pages: Sequence[AnyPage] = PAGES
) -> tuple[Console, list[BaseRoute]]:
    """The console and its routes; `close` the console at the end. Pages appear in this order."""
    for page in pages:
        if page.templates is not None:
            add_templates(page.templates)
    console = Console(deps, [page.nav for page in pages if page.nav is not None])
    return console, [
        Route(
            route.path,
            Endpoint(
                console,
                route.role,
                route.handler,
                None if route.form_of is None else route.form_of.show_again,
            ).serve,
            methods=[route.method],
            middleware=body_limit(route.body_bytes_max),
        )
        for route in table_of(pages)
    ]


def not_found(console: Console) -> Callable[[Request, Exception], Awaitable[Response]]:
    """The answer to an address that nothing has, as a handler for the web app."""

    async def nothing_here(_visit: Visit) -> Response:
        raise NotFound("Nothing has this address. Choose a page in the menu.")

    endpoint = Endpoint(console, Role.public, nothing_here)

    async def answer(request: Request, _error: Exception) -> Response:
        return await endpoint.serve(request)

    return answer
