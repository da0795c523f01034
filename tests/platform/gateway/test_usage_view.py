"""Usage as operators read it: grouped, filtered, within bounds, as JSON and as a table."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import delete, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.gateway.key_admin import KeyAdmin, NewKey
from roost_platform.db.retention import Retention
from roost_platform.db.stores import Stores
from roost_platform.errors import Refused
from roost_platform.testing.api_server import api_server
from roost_platform.views.gateway import usage as usage_module
from roost_platform.views.gateway.usage import DAYS_MAX, UsageFilter, usage

FIRST = date(2027, 2, 27)
MIDNIGHT = datetime(2027, 2, 27, tzinfo=UTC).timestamp()
DAY_S = 86_400.0


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


async def a_call(database: Database, id: str, at: float, **values: object) -> None:
    given: dict[str, object] = {
        "family": "chat",
        "model": "fast",
        "owner": "o",
        "outcome": "ok",
        "ended_at": at + 1,
        "ttft_ms": 20.0,
        "duration_ms": 1000.0,
    }
    async with database.write() as session:
        session.add(models.GatewayCall(id=id, started_at=at, **{**given, **values}))


async def some_calls(database: Database) -> str:
    key, _ = await KeyAdmin(database).create(NewKey("laptop"), "ana")
    used = {"input_tokens": 100, "cached_tokens": 40, "output_tokens": 10, "cost_microusd": 7}
    await a_call(database, "a", MIDNIGHT, key_id=key, person="ada", **used)
    await a_call(database, "b", MIDNIGHT + DAY_S - 0.01, key_id=key, ttft_ms=60.0, **used)
    await a_call(database, "c", MIDNIGHT + DAY_S, model="=slow", agent="clerk", cost_microusd=90)
    refused = {"outcome": "refused", "calls": 12, "ttft_ms": None}
    await a_call(database, "d", MIDNIGHT + 3 * DAY_S, key_id=key, **refused)
    await a_call(database, "e", MIDNIGHT + 3 * DAY_S + 5, outcome="", ended_at=None, ttft_ms=None)
    return key


async def test_calls_are_added_up_by_what_is_asked(database: Database) -> None:
    key = await some_calls(database)
    until = FIRST + timedelta(days=3)
    days = await usage(database, "day", FIRST, until)
    assert [(row.group, row.calls, row.cost_microusd) for row in days.rows] == [
        ("2027-02-27", 2, 14),
        ("2027-02-28", 1, 90),
        ("2027-03-02", 13, 0),
    ]
    assert (days.total.calls, days.total.ok, days.total.refused) == (16, 3, 12)
    assert (days.total.input_tokens, days.total.cached_tokens) == (200, 80)
    assert (days.rows[0].ttft_p50_ms, days.rows[0].ttft_p95_ms) == (60.0, 60.0)
    assert days.rows[2].ttft_p50_ms is None
    models_used = await usage(database, "model", FIRST, until)
    assert [(row.group, row.calls) for row in models_used.rows] == [("=slow", 1), ("fast", 15)]
    keys = await usage(database, "key", FIRST, until)
    assert {(row.group, row.name, row.calls) for row in keys.rows} == {
        (key, "laptop", 14),
        ("", "", 2),
    }
    people = await usage(database, "person", FIRST, FIRST, UsageFilter(key=key))
    assert {(row.group, row.calls) for row in people.rows} == {("ada", 1), ("", 1)}
    named = await usage(database, "person", FIRST, FIRST, UsageFilter(key="laptop"))
    assert named.rows == people.rows
    assert (await usage(database, "day", FIRST, until, UsageFilter(key=""))).total.calls == 2
    agents = await usage(database, "agent", FIRST, until, UsageFilter(agent="clerk"))
    assert [(row.group, row.cost_microusd) for row in agents.rows] == [("clerk", 90)]
    assert (await usage(database, "target", date(2020, 1, 1), date(2020, 1, 9))).rows == ()


async def test_ranges_and_groupings_are_bounded(database: Database) -> None:
    for by, since, until in (
        ("day", FIRST, FIRST - timedelta(days=1)),
        ("day", FIRST, FIRST + timedelta(days=DAYS_MAX)),
        ("week", FIRST, FIRST),
        ("day", date.min, date.max),
    ):
        with pytest.raises(Refused):
            await usage(database, by, since, until)
    assert (await usage(database, "day", date.min, date.min)).total.calls == 0
    assert (await usage(database, "day", date.max, date.max)).total.calls == 0


async def test_beyond_the_bounds_groups_are_one_row_and_nothing_is_left_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_module, "GROUPS_MAX", 3)
    monkeypatch.setattr(usage_module, "GROUPS_READ_MAX", 5)
    for number in range(9):
        at = MIDNIGHT + number * DAY_S / 6
        await a_call(database, f"c{number}", at, model=f"m{number}", cost_microusd=number)
    found = await usage(database, "model", FIRST, FIRST + timedelta(days=2))
    assert len(found.rows) == 4 and found.rows[-1].group == "(others)"
    assert sum(row.calls for row in found.rows) == found.total.calls == 9
    assert sum(row.cost_microusd for row in found.rows) == found.total.cost_microusd == 36


async def test_the_api_tells_usage_to_those_who_may_know(stores: Stores, tmp_path: Path) -> None:
    await some_calls(stores.database)
    async with api_server(stores, tmp_path) as server, httpx2.AsyncClient() as client:

        async def ask(role: str, **query: str) -> httpx2.Response:
            days = {"since": "2027-02-27", "until": "2027-03-02"}
            url = f"{server.url}/api/usage"
            return await client.get(url, params={**days, **query}, headers=server.as_(role))

        told = await ask("viewer", by="model")
        assert told.status_code == 200
        assert [row["cost"] for row in told.json()["rows"]] == ["0.00009", "0.000014"]
        assert told.json()["total"]["calls"] == 16
        assert (await ask("viewer", by="person")).status_code == 403
        assert (await ask("viewer", person="ada")).status_code == 403
        assert (await ask("operator", by="person")).status_code == 200
        assert (await ask("viewer", by="week")).status_code == 422
        assert (await ask("viewer", since="2020-01-01")).status_code == 422
        assert (await ask("viewer", since="soon")).status_code == 422
        table = await ask("viewer", by="model", format="csv")
        assert table.headers["content-type"].startswith("text/csv")
        assert "usage-by-model" in table.headers["content-disposition"]
        lines = list(csv.DictReader(io.StringIO(table.text)))
        assert [line["name"] for line in lines] == ["'=slow", "fast"]
        assert lines[0]["cost"] == "0.00009"
        url = f"{server.url}/api/usage"
        today = (await client.get(url, headers=server.as_("viewer"))).json()
        assert (date.fromisoformat(today["until"]) - date.fromisoformat(today["since"])).days == 29


async def test_old_calls_go_and_running_ones_stay(database: Database) -> None:
    await some_calls(database)
    database.clock = lambda: MIDNIGHT + 10 * DAY_S
    assert await Retention(database, None, 9.0).sweep() == 2  # the first day's
    assert await Retention(database, None, 1.0).sweep() == 2
    assert await Retention(database, None, None).sweep() == 0
    async with database.read() as session:
        assert list(await session.scalars(select(models.GatewayCall.id))) == ["e"]
    async with database.write() as session:
        await session.execute(delete(models.GatewayCall))
