"""Two web processes over one database share a budget; a killed one leaves nothing held."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.key_admin import KeyAdmin, NewKey
from roost_platform.testing.processes import Process, free_port
from roost_platform.testing.providers.upstream import Act, Upstream, delta, upstream

CALLS = 50
FITS = 5
TOKENS = 1000  # of an answer; a prompt here holds fewer than a tenth of it
BODY = {
    "model": "p/m",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": TOKENS,
    "stream": True,
}


@dataclass(slots=True)
class Web:
    """A web process. port: the same after a restart."""

    port: int
    process: Process

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.process = Process(self.process.argv, self.process.env)
        self.process.start()
        self.process.wait_for('{"event": "Uvicorn running', 60)

    def kill(self) -> None:
        """End it as the kernel does that runs out of memory."""
        os.killpg(self.process.popen.pid, signal.SIGKILL)
        self.process.popen.wait(10)


def web_process(folder: Path, database_url: str, provider: Upstream) -> Web:
    port = free_port()
    given = {
        "ROOST_DATA_DIR": str(folder),
        "ROOST_DATABASE__URL": database_url,
        "ROOST_WEB__PORT": str(port),
        "ROOST_ENGINE__URL": "http://127.0.0.1:9/v1",
        "ROOST_PROVIDERS__P__BASE_URL": provider.base_url,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}
    return Web(
        port, Process([sys.executable, "-m", "roost_platform", "serve", "web"], clean | given)
    )


@pytest.fixture
async def provider() -> AsyncIterator[Upstream]:
    """A provider that writes one word and then nothing more."""
    async with upstream(Act(events=[delta("word")], then="hang")) as serving:
        yield serving


@pytest.fixture
async def webs(
    tmp_path: Path, database_url: str, provider: Upstream
) -> AsyncIterator[tuple[Web, Web]]:
    first, second = (web_process(tmp_path / name, database_url, provider) for name in ("a", "b"))
    try:
        await asyncio.gather(asyncio.to_thread(first.start), asyncio.to_thread(second.start))
        yield first, second
    finally:
        await asyncio.gather(
            *(asyncio.to_thread(one.process.stop) for one in (first, second)),
            return_exceptions=True,
        )


@dataclass(slots=True)
class Clients:
    """Calls of one key. open: those that stream; the tasks end when they are cancelled."""

    secret: str
    http: httpx2.AsyncClient
    open: dict[asyncio.Task[int], Web]

    async def ask(self, web: Web) -> int:
        """The status of one call, whose stream stays open."""
        begun: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._read(web, begun))
        await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            return await task
        if begun.result() == 200:
            self.open[task] = web
        return begun.result()

    async def _read(self, web: Web, begun: "asyncio.Future[int]") -> int:
        url = f"http://127.0.0.1:{web.port}/v1/chat/completions"
        headers = {"authorization": f"Bearer {self.secret}"}
        async with self.http.stream("POST", url, json=BODY, headers=headers) as response:
            begun.set_result(response.status_code)
            with contextlib.suppress(httpx2.HTTPError):
                async for _ in response.aiter_raw():
                    pass
            return response.status_code

    async def leave(self) -> None:
        """All clients close their connections."""
        for task in self.open:
            task.cancel()
        await asyncio.gather(*self.open, return_exceptions=True)


async def the_key(database: Database, id: str) -> models.GatewayKeyRow:
    async with database.read() as session:
        return await session.get_one(models.GatewayKeyRow, id)


async def outcomes(database: Database, key: str) -> list[tuple[str, int]]:
    """Outcome and tokens of each admitted call."""
    call = models.GatewayCall
    admitted = select(call).where(call.key_id == key, call.outcome != "refused")
    async with database.read() as session:
        rows = list(await session.scalars(admitted))
    return sorted((row.outcome, row.input_tokens + row.output_tokens) for row in rows)


async def test_fifty_calls_at_two_processes_share_a_budget_for_five_and_a_kill_frees_its_own(
    webs: tuple[Web, Web], database_url: str
) -> None:
    database = Database(database_url)
    first, second = webs
    bounds = NewKey("shared", budget_tokens=FITS * TOKENS + TOKENS // 2)
    key, secret = await KeyAdmin(database).create(bounds, "tester")
    limits = httpx2.Limits(max_connections=2 * CALLS)
    try:
        async with httpx2.AsyncClient(timeout=60, limits=limits) as http:
            clients = Clients(secret, http, {})
            statuses = await asyncio.gather(
                *(clients.ask(webs[number % 2]) for number in range(CALLS))
            )
            assert statuses.count(200) == FITS
            assert statuses.count(429) == CALLS - FITS
            if first not in clients.open.values():  # chance gave all places to the other one
                first, second = second, first
            killed = list(clients.open.values()).count(first)
            first.kill()
            await asyncio.to_thread(first.start)  # as its supervisor does
            assert (
                await outcomes(database, key)
                == [("", 0)] * (FITS - killed) + [("lost", 0)] * killed
            )
            held = await the_key(database, key)
            assert (held.in_flight, held.spent_tokens) == (FITS - killed, 0)
            again = [await clients.ask(first) for _ in range(killed + 1)]
            assert again == [200] * killed + [429]
            await clients.leave()
            async with asyncio.timeout(20):
                while (await the_key(database, key)).in_flight:
                    await asyncio.sleep(0.05)
        ended = await outcomes(database, key)
        assert [outcome for outcome, _ in ended] == ["cancelled"] * FITS + ["lost"] * killed
        row = await the_key(database, key)
        assert (row.held_tokens, row.spent_tokens) == (0, sum(tokens for _, tokens in ended))
        assert 0 < row.spent_tokens < TOKENS
    finally:
        await database.close()
