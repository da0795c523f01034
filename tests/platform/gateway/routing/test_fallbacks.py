"""What a client gets while providers fail: another target before the first byte, never after it."""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server
from roost_platform.testing.providers.upstream import (
    Act,
    Upstream,
    delta,
    refused,
    said,
    upstream,
)

pytestmark = pytest.mark.usefixtures("sqlite_url")  # a migrated file is copied

CHAT = "/v1/chat/completions"
TOO_LONG = {  # of one prompt, in the words of each engine
    "llama": refused(
        400,
        "request (9012 tokens) exceeds the available context size (8192 tokens)",
        code=400,
        type="exceed_context_size_error",
    ),
    "openai": refused(
        400,
        "This model's maximum context length is 4096 tokens.",
        code="context_length_exceeded",
    ),
    "vllm": Act(
        400,
        body=json.dumps(
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens. However, you "
                "requested 5000 tokens. Please reduce the length of the messages.",
                "type": "BadRequestError",
                "code": 400,
            }
        ).encode(),
    ),
    "anthropic": Act(
        400,
        body=json.dumps(
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "prompt is too long: 208310 tokens > 200000 maximum",
                },
            }
        ).encode(),
    ),
    "gemini": Act(
        400,
        body=json.dumps(
            [
                {
                    "error": {
                        "code": 400,
                        "message": "The input token count (1200000) exceeds the maximum number "
                        "of tokens allowed (1048576).",
                        "status": "INVALID_ARGUMENT",
                    }
                }
            ]
        ).encode(),
    ),
    "ollama": refused(400, "input length exceeds maximum context length"),
    "in the stream": Act(
        events=[
            {"error": {"message": "prompt is too long: 9 tokens > 8", "code": "input_too_long"}}
        ]
    ),
}


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    *providers: Upstream,
    model: Mapping[str, Any] | None = None,
    gateway: Mapping[str, Any] | None = None,
    **provider: Any,
) -> AsyncIterator[GatewayServer]:
    """A gateway whose model `fast` goes to these providers, in their order."""
    named = {f"p{number}": one for number, one in enumerate(providers)}
    targets = [{"provider": name, "model": "m", "order": order} for order, name in enumerate(named)]
    overrides = {
        "providers": {name: {"base_url": one.base_url, **provider} for name, one in named.items()},
        "models": {"fast": {"targets": targets, **(model or {})}},
        "gateway": {"retries": 0, **(gateway or {})},
    }
    async with gateway_server(folder, overrides=overrides) as server:
        yield server


def asking(**more: Any) -> dict[str, Any]:
    return {"model": "fast", "messages": [{"role": "user", "content": "Hello"}], **more}


async def rows(gateway: GatewayServer) -> list[models.GatewayCall]:
    await gateway.until_idle()
    async with gateway.database.read() as session:
        return list(await session.scalars(select(models.GatewayCall)))


@pytest.mark.parametrize(
    "act",
    [
        refused(429, "slow down"),
        refused(500, "broken"),
        Act(502, body=b"<html>Bad gateway</html>"),
        refused(401, "no such key", code="invalid_api_key"),
        refused(404, "model m does not exist", code="model_not_found"),
        Act(then="drop"),
        Act(then="drop", head=False),
        Act(body=b"<html>Sign in</html>", headers={"content-type": "text/html"}),
        Act(events=[{"id": "x", "model": "m", "choices": []}], then="drop"),
        Act(events=[{"error": {"message": "overloaded", "type": "overloaded_error"}}]),
    ],
)
async def test_what_fails_before_its_first_byte_is_answered_by_the_next(
    tmp_path: Path, act: Act
) -> None:
    async with upstream(act) as bad, upstream() as good, serving(tmp_path, bad, good) as gateway:
        response = await gateway.post(CHAT, asking())
        assert response.status_code == 200, response.text
        assert response.json()["choices"][0]["message"]["content"] == "Hello"
        assert (len(bad.requests), len(good.requests)) == (1, 1)
        (row,) = await rows(gateway)
        assert (row.outcome, row.target) == ("ok", "p1/m")
        ((target, code),) = json.loads(row.tries)
        assert target == "p0/m" and code


async def test_no_other_target_is_asked_after_the_first_byte(tmp_path: Path) -> None:
    broken = Act(events=[delta("Hel")], then="drop")
    async with (
        upstream(broken) as bad,
        upstream() as good,
        serving(tmp_path, bad, good, gateway={"retries": 3}) as gateway,
    ):
        whole = await gateway.post(CHAT, asking())
        assert (whole.status_code, whole.json()["error"]["code"]) == (502, "stream_broken")
        stream = await gateway.post(CHAT, asking(stream=True))
        lines = [line[6:] for line in stream.text.splitlines() if line.startswith("data: ")]
        assert json.loads(lines[0])["choices"][0]["delta"]["content"] == "Hel"
        assert json.loads(lines[1])["error"]["code"] == "stream_broken"
        assert good.requests == []
        for row in await rows(gateway):
            assert (row.outcome, row.status, row.output_tokens) == ("failed", 502, 1)


async def test_the_same_target_is_asked_again_before_its_first_byte(tmp_path: Path) -> None:
    acts = (refused(503, "starting"), refused(500, "broken"), Act(events=said("Hello")))
    async with (
        upstream(*acts) as provider,
        serving(tmp_path, provider, gateway={"retries": 2}) as gateway,
    ):
        assert (await gateway.post(CHAT, asking())).status_code == 200
        assert len(provider.requests) == 3


