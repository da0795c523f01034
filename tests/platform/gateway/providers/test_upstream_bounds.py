"""What a provider may send: bounded errors and heads, no redirects, and nothing without end."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from roost_inference.testing.raw_server import raw_server
from roost_platform.gateway.providers import connection
from roost_platform.testing.providers.gateway import gateway_server

CHAT = "/v1/chat/completions"
HELLO = {"model": "other", "messages": [{"role": "user", "content": "say Hello there"}]}
SECRET = "the-secret-of-the-provider"
ENDLESS = 100 * 2**20


@pytest.fixture(params=["plain", "aiohttp"], autouse=True)
def which_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each claim holds for both clients; these providers would get the one for plain HTTP."""
    if request.param == "aiohttp":
        monkeypatch.setattr(connection, "is_plain", lambda config: False)


class Upstream:
    """A provider that writes what a test says. sent: bytes that it got rid of; paths: asked."""

    def __init__(self, head: bytes, body: bytes = b"", times: int = 1, pause_s: float = 0) -> None:
        self.head, self.body, self.times, self.pause_s = head, body, times, pause_s
        self.sent = 0
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        writer.write(self.head)
        for _ in range(self.times):
            writer.write(self.body)
            await writer.drain()
            self.sent += len(self.body)
            await asyncio.sleep(self.pause_s)


async def answer_of(upstream: Upstream, folder: Path) -> httpx2.Response:
    """What a client is told when its provider answers like this."""
    async with raw_server(upstream.serve) as url:
        overrides = {
            "gateway": {"retries": 0},
            "providers": {"other": {"base_url": f"{url}/v1", "api_key": SECRET}},
            "models": {"other": {"targets": ["other/model"]}},
        }
        async with gateway_server(folder, overrides=overrides) as gateway:
            return await gateway.post(CHAT, HELLO)


async def test_an_error_without_end_is_read_to_its_bound(tmp_path: Path) -> None:
    upstream = Upstream(
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/html\r\n\r\n",
        b"<p>no</p>" * 10_000,
        times=ENDLESS // 90_000,
    )
    response = await answer_of(upstream, tmp_path)
    assert response.status_code == 400
    assert len(response.content) < 4096
    # Sockets hold some megabytes.
    assert upstream.sent < ENDLESS // 4


async def test_an_error_that_comes_drop_by_drop_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ERROR_S", 0.2)
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 100000\r\n\r\n"
    upstream = Upstream(head, b"x", times=100_000, pause_s=0.05)
    response = await answer_of(upstream, tmp_path)
    assert response.status_code == 400
    assert upstream.sent < 1000


async def test_a_redirect_is_refused_and_not_followed(tmp_path: Path) -> None:
    second = Upstream(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"{}")
    async with raw_server(second.serve) as url:
        head = f"HTTP/1.1 307 Moved\r\nlocation: {url}/v1\r\ncontent-length: 0\r\n\r\n"
        response = await answer_of(Upstream(head.encode()), tmp_path)
    assert response.status_code >= 400
    assert second.asked == 0


async def test_heads_without_end_are_an_error(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\n"
    line = b"x-filler: " + b"y" * 1000 + b"\r\n"
    upstream = Upstream(head, line * 100, times=ENDLESS // 100_000)
    response = await answer_of(upstream, tmp_path)
    assert response.status_code in (502, 503)
    assert upstream.sent < ENDLESS // 4


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\ndata: {",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nnot packed",
        b"",
    ],
    ids=["no head", "no chunk", "cut off", "not packed", "nothing"],
)
async def test_what_is_no_http_is_an_error_that_tells_neither_key_nor_address(
    tmp_path: Path, head: bytes
) -> None:
    response = await answer_of(Upstream(head), tmp_path)
    assert response.status_code in (502, 503)
    assert SECRET not in response.text and "127.0.0.1" not in response.text
