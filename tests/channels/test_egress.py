"""Addresses that others name lead to public hosts only, and nobody there is told our secrets."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiohttp import web

from roost_channels.errors import DeliveryError, NotSent, Rejected
from roost_channels.http import egress
from roost_channels.http.bodies import ERROR_BYTES_MAX
from roost_channels.http.egress import Egress, reach
from roost_channels.message import Attachment
from roost_channels.telegram.bot_api import methods
from roost_channels.telegram.client import TelegramClient
from roost_channels.telegram.config import TelegramConfig
from roost_channels.whatsapp.client import TwilioClient
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp_cloud.channel import WhatsAppCloudChannel
from roost_channels.whatsapp_cloud.testing import settings

PUBLIC = "https://api.example"


class Server:
    """A server on loopback: what it was asked, and what it answers by path."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, Any] = {}
        self.port = 0
        self.bytes_sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path_qs, dict(request.headers)))
        answer = self.answers.get(request.path, b"file")
        if isinstance(answer, str):
            return web.Response(status=307, headers={"Location": answer})
        if isinstance(answer, dict):
            return web.json_response(answer)
        if isinstance(answer, bytes):
            return web.Response(body=answer)
        response = web.StreamResponse(status=answer)
        await response.prepare(request)
        try:
            while self.bytes_sent < 64 * 1024 * 1024:
                await response.write(b"x" * 65_536)
                self.bytes_sent += 65_536
        except ConnectionError:
            pass
        return response

    def secrets_seen(self) -> list[str]:
        return [headers["Authorization"] for _, headers in self.asked if "Authorization" in headers]


@pytest.fixture
async def servers() -> AsyncIterator[list[Server]]:
    runners, made = [], [Server(), Server()]
    for server in made:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", server.handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        await web.TCPSite(runner, "127.0.0.2", server.port).start()
        runners.append(runner)
    yield made
    for runner in runners:
        await runner.cleanup()


async def resolve(host: str, port: int) -> Sequence[str]:
    """Names of these tests; an address is resolved by the machine, as in production."""
    names = {"api.example": ["93.184.216.34"], "inside.example": ["93.184.216.34", "10.0.0.7"]}
    return names[host] if host in names else await egress._resolve(host, port)


@pytest.mark.parametrize(
    "template",
    [
        "http://127.0.0.1:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://0x7f.0.0.1:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://127.0.0.1.:{port}/",
        "http://127。0。0。1:{port}/",
        "http://localhost:{port}/",
        "http://LOCALHOST:{port}/",
        "http://0.0.0.0:{port}/",
        "http://0:{port}/",
        "http://[::1]:{port}/",
        "http://[::]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::ffff:7f00:1]:{port}/",
        "http://[fe80::1%25lo]:{port}/",
        "http://api.example@127.0.0.1:{port}/",
        "http://api.example\\@127.0.0.1:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "https://inside.example/",
        "http://8.8.8.8.8/",
        "http://999999/",
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "http:///nothing",
        "",
        "http://x" + "y" * 9000,
    ],
)
async def test_s9_no_disguise_of_an_inner_address_is_asked(
    servers: list[Server], template: str
) -> None:
    guarded = Egress(PUBLIC, resolve=resolve)
    with pytest.raises(Rejected):
        async with guarded.get(template.replace("{port}", str(servers[0].port))):
            pass
    assert servers[0].asked == []
    await guarded.close()


async def test_s9_a_name_that_resolves_differently_later_leads_nowhere(
    servers: list[Server],
) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    resolved = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        if host != "rebinding.example":
            return await egress._resolve(host, port)
        resolved.append(host)
        return next(answers)

    guarded = Egress(servers[0].url, resolve=rebinding)
    url = f"http://rebinding.example:{servers[0].port}/a?b=c"
    async with guarded.get(url) as response:
        assert await response.aread() == b"file"
    # Resolved once, and connected to what was checked, under the name that was asked for.
    assert resolved == ["rebinding.example"]
    assert servers[0].asked[0][0] == "/a?b=c"
    assert servers[0].asked[0][1]["Host"] == f"rebinding.example:{servers[0].port}"
    with pytest.raises(Rejected):
        async with guarded.get(url):
            pass
    assert len(servers[0].asked) == 1
    await guarded.close()


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/", "http://10.0.0.1/", "file:///etc/passwd", "http://["]
)
async def test_s9_each_redirect_is_checked(servers: list[Server], location: str) -> None:
    servers[0].answers["/start"] = location
    guarded = Egress(servers[0].url)
    with pytest.raises(Rejected):
        async with guarded.get(f"{servers[0].url}/start"):
            pass
    servers[0].answers["/round"] = "/round"
    with pytest.raises(Rejected, match="redirects"):
        async with guarded.get(f"{servers[0].url}/round"):
            pass
    await guarded.close()


