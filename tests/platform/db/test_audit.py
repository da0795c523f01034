"""The audit trail, and the small stores beside it."""

import asyncio

import pytest
from sqlalchemy import text

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.services import ALIVE_S
from roost_platform.db.stores import Stores, open_stores
from roost_platform.testing.chats import HandClock, count_rows


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "DELETE FROM audit WHERE id = 1"],
)
async def test_the_trail_can_not_be_changed(stores: Stores, statement: str) -> None:
    await stores.audit.write("olga", "login", "console")
    with pytest.raises(Exception, match="append-only"):
        async with stores.database.write() as session:
            await session.execute(text(statement))
    assert await count_rows(stores, models.Audit) == 1


async def test_the_chain_holds_and_a_row_changed_behind_our_back_is_found(stores: Stores) -> None:
    for number in range(5):
        await stores.audit.write("olga", "view", f"object {number}", {"n": number, "ä": [1.5]})
    assert await stores.audit.verify() is None
    async with stores.database.write() as session:
        is_sqlite = stores.database.is_sqlite
        await session.execute(
            text(
                "DROP TRIGGER audit_no_update"
                if is_sqlite
                else "DROP TRIGGER audit_no_change ON audit"
            )
        )
        await session.execute(text("UPDATE audit SET object = 'object 9' WHERE id = 3"))
    problem = await stores.audit.verify()
    assert problem is not None and problem.startswith("Row 3 ")


async def test_rows_written_at_once_make_one_chain(stores: Stores, database_url: str) -> None:
    other = open_stores(Database(database_url))
    await asyncio.gather(
        *(each.audit.write("a", "b", str(n)) for n in range(10) for each in (stores, other))
    )
    assert await stores.audit.verify() is None
    assert await count_rows(stores, models.Audit) == 20
    await other.close()


async def test_the_trail_is_read_in_pages_newest_first(stores: Stores) -> None:
    for number in range(5):
        await stores.audit.write("olga", "view", str(number))
    first = await stores.audit.list(limit=3)
    rest = await stores.audit.list(before_id=first[-1].id)
    assert [entry.object for entry in [*first, *rest]] == ["4", "3", "2", "1", "0"]


async def test_a_part_that_stops_beating_is_shown_as_down(stores: Stores, clock: HandClock) -> None:
    await stores.heartbeats.beat("worker", {"slots": 4})
    await stores.heartbeats.beat("courier")
    clock.advance(ALIVE_S + 1)
    await stores.heartbeats.beat("worker", {"slots": 5})
    courier, worker = await stores.heartbeats.all()
    assert (courier.service, courier.is_alive) == ("courier", False)
    assert (worker.is_alive, worker.detail) == (True, {"slots": 5})


async def test_a_channels_health_keeps_its_offset(stores: Stores) -> None:
    assert await stores.channels.get("telegram", "42") is None
    await stores.inbox.accept("telegram", "42", [], cursor=5)
    await stores.channels.set("telegram", "42", "conflict", "another poller", name="@roost_bot")
    await stores.channels.set("telegram", "42", "up")
    (view,) = await stores.channels.all()
    assert (view.state, view.detail, view.cursor, view.name) == ("up", "", 5, "@roost_bot")
