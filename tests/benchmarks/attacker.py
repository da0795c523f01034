"""One attacker from one address, in a process of its own: ATTACK WEB ENGINE KEY COOKIE PAGE.

It does as much as one client can without a machine larger than the victim's: what costs the other
side nothing is done at full speed elsewhere, here at a rate, because both share the processors.
A real attacker has a machine of its own. So this process has a lower priority than the victim and
whoever measures it: the processor time that the attacker itself takes stays out of the figures.
"""

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import httpx2

from roost_platform.testing.phones import NUMBER_ID

NICENESS = 10
HELD = 300  # more connections than one address may have
HALF = 60
PROMPT_BYTES = 8_000_000  # nearly as large as the engine's bodies may be
PROMPTS_PER_S = 3
WEBHOOKS_PER_S = 50
LARGE_WEBHOOKS_PER_S = 10
LARGE_FORMS_PER_S = 5
LOGINS_PER_S = 10
PAGES_PER_S = 5


async def opened(url: str, first: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which these bytes were sent, and no more."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(first)
    return reader, writer


async def hold(url: str, first: bytes, count: int) -> None:
    """Keep so many connections open, and open new ones for those that are closed."""

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await opened(url, first)
                await reader.read()
                writer.close()
            await asyncio.sleep(0.5)

    await asyncio.gather(*(one() for _ in range(count)))


async def at_rate(per_s: float, act: Callable[[], Awaitable[object]]) -> None:
    """Act so many times a second, with at most 20 under way."""
    slots = asyncio.Semaphore(20)

    async def once() -> None:
        async with slots:
            with contextlib.suppress(httpx2.HTTPError, OSError):
                await act()

    tasks: set[asyncio.Task[None]] = set()
    while True:
        task = asyncio.create_task(once())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(1 / per_s)


async def attack(name: str, web: str, engine: str, key: str, cookie: str, page: str) -> None:
    """Attack until somebody ends this process."""
    headers = {"sec-fetch-site": "same-origin", "accept": "text/html"}
    host = urlsplit(web).netloc
    async with httpx2.AsyncClient(timeout=60, headers=headers) as http:
        match name:
            case "connections":
                await hold(web, b"", HELD)
            case "half bodies":
                head = f"POST /login HTTP/1.1\r\nhost: {host}\r\ncontent-length: 99999\r\n\r\nname="
                await hold(web, head.encode(), HALF)
            case "webhooks":
                url, body = f"{web}/hooks/twilio/inbound", b"Body=" + b"%C3%A9" * 10_000
                form = {
                    "content-type": "application/x-www-form-urlencoded",
                    "x-twilio-signature": "d3Jvbmc=",
                }
                await at_rate(WEBHOOKS_PER_S, lambda: http.post(url, content=body, headers=form))
            case "large webhooks":
                url, body = f"{web}/hooks/whatsapp-cloud/{NUMBER_ID}", b"[" * 3_000_000
                signed = {"x-hub-signature-256": f"sha256={'0' * 64}"}
                await at_rate(
                    LARGE_WEBHOOKS_PER_S, lambda: http.post(url, content=body, headers=signed)
                )
            case "large forms":
                url, body = f"{web}/login", b"&" * 4_000_000
                form = {"content-type": "application/x-www-form-urlencoded"}
                await at_rate(LARGE_FORMS_PER_S, lambda: http.post(url, content=body, headers=form))
            case "wrong logins":
                names = itertools.count()

                def given() -> dict[str, str]:
                    return {"name": f"nobody {next(names)}", "password": "wrong guess"}

                await at_rate(LOGINS_PER_S, lambda: http.post(f"{web}/login", data=given()))
            case "wide pages":
                seen = {"cookie": cookie}
                await at_rate(PAGES_PER_S, lambda: http.get(f"{web}{page}", headers=seen))
            case "large prompts":
                text = "word " * (PROMPT_BYTES // 5)
                asked = {"messages": [{"role": "user", "content": text}], "max_tokens": 1}
                bearer, url = {"authorization": f"Bearer {key}"}, f"{engine}/v1/chat/completions"
                await at_rate(PROMPTS_PER_S, lambda: http.post(url, json=asked, headers=bearer))


if __name__ == "__main__":
    os.nice(NICENESS)
    asyncio.run(attack(*sys.argv[1:7]))
