"""Budgets hold however many calls come at once, on both databases."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.key_admin import KeyAdmin, NewKey
from roost_platform.db.gateway.keys import GatewayKeys
from roost_platform.gateway.errors import BudgetExhausted
from roost_platform.gateway.keys.ports import Reservation, Spent


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


async def test_s11_fifty_calls_at_once_against_money_for_five_admit_five(
    database: Database,
) -> None:
    keys = GatewayKeys(database)
    _, secret = await KeyAdmin(database).create(NewKey("tight", budget_microusd=50), "tester")
    key = await keys.find(secret)

    async def call(number: int) -> bool:
        wanted = Reservation(f"call-{number}", key.id, "chat", "fast", tokens=9, cost_microusd=10)
        try:
            await keys.reserve(wanted)
        except BudgetExhausted:
            return False
        return True

    admitted = await asyncio.gather(*(call(number) for number in range(50)))
    assert sum(admitted) == 5
    for number, was_admitted in enumerate(admitted):
        if was_admitted:
            await keys.settle(Spent(f"call-{number}", "ok", 200, cost_microusd=8))
            await keys.settle(Spent(f"call-{number}", "ok", 200, cost_microusd=8))
    assert await call(50)
    assert not await call(51)