@pytest.fixture
def public_cdn(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> str:
    """The second server under a name whose address is taken for a public one."""
    known = egress._resolve

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2"] if host == "cdn.example" else await known(host, port)

    monkeypatch.setattr(egress, "_resolve", resolve)
    monkeypatch.setattr(egress, "reach", lambda a: "public" if a == "127.0.0.2" else reach(a))
    return f"http://cdn.example:{servers[1].port}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.3"])
async def test_s9_an_api_on_loopback_opens_no_other_port_of_it(
    servers: list[Server], host: str
) -> None:
    first, second = servers
    guarded = Egress(first.url)
    urls = [f"http://{host}:{second.port}/", f"https://{host}:{first.port}/"]
    first.answers.update({f"/{number}": url for number, url in enumerate(urls)})
    for asked in (*urls, f"{first.url}/0", f"{first.url}/1", "http://10.0.0.1/"):
        with pytest.raises(Rejected):
            async with guarded.get(asked):
                pass
    assert second.asked == []
    first.answers["/own"] = f"http://localhost:{first.port}/file"
    async with guarded.get(f"{first.url}/own") as response:
        assert await response.aread() == b"file"
    await guarded.close()


async def test_s9_an_api_on_loopback_opens_no_other_address_of_it(servers: list[Server]) -> None:
    async def several(host: str, port: int) -> Sequence[str]:
        names = {"api.example": ["127.0.0.1"], "both.example": ["127.0.0.5", "127.0.0.1"]}
        return names.get(host, ["127.0.0.5"])

    guarded = Egress(f"http://api.example:{servers[0].port}", resolve=several)
    async with guarded.get(f"http://both.example:{servers[0].port}/") as response:
        assert response.request.url.host == "127.0.0.1"
    with pytest.raises(Rejected):
        async with guarded.get(f"http://other.example:{servers[0].port}/"):
            pass
    await guarded.close()


async def test_s9_a_redirect_gets_no_credentials(servers: list[Server], public_cdn: str) -> None:
    first, second = servers
    first.answers["/start"] = f"{public_cdn}/cdn"
    guarded = Egress(first.url)
    token = {"Authorization": "Bearer canary"}
    async with guarded.get(f"{first.url}/start", credentials=token) as response:
        assert await response.aread() == b"file"
    assert first.secrets_seen() == ["Bearer canary"] and second.secrets_seen() == []
    await guarded.close()


async def test_s9_a_file_that_never_ends_is_given_up(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "FETCH_TIMEOUT_S", 0.2)
    servers[0].answers["/endless"] = 200
    guarded = Egress(servers[0].url)
    with pytest.raises(TimeoutError):
        async with guarded.get(f"{servers[0].url}/endless") as response:
            async for _ in response.aiter_bytes():
                servers[0].bytes_sent = 0
    await guarded.close()


