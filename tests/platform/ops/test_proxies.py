"""Forwarding headers: believed of configured proxies alone, and only where they are addresses."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from roost_platform.errors import ConfigError
from roost_platform.settings.config import load_settings
from roost_platform.stack.local_ports import free_port
from roost_platform.web.proxies import HOPS_MAX, TrustedProxies

PROXY = "10.0.0.5"
TRUSTED = ("10.0.0.0/8", "127.0.0.1", "fd00::/8")


async def seen(
    headers: Sequence[tuple[str, str]], peer: str = PROXY, trusted: Sequence[str] = TRUSTED
) -> tuple[str, str]:
    """(client, scheme) as a handler sees them."""

    async def show(request: Request) -> JSONResponse:
        assert request.client is not None
        return JSONResponse([request.client.host, request.url.scheme])

    app = Starlette(
        routes=[Route("/", show)], middleware=[Middleware(TrustedProxies, trusted=trusted)]
    )
    transport = httpx2.ASGITransport(app=app, client=(peer, 4711))
    async with httpx2.AsyncClient(transport=transport, base_url="http://roost") as http:
        client, scheme = (await http.get("/", headers=list(headers))).json()
    return client, scheme


def forwarded(*values: str) -> list[tuple[str, str]]:
    return [("x-forwarded-for", value) for value in values]


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "192.0.2.1", "10.0.0.5"])
async def test_without_configured_proxies_nobody_is_believed(peer: str) -> None:
    headers = [*forwarded("198.51.100.7"), ("x-forwarded-proto", "https")]
    assert await seen(headers, peer, trusted=()) == (peer, "http")


async def test_s4_a_stranger_is_not_believed_where_proxies_are_configured() -> None:
    headers = [*forwarded("198.51.100.7"), ("x-forwarded-proto", "https")]
    assert await seen(headers, "192.0.2.1") == ("192.0.2.1", "http")


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        (["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
        (["1.1.1.1, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
        (["1.1.1.1, 198.51.100.7", "10.9.9.9,127.0.0.1"], "198.51.100.7"),
        (["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        (["198.51.100.7:5678"], "198.51.100.7"),
        (["[2001:db8::1]:5678"], "2001:db8::1"),
        (["2001:DB8:0::1"], "2001:db8::1"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["198.51.100.7, ::ffff:10.0.0.9"], "198.51.100.7"),
        (["198.51.100.7, fd00::1"], "198.51.100.7"),
        ([""], PROXY),
        ([" , ,"], PROXY),
        (["unknown"], PROXY),
        (["_hidden"], PROXY),
        (["<script>alert(1)</script>"], PROXY),
        (["1.1.1.1, 198.51.100.7'; DROP TABLE audit"], PROXY),
        (["fe80::1%<b>zone</b>"], PROXY),
        (["198.51.100.7:port"], PROXY),
        (["198.51.100.7:123456"], PROXY),
        (["[2001:db8::1"], "2001:db8::1"),
        (["010.0.0.1"], PROXY),
        (["999.1.1.1"], PROXY),
        (["1.1.1.1, nonsense, 10.2.2.2"], "10.2.2.2"),
        (["4294967295"], PROXY),
        ([", ".join(["198.51.100.7"] + ["10.2.2.2"] * HOPS_MAX)], "10.2.2.2"),
    ],
)
async def test_the_client_is_the_last_hop_that_is_no_proxy_of_ours(
    values: list[str], client: str
) -> None:
    assert (await seen(forwarded(*values)))[0] == client


@pytest.mark.parametrize(
    ("value", "scheme"),
    [("https", "https"), ("HTTPS", "https"), ("http, https", "https"), ("javascript", "http")],
)
async def test_the_scheme_is_the_one_our_proxy_saw(value: str, scheme: str) -> None:
    assert (await seen([("x-forwarded-proto", value)]))[1] == scheme


async def test_no_other_header_names_the_client() -> None:
    headers = [("forwarded", "for=1.1.1.1"), ("x-real-ip", "1.1.1.1")]
    assert (await seen(headers))[0] == PROXY


def test_proxies_are_addresses_or_networks_and_none_by_default() -> None:
    assert load_settings(environ={}).web.trusted_proxies == ()
    told = load_settings(environ={"ROOST_WEB__TRUSTED_PROXIES": "10.0.0.5, 172.16.0.0/12, ::1"})
    assert told.web.trusted_proxies == ("10.0.0.5", "172.16.0.0/12", "::1")
    for wrong in ("*", "proxy.example.org", "10.0.0.0/33"):
        with pytest.raises(ConfigError, match=r"trusted_proxies|TRUSTED_PROXIES"):
            load_settings(environ={"ROOST_WEB__TRUSTED_PROXIES": wrong})


def test_the_web_port_itself_believes_no_program_on_this_machine(
    sqlite_url: str, tmp_path: Path
) -> None:
    port = free_port()
    env = {"ROOST_DATA_DIR": str(tmp_path), "ROOST_WEB__PORT": str(port)}
    env["ROOST_TEMPORAL__ADDRESS"] = "127.0.0.1:1"
    web = subprocess.Popen(
        [sys.executable, "-m", "roost_platform", "serve", "web"],
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            until_served(http, web)
            codes = [
                http.post(
                    "/login",
                    data={"name": "Grace", "password": "a wrong guess"},
                    headers={"x-forwarded-for": f"198.51.100.{n}", "sec-fetch-site": "same-origin"},
                ).status_code
                for n in range(7)
            ]
    finally:
        web.terminate()
        assert web.wait(30) == 0
    assert codes == [401] * 5 + [429] * 2


def until_served(http: httpx2.Client, web: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while web.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx2.TransportError):
            http.get("/login")
            return
        time.sleep(0.05)
    raise TimeoutError("the web port was not served")
