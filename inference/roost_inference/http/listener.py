"""Runs an ASGI app with uvicorn: bound before it serves, blocking or on a running loop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

from roost_inference.http.connections import ConnectionLimits, bounded_protocol

# How long answers under way may go on after the signal to stop.
SHUTDOWN_GRACE_S = 1
BACKLOG = 512
TICK_S = 1.0
# One worker is the usual client and asks for many conversations at once: no bound per address.
LIMITS = ConnectionLimits(shares_address=lambda address: True)


class RestingServer(uvicorn.Server):
    """A uvicorn server that wakes once a second instead of ten times, and at once when it is to
    stop: an idle process costs next to nothing."""

    def __init__(self, config: uvicorn.Config) -> None:
        self._is_to_stop = False
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(config)

    @property
    def should_exit(self) -> bool:
        """Whether the server is to stop; set by any thread or signal handler."""
        return self._is_to_stop

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._is_to_stop = value
        if value and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def main_loop(self) -> None:
        """Run until the server is to stop."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):  # which writes the date that answers bear
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._stopping.wait()


class SignalServer(RestingServer):
    """A uvicorn server that a signal ends. uvicorn itself raises the signal again afterwards, so
    nothing behind `run` would be closed."""

    def __init__(
        self, app: ASGIApp, *, catch_signals: bool, limits: ConnectionLimits = LIMITS
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=bounded_protocol(limits),
                lifespan="off",
                log_config=None,
                access_log=False,
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
            )
        )
        self._catch_signals = catch_signals

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the server; the handlers of before come back afterwards."""
        if not self._catch_signals:
            yield
            return
        caught = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Connections wait in it until the server runs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off only where the protocol is named; with it a second write waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """The base URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.asynccontextmanager
async def listening(
    app: ASGIApp, host: str = "127.0.0.1", port: int = 0, limits: ConnectionLimits = LIMITS
) -> AsyncIterator[str]:
    """The app served on the running event loop; gives its base URL."""
    listener = bind(host, port)
    server = SignalServer(app, catch_signals=False, limits=limits)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.001)
        yield url_of(listener)
    finally:
        server.should_exit = True
        await asyncio.wait((task,))
        listener.close()
        task.result()
