"""What a hostile provider does becomes an error in the caller's dialect, and a row of usage."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.errors import ConfigError
from roost_platform.gateway.routing import router
from roost_platform.settings.config import load_settings
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server
from roost_platform.testing.providers.upstream import Act, Upstream, delta, refused, upstream

pytestmark = pytest.mark.usefixtures("sqlite_url")  # a migrated file is copied

KEY = "provider-secret-key-0123456789"
ADDRESS = "http://10.0.0.5:8000/internal"
SECRET_WORDS = f"upstream {ADDRESS} of org-123 refused the key {KEY}"
JSON = {"content-type": "application/json"}
HELLO = [{"role": "user", "content": "Hello"}]
BODIES: Mapping[str, Mapping[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/completions": {"prompt": "Hello"},
    "/v1/responses": {"input": "Hello"},
    "/v1/messages": {"messages": HELLO, "max_tokens": 9},
}


@pytest.fixture
async def provider() -> AsyncIterator[Upstream]:
    async with upstream() as serving:
        yield serving


@pytest.fixture
async def gateway(tmp_path: Path, provider: Upstream) -> AsyncIterator[GatewayServer]:
    overrides = {
        "providers": {
            "p": {"base_url": provider.base_url, "api_key": KEY},
            "far": {"base_url": "http://models.example.com/v1"},
            "quick": {"base_url": provider.base_url, "first_byte_timeout_s": 2.0},
        },
        "gateway": {"failures_before_cooldown": 10_000, "retries": 0},
    }
    async with gateway_server(tmp_path, overrides=overrides) as server:
        yield server


async def last_row(gateway: GatewayServer) -> models.GatewayCall:
    newest = select(models.GatewayCall).order_by(models.GatewayCall.started_at.desc()).limit(1)
    await gateway.until_idle()
    async with gateway.database.read() as session:
        row = await session.scalar(newest)
    assert row is not None
    return row


def error_of(path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The error, in the form of the API that was asked."""
    error: Mapping[str, Any] = body["error"]
    if path == "/v1/messages":
        assert body["type"] == "error" and set(error) == {"type", "message"}
    else:
        assert set(error) == {"message", "type", "param", "code"}
    return error


