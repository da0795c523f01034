"""Around every handler: who is it, may they, and errors in the form the caller reads."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from roost_platform.console.console import Console, Visit, local_path
from roost_platform.console.errors import (
    ConsoleError,
    NotFound,
    NotSignedIn,
    Refused,
    TooManyTries,
)
from roost_platform.errors import NotFound as MissingRow
from roost_platform.errors import StorageError
from roost_platform.identity.roles import Role

Handler = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """A handler with the role it needs; a test walks all routes and fails on one without."""

    console: Console
    role: Role
    handler: Handler

    async def serve(self, request: Request) -> Response:
        visit = Visit(self.console, request, None)
        try:
            principal = await self.console.logins.find(visit.token)
            visit = Visit(self.console, request, principal)
            if self.role > Role.public:
                visit.me.require(self.role)
            return await self.handler(visit)
        except ConsoleError as error:
            return failure(visit, error)
        except StorageError as error:  # what is asked does not fit what is stored
            kind = NotFound if isinstance(error, MissingRow) else Refused
            return failure(visit, kind(str(error)))


@dataclass(frozen=True, slots=True)
class ErrorContext:
    """The error page."""

    status: int
    title: str
    message: str


def failure(visit: Visit, error: ConsoleError) -> Response:
    """An error in the form the caller reads: sign-in page, toast, JSON or a page."""
    request = visit.request
    headers = {}
    if isinstance(error, TooManyTries):
        headers["retry-after"] = str(int(error.retry_after_s) + 1)
    wants_page = "text/html" in request.headers.get("accept", "") and not visit.is_htmx
    if isinstance(error, NotSignedIn) and request.method == "GET" and wants_page:
        target = local_path(request.url.path)
        return RedirectResponse(f"/login?next={quote(target, safe='/')}", status_code=303)
    if wants_page:
        context = ErrorContext(error.status, error.title, error.message)
        response = visit.page("error.html", context, status=error.status)
    elif visit.is_htmx:
        headers["x-roost-toast"] = quote(error.message)
        response = Response(status_code=error.status)
    else:
        response = JSONResponse(
            {"error": {"type": type(error).__name__, "message": error.message}},
            status_code=error.status,
        )
    response.headers.update(headers)
    return response
