"""Runs an ASGI app with uvicorn: bound before it serves, blocking or on a running loop."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from roost_inference.http.connections import ConnectionLimits
from roost_inference.http.protocol.bounded import BoundedProtocol, bounded_protocol

# How long answers under way may go on after the signal to stop.
SHUTDOWN_GRACE_S = 1
# How long those that are still under way then may take to tell their clients that they end.
FAREWELL_S = 1.0
# How often a server that is to stop looks whether they have ended.
LOOK_S = 0.005
BACKLOG = 512
# One worker is the usual client and asks for many conversations at once: no bound per address.
LIMITS = ConnectionLimits(shares_address=lambda address: True)


class DatedState(ServerState):
    """uvicorn's state with a date that is made when an answer needs it, once a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        self._config = config
        self._second = 0
        self._headers: list[tuple[bytes, bytes]] = []
        super().__init__()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that each answer bears."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            date = [(b"date", formatdate(second, usegmt=True).encode())]
            self._headers = (
                date if self._config.date_header else []
            ) + self._config.encoded_headers
        return self._headers

    @default_headers.setter
    def default_headers(self, value: object) -> None:
        """uvicorn begins with an empty list."""


class RestingServer(uvicorn.Server):
    """A uvicorn server that sleeps until somebody asks or it is to stop. uvicorn's own wakes ten
    times a second to look at the clock."""

    def __init__(self, config: uvicorn.Config) -> None:
        self._is_to_stop = False
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(config)
        self.server_state = DatedState(config)

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
        if not self._is_to_stop:  # from here on whoever stops it sets the event
            await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let answers end, and cancel those that take longer than the grace. uvicorn's own pauses
        for a tenth of a second even where nothing is under way."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while (state.connections or state.tasks) and not self.force_exit:
                    await asyncio.sleep(LOOK_S)
        for task in state.tasks:
            task.cancel()
        if not self.force_exit:
            await self.lifespan.shutdown()


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
                proxy_headers=False,  # uvicorn would believe them of everybody on this machine
                timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
            )
        )
        self._catch_signals = catch_signals

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let answers end, cancel the rest, let those tell their clients, and close for good."""
        await super().shutdown(sockets)
        cancelled = set(self.server_state.tasks)
        if cancelled:
            await asyncio.wait(cancelled, timeout=FAREWELL_S)
        # A client that does not read its answer keeps its connection.
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.close_now()
        await asyncio.sleep(0)  # transports close in the next pass of the loop

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
