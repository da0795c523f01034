"""Whatever is refused to a known key leaves a row, in a bounded number of them, on any database."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.db.gateway.key_admin import KeyAdmin
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server
from roost_platform.testing.providers.upstream import refused, upstream

HELLO = [{"role": "user", "content": "Hello"}]
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"
ODD = "\0"  # PostgreSQL takes none in a text


@pytest.fixture
async def gateway(tmp_path: Path, database_url: str) -> AsyncIterator[GatewayServer]:
    trouble = refused(400, "odd", code=f"bad{ODD}\ud800")
    async with upstream(trouble) as provider:
        overrides = {
            "providers": {"p": {"base_url": provider.base_url}},
            "gateway": {"max_body_bytes": 10_000, "retries": 0},
        }
        async with gateway_server(
            tmp_path, database_url=database_url, overrides=overrides
        ) as server:
            yield server


async def rows_of(gateway: GatewayServer, key: str) -> list[tuple[str, str, str, int, str]]:
    call = models.GatewayCall
    await gateway.until_idle()
    async with gateway.database.read() as session:
        found = await session.scalars(select(call).where(call.key_id == key).order_by(call.id))
        return [(row.family, row.model, row.outcome, row.status, row.error_code) for row in found]


@pytest.mark.parametrize(
    ("path", "body", "row"),
    [
        (
            CHAT,
            {"model": "nobody", "messages": HELLO},
            ("chat", "nobody", "refused", 404, "model_not_found"),
        ),
        (
            CHAT,
            {"model": "fast", "messages": 5},
            ("chat", "fast", "refused", 400, "invalid_request"),
        ),
        (
            "/v1/completions",
            {"model": "fast", "prompt": []},
            ("completions", "fast", "refused", 400, "invalid_request"),
        ),
        (
            MESSAGES,
            {"model": "fast", "messages": HELLO},
            ("messages", "fast", "refused", 400, "invalid_request"),
        ),
        (
            RESPONSES,
            {"model": "fast", "input": "Hello", "conversation": "c"},
            ("responses", "fast", "refused", 400, "invalid_request"),
        ),
        (
            RESPONSES,
            {"model": "nobody", "input": "Hello", "background": True},
            ("responses", "nobody", "refused", 404, "model_not_found"),
        ),
        (
            "/v1/embeddings",
            {"model": "fast", "input": {}},
            ("embeddings", "fast", "refused", 400, "invalid_request"),
        ),
        (
            CHAT,
            {"model": "fast", "messages": [{"role": "user", "content": "x" * 20_000}]},
            ("chat", "", "refused", 413, "body_too_large"),
        ),
    ],
)
async def test_a_refusal_has_a_row_and_its_like_share_the_next(
    gateway: GatewayServer, path: str, body: dict[str, Any], row: tuple[str, str, str, int, str]
) -> None:
    key, secret = await gateway.new_key("k")
    for _ in range(5):
        response = await gateway.post(path, body, secret)
        assert response.status_code == row[3], response.text
    assert await rows_of(gateway, key) == [row]


async def test_a_refused_call_of_the_background_is_counted_once(gateway: GatewayServer) -> None:
    body = {"model": "fast", "input": "Hello", "background": True}
    key, secret = await gateway.new_key("poor", budget_tokens=1)
    assert (await gateway.post(RESPONSES, body, secret)).status_code == 429
    assert await rows_of(gateway, key) == [
        ("responses", "fast", "refused", 429, "budget_exhausted")
    ]


async def test_a_revoked_and_an_expired_key_have_rows_and_a_stranger_has_none(
    gateway: GatewayServer,
) -> None:
    admin = KeyAdmin(gateway.database)
    revoked, secret = await gateway.new_key("revoked")
    await admin.revoke(revoked, "tester")
    expired, late = await gateway.new_key("expired", expires_at=time.time() + 0.05)
    body = {"model": "fast", "messages": HELLO}
    while (await gateway.post(CHAT, body, late)).status_code != 401:
        pass
    assert (await gateway.post(CHAT, body, secret)).status_code == 401
    assert (await gateway.post(CHAT, body, "sk-roost-nobody")).status_code == 401
    assert await rows_of(gateway, revoked) == [("chat", "", "refused", 401, "key_revoked")]
    assert (await rows_of(gateway, expired))[-1][2:] == ("refused", 401, "key_expired")
    assert await rows_of(gateway, "") == []


async def test_counting_tokens_leaves_no_row(gateway: GatewayServer) -> None:
    key, secret = await gateway.new_key("k")
    for body in ({"model": "nobody", "messages": HELLO}, {"model": "fast", "messages": 5}):
        assert (await gateway.post(COUNT, body, secret)).status_code in (400, 404)
    assert await rows_of(gateway, key) == []


async def test_texts_that_no_database_takes_still_leave_their_row(gateway: GatewayServer) -> None:
    key, secret = await gateway.new_key("k")
    body = {"model": f"p/m{ODD}", "messages": HELLO, "max_tokens": 9, "metadata": {"user_id": ODD}}
    assert (await gateway.post(MESSAGES, body, secret)).status_code == 400
    [row] = await rows_of(gateway, key)
    assert row[0] == "messages" and row[1].startswith("p/m") and row[2] == "failed"
    stored = {"model": "fast", "input": f"say Hello{ODD}", "metadata": {f"a{ODD}": ODD}}
    response = await gateway.post(RESPONSES, stored, secret)
    assert response.status_code == 200, response.text
    more = {"model": "fast", "input": "say Hi", "previous_response_id": response.json()["id"]}
    assert (await gateway.post(RESPONSES, more, secret)).status_code == 200
    unknown = {**more, "previous_response_id": f"resp_{ODD}"}
    assert (await gateway.post(RESPONSES, unknown, secret)).status_code in (400, 404)
    for id in (f"resp_{'0' * 32}", f"resp_%00{'0' * 31}", "%00", "%ff"):
        headers = {"authorization": f"Bearer {secret}"}
        got = await gateway.client.get(f"{gateway.url}{RESPONSES}/{id}", headers=headers)
        assert got.status_code == 404
    async with gateway.database.read() as session:
        held = await session.get_one(models.GatewayKeyRow, key)
    assert (held.in_flight, held.held_tokens) == (0, 0)