async def test_a_request_s_own_fault_is_told_at_once(tmp_path: Path) -> None:
    act = refused(400, "temperature has to be below 1", code="invalid_value", param="temperature")
    async with (
        upstream(act) as bad,
        upstream() as good,
        serving(tmp_path, bad, good, gateway={"retries": 2}) as gateway,
    ):
        response = await gateway.post(CHAT, asking(temperature=1.5))
        assert (response.status_code, len(bad.requests), good.requests) == (400, 1, [])
        assert "below 1" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("status", "headers", "least", "most"),
    [
        (429, {"retry-after": "90"}, 89, 90),
        (503, {"retry-after": "90"}, 89, 90),
        (429, {"retry-after-ms": "60000"}, 59, 60),
        (
            429,
            {"retry-after": format_datetime(datetime.now(UTC) + timedelta(days=9), usegmt=True)},
            299,
            300,
        ),
    ],
)
async def test_retry_after_is_obeyed_and_passed_on(
    tmp_path: Path, status: int, headers: Mapping[str, str], least: int, most: int
) -> None:
    async with (
        upstream(refused(status, "slow down", headers)) as provider,
        serving(tmp_path, provider, gateway={"retries": 2}) as gateway,
    ):
        for expected in (status, 503):  # the second one is not even sent
            response = await gateway.post(CHAT, asking())
            assert response.status_code == expected
            assert least <= int(response.headers["retry-after"]) <= most
        assert len(provider.requests) == 1


async def test_a_short_retry_after_is_waited_for(tmp_path: Path) -> None:
    acts = (refused(429, "slow down", {"retry-after-ms": "400"}), Act(events=said("Hello")))
    async with (
        upstream(*acts) as provider,
        serving(tmp_path, provider, gateway={"retries": 1}) as gateway,
    ):
        began = time.monotonic()
        assert (await gateway.post(CHAT, asking())).status_code == 200
        assert time.monotonic() - began >= 0.4


async def test_a_provider_that_sends_nothing_is_its_own_error(tmp_path: Path) -> None:
    async with (
        upstream(Act(then="hang")) as provider,
        serving(tmp_path, provider, gateway={"retries": 2}, first_byte_timeout_s=0.3) as gateway,
    ):
        response = await gateway.post(CHAT, asking())
        assert (response.status_code, response.json()["error"]["code"]) == (504, "provider_timeout")
        assert len(provider.requests) == 1  # it had all its time


async def test_a_silence_in_the_middle_breaks_the_answer(tmp_path: Path) -> None:
    async with (
        upstream(Act(events=[delta("Hel")], then="hang")) as provider,
        serving(tmp_path, provider, read_timeout_s=0.3) as gateway,
    ):
        response = await gateway.post(CHAT, asking())
        assert (response.status_code, response.json()["error"]["code"]) == (502, "stream_broken")


async def test_a_provider_s_refusal_of_our_key_is_not_the_client_s(tmp_path: Path) -> None:
    act = refused(401, "Incorrect API key provided", code="invalid_api_key")
    async with upstream(act) as provider, serving(tmp_path, provider) as gateway:
        response = await gateway.post(CHAT, asking())
        assert (response.status_code, response.json()["error"]["code"]) == (502, "provider_refused")


@pytest.mark.parametrize("dialect", TOO_LONG)
async def test_a_prompt_that_is_too_long_is_one_error_in_all_dialects(
    tmp_path: Path, dialect: str
) -> None:
    async with upstream(TOO_LONG[dialect]) as small, serving(tmp_path, small) as gateway:
        response = await gateway.post(CHAT, asking())
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_a_longer_model_takes_what_is_too_long_and_a_fallback_does_not(
    tmp_path: Path,
) -> None:
    async with upstream(TOO_LONG["vllm"]) as small, upstream() as other, upstream() as large:
        providers = {"small": small, "other": other, "large": large}
        overrides = {
            "providers": {name: {"base_url": one.base_url} for name, one in providers.items()},
            "models": {
                "fast": {"targets": ["small/m"], "fallbacks": ["other/m"], "longer": ["large/m"]}
            },
            "gateway": {"retries": 0},
        }
        async with gateway_server(tmp_path, overrides=overrides) as gateway:
            assert (await gateway.post(CHAT, asking())).status_code == 200
            assert (len(other.requests), len(large.requests)) == (0, 1)
            small.acts = [refused(500, "broken")]
            assert (await gateway.post(CHAT, asking())).status_code == 200
            assert (len(other.requests), len(large.requests)) == (1, 1)


async def test_hints_for_the_engine_in_use_go_to_nobody_else(tmp_path: Path) -> None:
    async with upstream() as provider, serving(tmp_path, provider) as gateway:
        await gateway.post(CHAT, asking(session_id="mine", cache_salt="forged"))
        (body,) = provider.requests
        assert not {"session_id", "cache_salt", "priority"} & set(body)
        assert "x-session-id" not in provider.headers[0]
        await gateway.post(CHAT, asking(model="roost", session_id="mine", cache_salt="forged"))
        (own,) = gateway.engine.requests
        assert own["cache_salt"] not in ("", "forged") and own["session_id"].startswith("gw-")
