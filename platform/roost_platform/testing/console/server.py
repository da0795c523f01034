"""A console in a thread of its own on loopback, for tests and screenshots."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from roost_platform.console.console import Console
from roost_platform.console.dependencies import ChannelSetup, ConsoleDeps
from roost_platform.console.live import Live
from roost_platform.console.page import AnyPage
from roost_platform.console.phones import OpenPhones
from roost_platform.console.routes import PAGES, build_console, not_found
from roost_platform.db.base.engine import Database
from roost_platform.db.stores import Stores, open_stores
from roost_platform.identity.accounts import Accounts
from roost_platform.identity.logins import Logins
from roost_platform.identity.passwords import Passwords
from roost_platform.identity.roles import parse_role
from roost_platform.identity.tokens import Tokens
from roost_platform.intake import PlatformIntake
from roost_platform.views.engine.watch import EngineWatch, WatchedEngine
from roost_platform.views.gateway.watch import GatewayWatch
from roost_platform.views.health import HealthView
from roost_platform.web.security import console_middleware

Result = TypeVar("Result")
START_S = 10.0
ADMIN, PASSWORD = "Grace Hopper", "correct horse battery"


@dataclass(slots=True)
class QuietDoorbell:
    """Keeps a log of rings instead of signalling Temporal."""

    rings: list[str] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    async def ring(self, conversation_id: str) -> None:
        """Remember a ring."""
        self.rings.append(conversation_id)

    async def stop(self, conversation_id: str) -> None:
        """Remember a ring for a stop."""
        self.stops.append(conversation_id)


CHANNELS = (
    ChannelSetup(
        "telegram",
        "42",
        mode="polling",
        access="pairing",
        steps=("Ask **@BotFather** for a token.", "Set `ROOST_TELEGRAM__TOKEN` and restart."),
    ),
    ChannelSetup(
        "whatsapp",
        "whatsapp:+15550001000",
        mode="webhook",
        access="pairing",
        webhooks=(
            ("When a message comes in", "https://roost.example.org/hooks/twilio/inbound"),
            ("Status callback", "https://roost.example.org/hooks/twilio/status"),
        ),
        steps=("Buy a sender in Twilio's console.", "Set `ROOST_TWILIO__ACCOUNT_SID`."),
    ),
)


@dataclass(slots=True)
class ConsoleServer:
    """A console in a thread of its own, with its own event loop and database connections."""

    database_url: str
    files: Path | None = None
    phones: OpenPhones | None = None
    engine: WatchedEngine | None = None
    gateway: Callable[[Database], GatewayWatch] | None = None
    clock: Callable[[], float] = time.time
    options: dict[str, Any] = field(default_factory=dict)
    pages: Sequence[AnyPage] = PAGES
    channels: Sequence[ChannelSetup] = CHANNELS
    doorbell: QuietDoorbell = field(default_factory=QuietDoorbell)
    url: str = field(default="", init=False)
    stores: Stores = field(init=False)
    watch: EngineWatch | None = field(default=None, init=False)
    intake: PlatformIntake = field(init=False)
    routes: list[BaseRoute] = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run something in the server's loop: its database connections live there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def sign_in_cookie(self, name: str, role: str) -> dict[str, str]:
        """Make an operator of this role and a session; returns the session's cookie."""
        return self.run(self._sign_in(name, role))

    async def _sign_in(self, name: str, role: str) -> dict[str, str]:
        console = self._console
        principal = await console.accounts.create(name, PASSWORD, parse_role(role))
        token = await console.logins.open(principal, ip="127.0.0.1", user_agent="Tests")
        return {"name": console.session_cookie, "value": token}

    @contextlib.contextmanager
    def serving(self) -> Iterator["ConsoleServer"]:
        """Serve on a free loopback port until the block ends."""
        ready = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        thread.start()
        if not ready.wait(START_S):
            raise TimeoutError("the console did not start")
        try:
            yield self
        finally:
            self._server.should_exit = True
            thread.join(START_S)

    @property
    def console(self) -> Console:
        """The console that is served."""
        return self._console

    @property
    def live(self) -> Live:
        """The console's open streams."""
        return self._console.live

    @property
    def accounts(self) -> Accounts:
        """The console's operators."""
        return self._console.accounts

    @property
    def logins(self) -> Logins:
        """The console's logins."""
        return self._console.logins

    @property
    def tokens(self) -> Tokens:
        """The console's API tokens."""
        return self._console.tokens

    _server: uvicorn.Server = field(init=False)
    _console: Console = field(init=False)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self.stores = open_stores(self.database_url, version="0.1.0", files=self.files)
        self.intake = PlatformIntake(self.stores, self.doorbell)
        if self.engine is not None:
            self.watch = EngineWatch(self.engine, self.clock)
        deps = ConsoleDeps(
            stores=self.stores,
            intake=self.intake,
            health=HealthView(
                self.stores,
                self.engine,
                clock=self.clock,
                accounts=frozenset((one.channel, one.account) for one in self.channels),
            ),
            engine_watch=self.watch,
            gateway=self.gateway(self.stores.database) if self.gateway else None,
            phones=self.phones,
            clock=self.clock,
            channels=self.channels,
            version="0.1.0",
            **self.options,
        )
        self._console, self.routes = build_console(deps, self.pages)
        # The real settings cost 50 ms of a core a time; tests sign in often.
        quick = Passwords(PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1))
        self._console.accounts.passwords = self._console.logins.passwords = quick
        app = Starlette(
            routes=self.routes,
            middleware=console_middleware(),
            exception_handlers={404: not_found(self._console)},
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=0,
                log_config=None,
                lifespan="off",
                proxy_headers=False,
                timeout_graceful_shutdown=1,
            )
        )
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        ready.set()
        await serving
        await self.intake.close()
        await self._console.close()
        await self.stores.close()
