"""Each call leaves a row without content: served, cancelled, broken and refused ones."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from roost_inference.testing.scripts import Drop, Hang, Say
from roost_platform.db import models
from roost_platform.db.gateway.refusals import KINDS_MAX, Refusals
from roost_platform.gateway.errors import BudgetExhausted, RateLimited
from roost_platform.gateway.keys.ports import Reservation, Spent
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

CHAT = "/v1/chat/completions"
WORD = "unmistakable"
PRICE = {"input": 1000, "output": 2000}  # a token of the prompt is a thousandth of a dollar


def hello(**more: Any) -> Mapping[str, Any]:
    return {"model": "fast", "messages": [{"role": "user", "content": f"say {WORD}"}], **more}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    target = {"provider": "roost", "model": "scripted", "price": PRICE}
    given = {"models": {"fast": {"targets": [target], "max_output_tokens": 50}}}
    async with gateway_server(tmp_path, overrides=given) as server:
        server.engine.when(WORD, Say("Hello to you"))
        yield server


async def rows(gateway: GatewayServer) -> list[models.GatewayCall]:
    call = models.GatewayCall
    await gateway.until_idle()
    async with gateway.database.read() as session:
        return list(await session.scalars(select(call).order_by(call.started_at, call.id)))


async def settled(gateway: GatewayServer, count: int) -> list[models.GatewayCall]:
    """The rows once so many have ended."""
    for _ in range(400):
        found = await rows(gateway)
        if len(found) >= count and all(row.outcome for row in found):
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("the calls have not ended")


async def key_row(gateway: GatewayServer, id: str) -> models.GatewayKeyRow:
    await gateway.until_idle()
    async with gateway.database.read() as session:
        row: models.GatewayKeyRow = await session.get_one(models.GatewayKeyRow, id)
        return row


async def test_a_served_call_is_billed_what_it_used(gateway: GatewayServer) -> None:
    id, secret = await gateway.new_key("paid", budget_microusd=10**9)
    answer = await gateway.post(CHAT, hello(user="ada", session_id="s1"), secret)
    usage = answer.json()["usage"]
    (row,) = await rows(gateway)
    expected = 1000 * usage["prompt_tokens"] + 2000 * usage["completion_tokens"]
    assert row.cost_microusd == expected > 0
    assert (row.key_id, row.person, row.session, row.calls) == (id, "ada", "s1", 1)
    key = await key_row(gateway, id)
    assert key.spent_microusd == expected
    assert key.spent_tokens == usage["total_tokens"]
    assert (key.held_microusd, key.held_tokens, key.in_flight) == (0, 0, 0)
    assert WORD not in str({one.name: getattr(row, one.name) for one in row.__table__.columns})


async def test_five_equal_calls_fit_into_a_budget_for_five_and_no_sixth(
    gateway: GatewayServer,
) -> None:
    body = hello(max_tokens=3)
    first = (await gateway.post(CHAT, body)).json()["usage"]
    assert first["completion_tokens"] == 3  # all of its bound, so a call costs what it holds
    for_five = 5 * (1000 * first["prompt_tokens"] + 2000 * 3)
    _, secret = await gateway.new_key("five", budget_microusd=for_five)
    statuses = [(await gateway.post(CHAT, body, secret)).status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    _, at_once = await gateway.new_key("at once", budget_microusd=for_five)
    answers = await asyncio.gather(*(gateway.post(CHAT, body, at_once) for _ in range(50)))
    assert sorted(one.status_code for one in answers) == [200] * 5 + [429] * 45


async def test_one_at_a_time_a_budget_is_passed_by_the_error_of_one_call_at_most(
    gateway: GatewayServer,
) -> None:
    """Nothing of the target is known: its prompts count more than a quarter of their bytes."""
    id, secret = await gateway.new_key("small", budget_tokens=60)
    errors: list[int] = []
    for number in range(12):
        text = {"role": "user", "content": f"{WORD} " + "? " * 4 * number}
        answer = await gateway.post(CHAT, hello(messages=[text], max_tokens=2), secret)
        if answer.status_code == 200:
            call = (await rows(gateway))[-1]
            errors.append(call.input_tokens + call.output_tokens - call.held_tokens)
    key = await key_row(gateway, id)
    assert key.spent_tokens - 60 <= max(0, *errors)


async def test_a_client_that_leaves_pays_for_what_was_produced(gateway: GatewayServer) -> None:
    id, secret = await gateway.new_key("leaves", budget_microusd=10**9)
    gateway.engine.when("before", Hang())
    gateway.engine.when("within", Say("One two three"), Hang())
    headers = {"authorization": f"Bearer {secret}"}
    for text, stream in (("before", False), ("before", True), ("within", True)):
        body = hello(messages=[{"role": "user", "content": text}], stream=stream)
        async with httpx2.AsyncClient(timeout=0.7 if text == "before" else 30) as client:
            try:
                async with client.stream(
                    "POST", gateway.url + CHAT, json=body, headers=headers
                ) as r:
                    async for line in r.aiter_lines():
                        if "three" in line:
                            break
            except httpx2.TimeoutException:
                pass
    one, two, three = await settled(gateway, 3)
    assert [row.outcome for row in (one, two, three)] == ["cancelled"] * 3
    assert [row.cost_microusd for row in (one, two)] == [0, 0]
    assert three.input_tokens > 0 and three.output_tokens >= 3 and three.cost_microusd > 0
    key = await key_row(gateway, id)
    assert (key.spent_microusd, key.held_microusd, key.in_flight) == (three.cost_microusd, 0, 0)


async def test_a_broken_answer_has_a_row_with_its_error(gateway: GatewayServer) -> None:
    gateway.engine.when("breaks", Say("One two"), Drop())
    await gateway.post(CHAT, hello(messages=[{"role": "user", "content": "breaks"}]))
    (row,) = await settled(gateway, 1)
    assert row.outcome == "failed" and row.error_code and row.status >= 500


async def test_refused_calls_have_rows_and_equal_ones_share_one(gateway: GatewayServer) -> None:
    _, narrow = await gateway.new_key("narrow", models=("slow",))
    _, poor = await gateway.new_key("poor", budget_tokens=2)
    _, rare = await gateway.new_key("rare", requests_per_minute=1)
    for _ in range(4):
        assert (await gateway.post(CHAT, hello(), narrow)).status_code == 403
        assert (await gateway.post(CHAT, hello(), poor)).status_code == 429
    await gateway.post(CHAT, hello(), rare)
    late = await gateway.post(CHAT, hello(), rare)
    assert 1 <= int(late.headers["retry-after"]) <= 60
    refused = [row for row in await rows(gateway) if row.outcome == "refused"]
    assert sorted((row.error_code, row.status, row.calls) for row in refused) == [
        ("budget_exhausted", 429, 1),
        ("model_not_allowed", 403, 1),
        ("rate_limit_exceeded", 429, 1),
    ]
    assert [(row.held_tokens, row.cost_microusd) for row in refused] == [(0, 0)] * 3
    assert (await gateway.post(CHAT, hello(), "sk-roost-unknown")).status_code == 401
    assert len(await rows(gateway)) == 4


async def test_the_rows_of_refusals_are_bounded_and_count_them_all() -> None:
    written: list[tuple[str, str, int]] = []
    breaks = False

    async def note(wanted: Reservation, spent: Spent, calls: int) -> None:
        if breaks:
            raise OSError("no database")
        written.append((wanted.model, spent.error_code, calls))

    refusals = Refusals(note)
    for number in range(KINDS_MAX + 40):
        wanted = Reservation(f"c{number}", "key", "chat", f"m{number}", 9, 9)
        for _ in range(3):
            await refusals.add(wanted, BudgetExhausted("no"))
    assert len(written) == KINDS_MAX + 1  # the first of each kind, and one for all others
    breaks = True
    await refusals.flush()
    await refusals.add(Reservation("c", "key", "chat", "m1", 9, 9), RateLimited("no"))
    breaks = False
    await refusals.flush()
    await refusals.flush()
    assert sum(calls for _, _, calls in written) == 3 * (KINDS_MAX + 40) + 1
    assert len(written) == 2 * (KINDS_MAX + 1) + 1