async def test_the_next_address_of_a_name_is_tried_where_one_does_not_answer(
    servers: list[Server],
) -> None:
    async def two(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    guarded = Egress(servers[0].url, resolve=two)
    async with guarded.get(f"http://files.example:{servers[0].port}/") as response:
        assert await response.aread() == b"file"
    await guarded.close()


async def test_a_name_without_an_address_may_be_asked_again() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("Name or service not known")

    guarded = Egress(PUBLIC, resolve=unknown)
    with pytest.raises(NotSent):
        async with guarded.get("https://gone.example/"):
            pass


def twilio(server: Server) -> TwilioClient:
    known = {"account_sid": "AC1", "auth_token": "canary", "from": "whatsapp:+15550001000"}
    return TwilioClient(TwilioConfig.model_validate({**known, "api_base": server.url}))


async def test_s9_twilios_files_are_followed_without_the_token_and_not_inward(
    servers: list[Server], public_cdn: str
) -> None:
    first, second = servers
    client = twilio(first)
    first.answers["/media"] = f"{public_cdn}/cdn"
    assert await client.fetch_media("https://evil.example/media", 100) == b"file"
    assert len(first.secrets_seen()) == 1 and second.secrets_seen() == []
    for inner in ("http://169.254.169.254/latest", f"{second.url}/inner"):
        first.answers["/media"] = inner
        with pytest.raises(Rejected):
            await client.fetch_media("https://evil.example/media", 100)
    # What is no file is no detour either.
    first.answers["/2010-04-01/Accounts/AC1/Messages/SM1.json"] = f"{second.url}/stolen"
    with pytest.raises(DeliveryError):
        await client.fetch_message("SM1")
    assert [path for path, _ in second.asked] == ["/cdn"]
    await client.close()


async def test_s9_metas_link_gets_the_token_only_where_meta_keeps_files(
    servers: list[Server], public_cdn: str
) -> None:
    first, second = servers
    channel = WhatsAppCloudChannel(settings(api_base=first.url))
    attachment = Attachment("photo", "42")

    def link(url: str) -> None:
        first.answers["/v25.0/42"] = {"url": url, "file_size": 4}

    link(f"http://localhost:{first.port}/file")
    assert await channel.download(attachment, 100) == b"file"
    for url in (
        f"{second.url}/steal",
        "http://169.254.169.254/",
        "https://lookaside.fbsbx.com.evil.example/",
        f"http://u@127.0.0.1:{first.port}/file",
    ):
        link(url)
        with pytest.raises(Rejected):
            await channel.download(attachment, 100)
    link(f"{first.url}/moved")
    first.answers["/moved"] = f"{public_cdn}/cdn"
    assert await channel.download(attachment, 100) == b"file"
    assert second.secrets_seen() == [] and [path for path, _ in second.asked] == ["/cdn"]
    await channel.close()


async def test_a_refusal_without_end_is_read_only_so_far(servers: list[Server]) -> None:
    server = servers[0]
    base = f"/v25.0/{settings().phone_number_id}"
    server.answers = {
        "/2010-04-01/Accounts/AC1/Messages/SM1.json": 500,
        base: 500,
        "/bot1:secret/getMe": 500,
    }
    sms, bot = twilio(server), TelegramClient(telegram(server))
    cloud = WhatsAppCloudChannel(settings(api_base=server.url))
    for call in (
        sms.fetch_message("SM1"),
        cloud._client.number(),
        bot.call(methods.GetMe(), repeatable=True),
    ):
        server.bytes_sent = 0
        with pytest.raises(DeliveryError):
            await call
        assert server.bytes_sent < 200 * ERROR_BYTES_MAX
    await sms.close()
    await cloud.close()
    await bot.close()


def telegram(server: Server) -> TelegramConfig:
    return TelegramConfig.model_validate({"token": "1:secret", "api_base": server.url})


@pytest.mark.parametrize(
    "path",
    [
        "../../bot1:secret/deleteWebhook",
        "photos/../../x",
        "/etc/passwd",
        "//evil.example/x",
        "a//b",
        "photos/./x",
        "..",
        "a\\..\\b",
        "",
        5,
    ],
)
async def test_s9_a_telegram_path_that_leads_elsewhere_is_not_asked(
    servers: list[Server], path: Any
) -> None:
    server = servers[0]
    server.answers["/bot1:secret/getFile"] = {
        "ok": True,
        "result": {"file_id": "f", "file_unique_id": "u", "file_path": path},
    }
    client = TelegramClient(telegram(server))
    with pytest.raises(Rejected):
        await client.download("f", 100)
    assert len(server.asked) == 1
    await client.close()


async def test_a_telegram_path_is_escaped_and_its_redirect_not_followed(
    servers: list[Server],
) -> None:
    first, second = servers
    found = {"file_id": "f", "file_unique_id": "u", "file_path": "photos/a b?c#d%2e.jpg"}
    first.answers["/bot1:secret/getFile"] = {"ok": True, "result": found}
    client = TelegramClient(telegram(first))
    assert await client.download("f", 100) == b"file"
    assert first.asked[-1][0] == "/file/bot1:secret/photos/a%20b%3Fc%23d%252e.jpg"
    first.answers["/file/bot1:secret/photos/a b?c#d%2e.jpg"] = f"{second.url}/steal"
    with pytest.raises(DeliveryError):
        await client.download("f", 100)
    assert second.asked == []
    await client.close()
