"""Which way a provider is asked: directly, by the environment's proxy, or with a login."""

import base64
import contextlib
import subprocess
import sys

import pytest
from tests.platform.gateway.providers.provider import Provider, body_of

from roost_platform.gateway.config import ProviderConfig
from roost_platform.gateway.providers.connection import Connection

NOWHERE = "http://127.0.0.1:9"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def asked(base_url: str) -> bytes:
    connection = Connection(ProviderConfig(base_url=base_url), base_url, {})
    try:
        return await body_of(await connection.ask("GET", "/models"))
    finally:
        await connection.close()


async def test_an_engine_on_this_machine_is_asked_without_a_proxy(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", NOWHERE)
    assert await asked(f"{provider.url}/v1") == b"hello"
    assert provider.requests[0].startswith(b"GET /v1/models HTTP/1.1\r\n")


async def test_the_proxy_of_the_environment_is_asked_for_other_hosts(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", provider.url)
    assert await asked("http://models.example.com/v1") == b"hello"
    assert provider.requests[0].startswith(b"GET http://models.example.com/v1/models HTTP/1.1\r\n")


async def test_a_login_in_the_address_goes_out_as_one(provider: Provider) -> None:
    address = provider.url.replace("http://", "http://ada:a%20word@")
    assert await asked(address) == b"hello"
    proof = base64.b64encode(b"ada:a word")
    assert b"authorization: basic " + proof.lower() in provider.requests[0].lower()


async def test_a_closed_connection_opens_again(provider: Provider) -> None:
    connection = Connection(ProviderConfig(base_url=provider.url), provider.url, {})
    for _ in range(2):
        response = await connection.ask("GET", "/models")
        with contextlib.closing(response):
            assert response.status == 200
        await connection.close()
        await connection.close()


def test_who_asks_plain_engines_alone_does_not_load_aiohttp() -> None:
    text = """
import sys
from roost_platform.gateway.config import ProviderConfig
from roost_platform.gateway.providers.connection import load_client
load_client(ProviderConfig(base_url="http://127.0.0.1:1/v1"))
assert "aiohttp" not in sys.modules
load_client(ProviderConfig(base_url="https://models.example.com/v1"))
assert "aiohttp" in sys.modules
"""
    subprocess.run([sys.executable, "-c", text], check=True)
