"""Keys as operators make them: told once, found by name, refused from the moment of revoking."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.key_admin import KeyAdmin, NewKey
from roost_platform.db.gateway.keys import FRESH_S, GatewayKeys
from roost_platform.db.stores import Stores
from roost_platform.errors import NotAllowed, NotFound, Refused
from roost_platform.gateway.errors import BudgetExhausted, KeyExpired, KeyRevoked, Unauthorized
from roost_platform.gateway.keys.ports import Reservation, Spent
from roost_platform.testing.api_server import api_server


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(database_url: str, clock: Clock) -> AsyncIterator[Database]:
    opened = Database(database_url, clock=clock)
    yield opened
    await opened.close()


async def test_a_revoked_key_reserves_nothing_from_that_moment_on(database: Database) -> None:
    keys, admin = GatewayKeys(database), KeyAdmin(database)
    _, secret = await admin.create(NewKey("laptop"), "ana")
    key = await keys.find(secret)
    assert (await admin.revoke("laptop", "ana")).state == "revoked"
    assert await keys.find(secret) == key  # it is believed for a second …
    with pytest.raises(KeyRevoked):  # … but no call begins
        await keys.reserve(Reservation("call", key.id, "chat", "fast", 1, 0))


async def test_a_key_expires_and_its_budget_begins_again_each_day(
    database: Database, clock: Clock
) -> None:
    keys, admin = GatewayKeys(database), KeyAdmin(database)
    wanted = NewKey("daily", budget_tokens=10, period="day", expires_at=clock.now + 3 * 86400)
    _, secret = await admin.create(wanted, "ana")
    for day in range(3):
        key = await keys.find(secret)
        await keys.reserve(Reservation(f"call-{day}", key.id, "chat", "fast", 10, 0))
        await keys.settle(Spent(f"call-{day}", "ok", 200, input_tokens=10))
        with pytest.raises(BudgetExhausted):
            await keys.reserve(Reservation("more", key.id, "chat", "fast", 1, 0))
        clock.now += 86400
    with pytest.raises(KeyExpired):
        await keys.find(secret)


async def test_a_rotated_key_knows_its_new_secret_alone(database: Database, clock: Clock) -> None:
    keys, admin = GatewayKeys(database), KeyAdmin(database)
    _, old = await admin.create(NewKey("ci"), "ana")
    _, new = await admin.rotate("ci", "ana")
    clock.now += FRESH_S
    assert (await keys.find(new)).name == "ci"
    with pytest.raises(Unauthorized):
        await keys.find(old)


async def test_names_are_taken_once_and_bounds_make_sense(database: Database) -> None:
    admin = KeyAdmin(database)
    await admin.create(NewKey("one"), "ana")
    with pytest.raises(NotAllowed):
        await admin.create(NewKey("  one "), "ana")
    with pytest.raises(Refused):
        await admin.create(NewKey("two", budget_tokens=0), "ana")
    with pytest.raises(NotFound):
        await admin.revoke("nobody", "ana")


async def test_the_api_makes_keys_for_admins_alone(stores: Stores, tmp_path: Path) -> None:
    async with api_server(stores, tmp_path) as server, httpx2.AsyncClient() as client:
        body = {"name": "laptop", "budget": "2.50", "per": "month", "rpm": 30}
        url = f"{server.url}/api/keys"
        refused = await client.post(url, json=body, headers=server.as_("operator"))
        assert refused.status_code == 403
        made = await client.post(url, json=body, headers=server.as_("admin"))
        assert made.status_code == 201 and made.json()["key"].startswith("sk-roost-")
        (listed,) = (await client.get(url, headers=server.as_("admin"))).json()["keys"]
        assert (float(listed["budget"]), listed["rpm"], listed["state"]) == (2.5, 30, "active")
        assert made.json()["key"] not in str(listed)
