"""Around every handler: find out who asks, check the role, answer errors in the caller's form."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from roost_platform.console.console import Console, Visit, local_path
from roost_platform.db.audit import acting_through
from roost_platform.errors import (
    NotFound,
    NotSignedIn,
    Refused,
    RequestError,
    StorageError,
    TooManyTries,
)
from roost_platform.identity.roles import Role

Handler = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """A handler with the role it needs; a test walks all routes and fails on one without."""

    console: Console
    role: Role
    handler: Handler

    async def serve(self, request: Request) -> Response:
        """Answer one request; errors with an explanation become answers, others are raised."""
        visit = Visit(self.console, request, None)
        acting_through.set("console")
        try:
            principal = await self.console.logins.find(visit.token)
            visit = Visit(self.console, request, principal)
            if self.role > Role.public:
                visit.me.require(self.role)
            return await self.handler(visit)
        except NotFound as error:
            return failure(visit, error, ErrorContext(404, "Nothing here", str(error)))
        except StorageError as error:  # what is asked does not fit what is stored
            return failure(visit, Refused(str(error)))
        except RequestError as error:
            return failure(visit, error)


@dataclass(frozen=True, slots=True)
class ErrorContext:
    """The error page."""

    status: int
    title: str
    message: str


def failure(
    visit: Visit, error: NotFound | RequestError, context: ErrorContext | None = None
) -> Response:
    """An error in the form that the caller reads: the sign-in page, a toast, JSON or a page.

    context: what the error page says, for an error that does not know it itself.
    """
    if context is None:
        assert isinstance(error, RequestError)
        context = ErrorContext(error.status, error.title, str(error))
    request = visit.request
    headers = {}
    if isinstance(error, TooManyTries):
        headers["retry-after"] = str(int(error.retry_after_s) + 1)
    wants_page = "text/html" in request.headers.get("accept", "") and not visit.is_htmx
    if isinstance(error, NotSignedIn) and request.method == "GET" and wants_page:
        target = local_path(request.url.path)
        return RedirectResponse(f"/login?next={quote(target, safe='/')}", status_code=303)
    if wants_page:
        response = visit.page("layout/error.html", context, status=context.status)
    elif visit.is_htmx:
        headers["x-roost-toast"] = quote(context.message)
        response = Response(status_code=context.status)
    else:
        response = JSONResponse(
            {"error": {"type": type(error).__name__, "message": context.message}},
            status_code=context.status,
        )
    response.headers.update(headers)
    return response
