"""Keys as operators make them: told once, found by name, refused from the moment of revoking."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.key_admin import (
    AMOUNT_MAX,
    GRACE_S_MAX,
    RATE_MAX,
    KeyAdmin,
    NewKey,
)
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


async def test_a_rotated_key_reserves_nothing_by_its_old_secret_from_that_moment_on(
    database: Database,
) -> None:
    keys, admin = GatewayKeys(database), KeyAdmin(database)
    _, old = await admin.create(NewKey("ci"), "ana")
    key = await keys.find(old)
    await admin.rotate("ci", "ana")
    wanted = Reservation("call", key.id, "chat", "fast", 1, 0, secret_hash=key.secret_hash)
    with pytest.raises(Unauthorized):
        await keys.reserve(wanted)


async def test_an_old_secret_lives_as_long_as_its_grace(database: Database, clock: Clock) -> None:
    keys, admin = GatewayKeys(database), KeyAdmin(database)
    _, first = await admin.create(NewKey("ci"), "ana")
    _, second = await admin.rotate("ci", "ana", grace_s=60)
    old, new = await keys.find(first), await keys.find(second)
    assert old.id == new.id
    for number, key in enumerate((old, new)):
        hashed = key.secret_hash
        await keys.reserve(Reservation(f"c{number}", key.id, "chat", "m", 1, 0, secret_hash=hashed))
    clock.now += 60
    with pytest.raises(Unauthorized):
        await keys.find(first)
    assert await keys.find(second)
    _, third = await admin.rotate("ci", "ana", grace_s=60)
    clock.now += 2
    await admin.rotate("ci", "ana", grace_s=60)  # of two old secrets the older one ends
    with pytest.raises(Unauthorized):
        await keys.find(second)
    assert await keys.find(third)
    with pytest.raises(Refused):
        await admin.rotate("ci", "ana", grace_s=GRACE_S_MAX + 1)


async def test_names_are_taken_once_and_bounds_make_sense(database: Database, clock: Clock) -> None:
    admin = KeyAdmin(database)
    await admin.create(NewKey("one"), "ana")
    with pytest.raises(NotAllowed):
        await admin.create(NewKey("  one "), "ana")
    for wanted in (
        NewKey("two", budget_tokens=0),
        NewKey("two", budget_microusd=AMOUNT_MAX + 1),
        NewKey("two", requests_per_minute=RATE_MAX + 1),
        NewKey("two", parallel=-1),
        NewKey("two", period="week", budget_tokens=1),
        NewKey("two", period="day"),
        NewKey("two", expires_at=clock.now),
        NewKey("two", models=("",)),
        NewKey("two", models=("x" * 201,)),
        NewKey("two", models=("x",) * 101),
        NewKey("two", models=("gpt-*",)),
        NewKey("two", models=("*",)),
        NewKey("two", models=("/*",)),
        NewKey("two", models=(" fast",)),
        NewKey(" "),
        NewKey("x" * 101),
        NewKey("a\x00b"),
        NewKey("a\u202eb"),
    ):
        with pytest.raises(Refused):
            await admin.create(wanted, "ana")
    with pytest.raises(NotFound):
        await admin.revoke("nobody", "ana")
    with pytest.raises(NotFound):
        await admin.rotate("nobody", "ana")


async def test_a_key_is_meant_by_its_id_before_a_key_of_that_name(database: Database) -> None:
    admin = KeyAdmin(database)
    id, _ = await admin.create(NewKey("one"), "ana")
    await admin.create(NewKey(id), "ana")
    assert (await admin.revoke(id, "ana")).name == "one"
    assert (await admin.revoke(id, "ana")).state == "revoked"  # again changes nothing
    with pytest.raises(NotAllowed):
        await admin.rotate("one", "ana")


async def test_the_api_makes_keys_for_admins_alone(stores: Stores, tmp_path: Path) -> None:
    async with api_server(stores, tmp_path) as server, httpx2.AsyncClient() as client:
        body = {"name": "laptop", "budget": "2.50", "per": "month", "rpm": 30}
        url = f"{server.url}/api/keys"
        for role in ("operator", "viewer"):
            for method, path in (
                ("POST", ""),
                ("GET", ""),
                ("POST", "/a/revoke"),
                ("POST", "/a/rotate"),
            ):
                asked = client.request(method, url + path, json=body, headers=server.as_(role))
                assert (await asked).status_code == 403
        made = await client.post(url, json=body, headers=server.as_("admin"))
        assert made.status_code == 201 and made.json()["key"].startswith("sk-roost-")
        (listed,) = (await client.get(url, headers=server.as_("admin"))).json()["keys"]
        # Money is a text, so that no client makes a binary fraction of it.
        assert (listed["budget"], listed["spent"], listed["rpm"]) == ("2.5", "0", 30)
        assert listed["state"] == "active"
        assert made.json()["key"] not in str(listed)
        admin = server.as_("admin")
        turned = await client.post(f"{url}/laptop/rotate", json={"grace_s": 60}, headers=admin)
        assert turned.json()["id"] == made.json()["id"]
        assert turned.json()["key"] != made.json()["key"]
        bare = await client.post(f"{url}/{made.json()['id']}/rotate", headers=admin)
        assert bare.status_code == 200
        assert (await client.post(f"{url}/laptop/revoke", headers=admin)).json()[
            "state"
        ] == "revoked"
        assert (await client.post(f"{url}/laptop/rotate", headers=admin)).status_code == 409
        assert (await client.post(f"{url}/nobody/revoke", headers=admin)).status_code == 404
        assert (await client.post(url, json=body, headers=admin)).status_code == 409
        for wrong in (
            {"budget": "0"},
            {"budget": "0.0000001"},
            {"budget": "NaN"},
            {"rpm": 2**31},
            {"per": "week"},
            {"name": "\u0000"},
            {"expires_at": 1},
            {"budget_usd": "5"},
        ):
            bad = await client.post(url, json={"name": "other", **wrong}, headers=admin)
            assert bad.status_code == 422, wrong
    async with stores.database.read() as session:
        rows = await session.scalars(
            select(models.Audit.action).where(models.Audit.action.startswith("key."))
        )
        assert sorted(rows) == ["key.create", "key.revoke", "key.rotate", "key.rotate"]


async def test_a_key_may_name_each_model_of_a_provider_with_a_star(database: Database) -> None:
    _, secret = await KeyAdmin(database).create(NewKey("far", models=("openai/*", "fast")), "ana")
    key = await GatewayKeys(database).find(secret)
    assert [key.may_use(name) for name in ("openai/gpt-5", "openai/a/b", "fast")] == [True] * 3
    assert not any(key.may_use(name) for name in ("openai", "openai-2/gpt-5", "roost", "faster"))
