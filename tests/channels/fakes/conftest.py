"""Fixtures: the fakes, the official clients connected to them, and a receiver of webhooks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiohttp import web
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from roost_channels.testing import FakeTelegram, FakeTwilio, VirtualClock

TelegramCall = Callable[..., Coroutine[Any, Any, tuple[int, Any]]]


@dataclass
class Received:
    """One webhook that arrived. url: the raw path with its query."""

    url: str
    headers: dict[str, str]
    body: bytes
    form: dict[str, str]


@dataclass
class Receiver:
    """A web server that records requests and sends `answers` in order, then 200."""

    base_url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: list[web.Response] = field(default_factory=list)
    hold: asyncio.Event | None = None

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        form = {}
        if request.content_type == "application/x-www-form-urlencoded":
            form = {key: str(value) for key, value in (await request.post()).items()}
        self.received.append(
            Received(request.rel_url.raw_path_qs, dict(request.headers), body, form)
        )
        if self.hold is not None:
            await self.hold.wait()
        return self.answers.pop(0) if self.answers else web.Response()

    async def got(self, count: int) -> None:
        """Wait until that many requests have arrived."""
        async with asyncio.timeout(10):
            while len(self.received) < count:
                await asyncio.sleep(0.005)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    if receiver.hold is not None:
        receiver.hold.set()
    await runner.cleanup()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    """FakeTelegram on the wall clock."""
    async with FakeTelegram() as fake:
        yield fake


@pytest.fixture
async def timed_telegram(clock: VirtualClock) -> AsyncIterator[FakeTelegram]:
    """FakeTelegram on a clock that the test advances."""
    async with FakeTelegram(clock=clock) as fake:
        yield fake


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def call(http: httpx2.AsyncClient) -> TelegramCall:
    """`status, body = await call(telegram, "sendMessage", chat_id=7, ...)`, as JSON."""

    async def post(fake: FakeTelegram, method: str, **parameters: Any) -> tuple[int, Any]:
        url = f"{fake.base_url}/bot{fake.token}/{method}"
        answer = await http.post(url, json=parameters)
        return answer.status_code, answer.json()

    return post


@pytest.fixture
async def bot(telegram: FakeTelegram) -> AsyncIterator[Bot]:
    """The official client of `telegram`."""
    session = AiohttpSession(api=TelegramAPIServer.from_base(telegram.base_url))
    client = Bot(telegram.token, session=session)
    yield client
    # Its own close waits a quarter of a second for the end of TLS, which loopback has none of.
    await (await session.create_session()).close()
    assert telegram.complaints == []


class RedirectingClient(TwilioHttpClient):  # type: ignore[misc]
    """twilio's own HTTP client, with the hosts of its APIs replaced by one base URL."""

    def __init__(self, base_url: str) -> None:
        super().__init__(timeout=10)
        self.base_url = base_url

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Response:
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        return super().request(method, f"{self.base_url}{parts.path}{query}", *args, **kwargs)


@pytest.fixture
async def twilio(receiver: Receiver) -> AsyncIterator[FakeTwilio]:
    """FakeTwilio on the wall clock; its inbound messages go to the receiver."""
    async with FakeTwilio(webhook_url=f"{receiver.base_url}/hooks/inbound") as fake:
        yield fake


@pytest.fixture
async def timed_twilio(receiver: Receiver, clock: VirtualClock) -> AsyncIterator[FakeTwilio]:
    url = f"{receiver.base_url}/hooks/inbound"
    async with FakeTwilio(webhook_url=url, clock=clock) as fake:
        yield fake


@pytest.fixture
async def client(twilio: FakeTwilio) -> AsyncIterator[Client]:
    """The official client of `twilio`; its calls block, so run them with asyncio.to_thread."""
    redirecting = RedirectingClient(twilio.base_url)
    yield Client(twilio.account_sid, twilio.auth_token, http_client=redirecting)
    if redirecting.session is not None:
        redirecting.session.close()
