"""The API as its own ASGI app, mounted at /api; OpenAPI at /api/openapi.json."""

import time
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from roost_platform.api import approvals, flows, keys, operations, schedules, schemas, usage
from roost_platform.api.gateway import models
from roost_platform.api.routes import Api, router
from roost_platform.db.base.text import clean
from roost_platform.errors import NotAllowed, NotFound, PlatformError, RequestError
from roost_platform.identity.tokens import Tokens
from roost_platform.version import VERSION

ROUTERS = (
    operations.router,
    approvals.router,
    schedules.router,
    flows.router,
    keys.router,
    usage.router,
    models.router,
    router,
)
STATUS = {NotFound: 404, NotAllowed: 409}
PROBLEMS = {
    400: "The body is no JSON.",
    401: "The token is missing, unknown or revoked.",
    403: "The token's role does not suffice.",
    404: "There is no such thing.",
    409: "This can't be done as things are.",
    503: "Too many streams are open.",
}


def build_api(api: Api) -> FastAPI:
    """Routes over these parts, with every error as {"detail": …}."""
    app = FastAPI(
        title="Roost",
        version=VERSION,
        description="Talk to agents, follow and stop them, look at deliveries, let people in. "
        "Send `Authorization: Bearer TOKEN`; tokens are made in the console.",
        docs_url=None,  # both pages load scripts from other hosts
        redoc_url=None,
    )
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": schemas.Problem, "description": words}
        for status, words in PROBLEMS.items()
    }
    responses[422] = {"model": schemas.Invalid, "description": "The request is not valid."}
    for routes in ROUTERS:
        app.include_router(routes, dependencies=[Depends(refuse_nul)], responses=responses)
    app.state.api = api
    app.state.tokens = Tokens(api.stores.database, time.time)
    _declare_bearer(app)
    app.add_exception_handler(PlatformError, _platform_error)
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


async def refuse_nul(request: Request) -> None:
    """Answer 422 to NUL in the path or the query, which no database takes."""
    if "\x00" in request.url.path or "%00" in request.url.query:
        raise HTTPException(422, "The address contains NUL.")


def _declare_bearer(app: FastAPI) -> None:
    """Say in the OpenAPI description how to authenticate; `/health` alone opts out of it."""
    described = app.openapi()
    scheme = {"type": "http", "scheme": "bearer"}
    described.setdefault("components", {})["securitySchemes"] = {"bearer": scheme}
    described["security"] = [{"bearer": []}]


async def _platform_error(_request: Request, error: Exception) -> Response:
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"detail": str(error)}, status)


async def _request_error(_request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RequestError) else 500
    return JSONResponse({"detail": str(error)}, status)


async def _invalid(_request: Request, error: Exception) -> Response:
    """The faults without the values at fault: those may be what JSON can't say, such as NaN."""
    assert isinstance(error, RequestValidationError)
    faults = [
        {"type": fault["type"], "loc": list(fault["loc"]), "msg": fault["msg"]}
        for fault in error.errors()
    ]
    return JSONResponse({"detail": clean(faults)}, 422)
