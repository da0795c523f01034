"""Around every handler: bound the body, find out who asks, check the role, answer errors in the
caller's form."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY, RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

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

log = logging.getLogger(__name__)

Handler = Callable[[Visit], Awaitable[Response]]
ShowAgain = Callable[[Visit, str, int], Awaitable[Response]]


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """A handler with the role it needs; a test walks all routes and fails on one without.

    show_again: shows the page of a refused form again, as it was filled in.
    """

    console: Console
    role: Role
    handler: Handler
    show_again: ShowAgain | None = None

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
            return await self._refusal(visit, Refused(str(error)))
        except RequestError as error:
            return await self._refusal(visit, error)
        except HTTPException as error:  # the framework refuses a form or a body
            context = ErrorContext(error.status_code, "Not understood", error.detail)
            return failure(visit, Refused(error.detail), context)
        except ClientDisconnect:
            raise  # nobody hears an answer, and it is no fault of ours: the app ends it
        except Exception as error:
            log.exception("%s %s failed", request.method, request.url.path)
            return failure(visit, RequestError(broken(visit, error)))

    async def _refusal(self, visit: Visit, error: RequestError) -> Response:
        """The page of the form again, where the form has one; else the error by itself."""
        is_form = self.show_again is not None and wants_page(visit)
        if not is_form or isinstance(error, NotSignedIn) or visit.principal is None:
            return failure(visit, error)
        assert self.show_again is not None
        try:
            response = await self.show_again(visit, str(error), error.status)
        except StorageError:
            return failure(visit, error)
        response.headers.update(retry_headers(error))
        return response


def broken(visit: Visit, error: Exception) -> str:
    """What people read when a handler breaks; the error's own words are for operators."""
    advice = "This page could not be made. Try again; if it stays so, look at the log of `web`."
    is_operator = visit.principal is not None and visit.principal.may("operator")
    return f"{advice} The error: {type(error).__name__}: {error}" if is_operator else advice


def wants_page(visit: Visit) -> bool:
    """Whether the caller is a browser that shows what we answer as a page."""
    return "text/html" in visit.request.headers.get("accept", "") and not visit.is_htmx


def retry_headers(error: Exception) -> dict[str, str]:
    """When to come back, for an error that knows it."""
    if not isinstance(error, TooManyTries):
        return {}
    return {"retry-after": str(int(error.retry_after_s) + 1)}


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
    headers = retry_headers(error)
    is_page = wants_page(visit)
    if isinstance(error, NotSignedIn) and request.method == "GET" and is_page:
        target = local_path(request.url.path)
        return RedirectResponse(f"/login?next={quote(target, safe='/')}", status_code=303)
    if is_page:
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


class RouteBodyLimit(RequestBodyLimitMiddleware):
    """Answers 413 for a larger body, by its declared length before any of it is read.

    The framework's own limit of a route would also lift a lower limit of the port.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request with the lower of both limits."""
        of_port = scope.get(MAX_BODY_SIZE_SCOPE_KEY)
        if isinstance(of_port, int) and of_port <= self.max_body_size:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def body_limit(bytes_max: int | None) -> list[Middleware]:
    """The middleware of a route that reads at most so many bytes; None: the port's own limit."""
    return [] if bytes_max is None else [Middleware(RouteBodyLimit, max_body_size=bytes_max)]
