"""An HTTP server on 127.0.0.1 that can cut its connections and restart on its port."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from roost_channels.testing.bounded import IDLE_S, BoundedListener, bounded_body
from roost_channels.testing.origin import refuse_pages

BODY_BYTES_MAX = 60 * 1024 * 1024
CALLS_KEPT = 100_000
BAD_GATEWAY_HTML = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Call:
    """One request as the provider saw it; times are seconds since the epoch by the fake's clock.

    response: the decoded body, even when a fault kept it from the caller.
    fault: the kind of the fault that struck, or empty.
    early: the call came inside a wait that an earlier response asked for.
    """

    method: str
    parameters: dict[str, Any]
    started_at: float
    finished_at: float | None = None
    status: int = 0
    response: Any = None
    fault: str = ""
    early: bool = False

    @property
    def ok(self) -> bool:
        """Whether the HTTP status is 2xx."""
        return 200 <= self.status < 300


@dataclass(slots=True)
class CallLog:
    """The calls of a fake, oldest first; the oldest go when CALLS_KEPT is reached."""

    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=CALLS_KEPT))

    def named(self, method: str) -> list[Call]:
        """The calls of one method; compared without regard to case."""
        return [call for call in self.calls if call.method.lower() == method.lower()]


def call_json(call: Call) -> dict[str, Any]:
    """A call as the /sim API shows it."""
    return {
        "method": call.method,
        "parameters": call.parameters,
        "started_at": call.started_at,
        "finished_at": call.finished_at,
        "status": call.status,
        "response": call.response,
        "fault": call.fault,
        "early": call.early,
    }


class LoopbackServer:
    """Serves one handler for all paths. port: 0 picks a free one at the first start."""

    def __init__(self, handler: Handler, port: int = 0) -> None:
        self.handler = handler
        self._port = port
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """The server's URL without a path; RuntimeError before the first start."""
        if self._port == 0:
            raise RuntimeError("the server has not been started")
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """The port, 0 before the first start."""
        return self._port

    async def start(self) -> None:
        """Listen on 127.0.0.1."""
        app = web.Application(
            client_max_size=BODY_BYTES_MAX, middlewares=[refuse_pages, bounded_body]
        )
        app.router.add_route("*", "/{tail:.*}", self.handler)
        # A caller that hangs up ends its long poll: the handler is cancelled, as providers do.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.0,
            keepalive_timeout=IDLE_S,
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._listener = await asyncio.get_running_loop().create_server(
            BoundedListener(self._runner.server), "127.0.0.1", self._port, reuse_address=True
        )
        self._port = int(self._listener.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            if self._listener is not None:
                self._listener.close()
            await runner.cleanup()

    async def restart(self, down_s: float = 0.0) -> None:
        """Refuse connections for `down_s` seconds, then serve again on the same port."""
        await self.stop()
        await asyncio.sleep(down_s)
        await self.start()


def cut_connection(request: web.Request) -> web.Response:
    """Hang up without a response; the returned one is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def cut_body(request: web.Request, answer: web.Response) -> web.StreamResponse:
    """Hang up inside a response that promised one more byte."""
    if not isinstance(request, web.BaseRequest):  # passed in this process, without a socket
        return cut_connection(request)
    body = answer.body if isinstance(answer.body, bytes) else b""
    response = web.StreamResponse(
        status=answer.status, headers={"Content-Length": str(len(body) + 1)}
    )
    response.content_type = answer.content_type
    await response.prepare(request)
    await response.write(body)
    if request.transport is not None:
        request.transport.abort()
    return response


async def until(
    changed: Callable[[], asyncio.Event], predicate: Callable[[], Any], timeout_s: float
) -> None:
    """Wait, in real time, until the predicate holds; TimeoutError after `timeout_s` seconds."""

    async def poll() -> None:
        while not predicate():
            event = changed()
            # Some facts change with time alone, such as the end of typing, hence the poll.
            try:
                await asyncio.wait_for(event.wait(), 0.05)
            except TimeoutError:
                continue

    await asyncio.wait_for(poll(), timeout_s)
