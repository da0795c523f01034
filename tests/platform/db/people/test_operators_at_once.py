"""Operators who are made or changed at the same moment, on either database."""

import asyncio
import time

from argon2 import PasswordHasher
from sqlalchemy import select, update

from roost_platform.db import models
from roost_platform.db.stores import Stores
from roost_platform.errors import Forbidden, Refused, TooManyTries
from roost_platform.identity.accounts import Accounts
from roost_platform.identity.login_failures import LOGIN_FAILURES_MAX, LoginFailures
from roost_platform.identity.passwords import Passwords
from roost_platform.identity.roles import Role

PASSWORD = "correct horse battery"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def accounts(stores: Stores) -> Accounts:
    return Accounts(stores.database, time.time, Passwords(QUICK))


async def admins(stores: Stores) -> list[str]:
    async with stores.database.read() as session:
        found = select(models.Operator.name).where(
            models.Operator.role == "admin", models.Operator.disabled.is_(False)
        )
        return list(await session.scalars(found))


async def test_s14_one_setup_link_makes_one_admin_however_many_use_it_at_once(
    stores: Stores,
) -> None:
    made = accounts(stores)
    token = await made.new_setup_token()
    tries = [made.set_up(token, f"Admin {number}", PASSWORD) for number in range(8)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    refused = [one for one in results if isinstance(one, BaseException)]
    assert len(refused) == 7 and all(isinstance(one, Forbidden) for one in refused)
    assert len(await admins(stores)) == 1


async def test_s14_guesses_at_once_keep_their_bound(stores: Stores) -> None:
    failures = LoginFailures(stores.database, time.time, session_s=60.0)
    tries = [failures.reserve("Ada", "192.0.2.1") for _ in range(4 * LOGIN_FAILURES_MAX)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    refused = [one for one in results if isinstance(one, BaseException)]
    assert all(isinstance(one, TooManyTries) for one in refused)
    assert len(results) - len(refused) == LOGIN_FAILURES_MAX


async def test_s14_two_admins_who_lock_each_other_out_leave_one(stores: Stores) -> None:
    made = accounts(stores)
    for number in range(5):
        async with stores.database.write() as session:
            await session.execute(update(models.Operator).values(disabled=True))
        both = [
            await made.create(f"{number} {name}", PASSWORD, Role.admin) for name in ("Ada", "Eve")
        ]
        changes = [made.change(one.id, role=Role.viewer, disabled=False) for one in both]
        results = await asyncio.gather(*changes, return_exceptions=True)
        refused = [one for one in results if isinstance(one, BaseException)]
        assert [type(one) for one in refused] == [Refused]
        assert len(await admins(stores)) == 1
