"""The API as its own ASGI app, mounted at /api; OpenAPI at /api/openapi.json."""

import time

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from roost_platform.api.routes import Api, router
from roost_platform.errors import NotAllowed, NotFound, PlatformError, RequestError
from roost_platform.identity.tokens import Tokens
from roost_platform.version import VERSION

STATUS = {NotFound: 404, NotAllowed: 409}


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
    app.include_router(router)
    app.state.api = api
    app.state.tokens = Tokens(api.stores.database, time.time)
    _declare_bearer(app)
    app.add_exception_handler(PlatformError, _platform_error)
    app.add_exception_handler(RequestError, _request_error)
    return app


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