TROUBLES = {
    "500": (refused(500, SECRET_WORDS), 502, "provider_failed"),
    "html 500": (
        Act(500, {"content-type": "text/html"}, SECRET_WORDS.encode()),
        502,
        "provider_failed",
    ),
    "web page": (
        Act(headers={"content-type": "text/html"}, body=f"<title>{SECRET_WORDS}</title>".encode()),
        502,
        "provider_refused",
    ),
    "moved": (Act(302, {"location": f"{ADDRESS}?key={KEY}"}), 502, "provider_refused"),
    "its key": (refused(401, SECRET_WORDS, code="invalid_api_key"), 502, "provider_refused"),
    "busy": (refused(429, SECRET_WORDS, {"retry-after": "7"}), 429, "queue_full"),
    "starting": (refused(503, SECRET_WORDS), 503, "engine_unavailable"),
    "error with 200": (
        Act(headers=JSON, body=json.dumps({"error": {"message": SECRET_WORDS}}).encode()),
        502,
        "provider_failed",
    ),
    "error event": (Act(events=[{"error": {"message": SECRET_WORDS}}]), 502, "provider_failed"),
    "odd code": (
        refused(500, SECRET_WORDS, code="\0bad\ud800" + "c" * 5000),
        502,
        "provider_failed",
    ),
    "no content": (Act(status=204), 502, "provider_failed"),
    "bomb": (
        Act(headers={**JSON, "content-encoding": "gzip"}, body=gzip.compress(bytes(2**25))),
        502,
        "unreadable_answer",
    ),
    "refusing bomb": (
        Act(500, {**JSON, "content-encoding": "gzip"}, gzip.compress(bytes(2**25))),
        502,
        "provider_failed",
    ),
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("name", TROUBLES)
async def test_a_provider_s_trouble_is_told_without_its_words_in_every_family(
    gateway: GatewayServer, provider: Upstream, name: str, stream: bool
) -> None:
    act, status, code = TROUBLES[name]
    for number, (path, body) in enumerate(BODIES.items()):
        provider.acts = [act]
        sent = {"model": f"p/{number}", "stream": stream, **body}
        response = await gateway.post(path, sent)
        assert response.status_code == status, response.text
        assert error_of(path, response.json())
        for secret in (KEY, "10.0.0.5", "org-123"):
            assert secret not in response.text and secret not in str(response.headers)
        if status == 429:
            assert response.headers["retry-after"] == "7"
        row = await last_row(gateway)
        assert (row.outcome, row.status, row.error_code) == ("failed", status, code)
        assert (row.input_tokens, row.output_tokens) == (0, 0)


@pytest.mark.parametrize("path", BODIES)
async def test_an_error_in_the_middle_says_nothing_of_the_provider_either(
    gateway: GatewayServer, provider: Upstream, path: str
) -> None:
    provider.acts = [Act(events=[delta("word"), {"error": {"message": SECRET_WORDS}}])]
    for stream in (True, False):
        sent = {"model": "p/m", "stream": stream, **BODIES[path]}
        response = await gateway.post(path, sent)
        assert response.status_code == (200 if stream else 502)
        for secret in (KEY, "10.0.0.5", "org-123"):
            assert secret not in response.text
        assert "broke off" in response.text
        assert (await last_row(gateway)).error_code == "stream_broken"


async def test_what_a_provider_says_of_the_request_is_told_without_our_key(
    gateway: GatewayServer, provider: Upstream
) -> None:
    words = f"temperature is odd, said the holder of {KEY}"
    event = {"error": {"message": words, "type": "invalid_request_error", "code": 400}}
    provider.acts = [Act(events=[event])]
    response = await gateway.post(
        "/v1/chat/completions", {"model": "p/m", "messages": HELLO, "stream": True}
    )
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "temperature is odd, said the holder of [key]"


async def test_a_request_that_is_too_large_is_told_without_our_account(
    gateway: GatewayServer, provider: Upstream
) -> None:
    words = (
        "Request too large for gpt-5 in organization {} on tokens per min: Limit 9, Requested 99"
    )
    for account in ("`org_01hq4zxsw8fkv0r3c7f1abcdef`", "org-AbCdEfGhIjKlMnOpQrStUvWx"):
        provider.acts = [refused(413, words.format(account), code="rate_limit_exceeded")]
        response = await gateway.post("/v1/chat/completions", {"model": "p/m", "messages": HELLO})
        assert response.status_code == 400, response.text
        assert response.json()["error"]["message"] == words.format(
            account.replace(account.strip("`"), "[account]")
        )


async def test_a_cooling_target_is_told_without_the_words_of_its_last_error(
    gateway: GatewayServer, provider: Upstream
) -> None:
    provider.acts = [refused(401, SECRET_WORDS, code="invalid_api_key")]
    body = {"model": "p/m", "messages": HELLO}
    await gateway.post("/v1/chat/completions", body)
    response = await gateway.post("/v1/chat/completions", body)
    assert response.status_code == 503
    assert "invalid_api_key" in response.text and "org-123" not in response.text


async def test_pings_without_an_answer_end_within_a_bound(
    gateway: GatewayServer, provider: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "ALIVE_TIMES", 1)
    heartbeat = delta("")
    endless = Act(events=[delta("word")], then="hang", beats=json.dumps(heartbeat))
    for stream in (True, False):
        provider.acts = [endless]
        sent = {"model": "quick/m", "messages": HELLO, "stream": stream}
        response = await gateway.post("/v1/chat/completions", sent)
        assert "broke off" in response.text
        row = await last_row(gateway)
        assert (row.outcome, row.error_code) == ("failed", "stream_broken")
        assert row.output_tokens == 1  # what was produced
    async with asyncio.timeout(20):  # the provider sees the end of a connection a moment later
        while len(provider.left_at) < 2:
            await asyncio.sleep(0.005)


async def test_numbers_that_json_has_no_word_for_become_null(
    gateway: GatewayServer, provider: Upstream
) -> None:
    tops = [{"token": "a", "logprob": float("-inf"), "bytes": None}]
    entry = {"token": "a", "logprob": float("nan"), "bytes": None, "top_logprobs": tops}
    chunk = delta("a")
    chunk["choices"][0]["logprobs"] = {"content": [entry]}
    provider.acts = [Act(events=[chunk, "[DONE]"])]
    body = {"model": "p/m", "messages": HELLO, "logprobs": True, "top_logprobs": 1}
    response = await gateway.post("/v1/chat/completions", body)
    assert response.status_code == 200
    assert "NaN" not in response.text and "Infinity" not in response.text
    whole = json.loads(response.text)
    assert whole["choices"][0]["logprobs"]["content"][0]["logprob"] is None


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/chat/completions", "max_tokens"),
        ("/v1/completions", "max_tokens"),
        ("/v1/responses", "max_output_tokens"),
        ("/v1/messages", "max_tokens"),
    ],
)
async def test_a_bound_beyond_all_numbers_is_refused_by_name(
    gateway: GatewayServer, path: str, field: str
) -> None:
    _, secret = await gateway.new_key(path, budget_microusd=10**6)
    for value in (2**31, 10**18, 10**30):
        response = await gateway.post(path, {"model": "p/m", **BODIES[path], field: value}, secret)
        assert response.status_code == 400
        assert field in error_of(path, response.json())["message"]


async def test_a_proxy_that_can_t_be_used_is_an_error_that_says_so(
    gateway: GatewayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    body = {"model": "far/m", "messages": HELLO}
    response = await gateway.post("/v1/chat/completions", body)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_unavailable")
    (target,) = gateway.app.serving.router.catalogue.find("far/m").targets
    assert "proxy by socks5" in target.health.last_error


def test_a_provider_with_a_user_in_its_address_and_a_key_is_refused_by_the_settings() -> None:
    far = {"base_url": "https://ada:secret@api.example.com/v1"}
    load_settings({"providers": {"far": far}}, environ={})
    with pytest.raises(ConfigError, match="one of them"):
        load_settings({"providers": {"far": {**far, "api_key": KEY}}}, environ={})
