"""The texts that prompts left out: of their key alone, for a day, and not too many of them."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway import originals
from roost_platform.db.gateway.originals import KEPT_S, REFRESH_S, StoredOriginals


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


async def count(database: Database) -> int:
    async with database.read() as session:
        rows = await session.scalar(select(func.count()).select_from(models.GatewayOriginal))
    return rows or 0


async def test_a_text_is_found_by_its_key_until_a_day_after_it_was_last_left_out(
    database: Database, clock: Clock
) -> None:
    stored = StoredOriginals(database)
    await stored.keep("ada", {"r-1": "one", "r-2": "two\0 \U0001f600"})
    assert await stored.find("ada", "r-1") == "one"
    assert await stored.find("ada", "r-2") == "two\ufffd \U0001f600"
    assert await stored.find("bob", "r-1") is None
    clock.now += KEPT_S - REFRESH_S
    await stored.keep("ada", {"r-1": "one"})
    clock.now += KEPT_S - 1
    assert await stored.find("ada", "r-1") == "one"
    assert await stored.find("ada", "r-2") is None
    await stored.keep("bob", {"r-3": "three"})
    assert await count(database) == 2


async def test_equal_texts_are_written_once_an_hour(database: Database, clock: Clock) -> None:
    stored = StoredOriginals(database)
    await stored.keep("ada", {"r-1": "one"})
    clock.now += REFRESH_S / 2
    await stored.keep("ada", {"r-1": "not written"})
    assert await stored.find("ada", "r-1") == "one"
    other = StoredOriginals(database)  # such as after a restart
    await other.keep("ada", {"r-1": "written"})
    assert await stored.find("ada", "r-1") == "written"


async def test_of_too_many_texts_of_one_key_the_oldest_go(
    database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(originals, "OF_KEY_MAX", 3)
    stored = StoredOriginals(database)
    await stored.keep("bob", {"r-0": "bob's"})
    for number in range(5):
        clock.now += 1
        await stored.keep("ada", {f"r-{number}": "text"})
    await stored.keep("ada", {f"r-{number}": "text" for number in range(10, 20)})
    assert await count(database) == 4
    assert await stored.find("ada", "r-19") == "text"
    assert await stored.find("bob", "r-0") == "bob's"
