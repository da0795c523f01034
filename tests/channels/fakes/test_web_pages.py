"""Other sites' pages in the operator's browser cannot use or read the sandbox."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from roost_channels.testing import FakeTelegram, FakeTwilio
from roost_channels.testing.cloud import FakeCloud
from roost_channels.testing.fake import Fake

EVIL = "https://evil.example"
SAYS = {
    FakeTelegram: "/sim/chats/7/messages",
    FakeTwilio: "/sim/users/whatsapp:+15550002000/messages",
    FakeCloud: "/sim/users/whatsapp:+15550002000/messages",
}


@pytest.fixture(params=[FakeTelegram, FakeTwilio, FakeCloud])
async def fake(request: pytest.FixtureRequest) -> AsyncIterator[Fake]:
    async with request.param() as opened:
        yield opened


@pytest.fixture
async def http(fake: Fake) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=fake.base_url, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL, "content-type": "text/plain"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8420"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "rebound.example"},
        {"host": "rebound.example:80", "origin": "http://rebound.example:80"},
        {"host": "10.0.0.7"},
        {"host": ""},
        {"host": "evil@localhost"},
        {"host": "localhost/x"},
        {"host": "localhost:80:80"},
    ],
)
async def test_a_page_s_request_does_nothing(
    fake: Fake, http: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    for path in (SAYS[type(fake)], "/sim/reset", "/bot42:TEST-TOKEN/getMe"):
        reply = await http.post(path, content='{"text": "hi"}', headers=headers)
        assert reply.status_code in (400, 403), path
    assert not fake.calls


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_page_of_another_site_reads_nothing(http: httpx2.AsyncClient, site: str) -> None:
    for path in ("/sim/calls", "/bot42:TEST-TOKEN/getMe"):
        assert (await http.get(path, headers={"sec-fetch-site": site})).status_code == 403


async def test_a_rebound_name_reads_nothing(http: httpx2.AsyncClient) -> None:
    for path in ("/sim/calls", "/sim/chats/7", "/sim/users/whatsapp:+15550002000"):
        reply = await http.get(path, headers={"host": "rebound.example"})
        assert reply.status_code == 403


async def test_programs_are_served_by_every_loopback_name(http: httpx2.AsyncClient) -> None:
    for host in ("127.0.0.1", "localhost:80", "[::1]"):
        assert (await http.get("/sim/calls", headers={"host": host})).status_code == 200
    own = f"http://127.0.0.1:{http.base_url.port}"
    reply = await http.post("/sim/reset", headers={"origin": own, "sec-fetch-site": "same-origin"})
    assert reply.status_code == 200
