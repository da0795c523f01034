"""Budgets hold in seeded runs of fifty calls at once, with cancels and processes that die."""

from collections.abc import AsyncIterator

import pytest

from roost_platform.chaos.gateway.budgets import CALLS, run_budget
from roost_platform.db.base.engine import Database

SQLITE_RUNS, POSTGRES_RUNS = 10, 3  # all thousand: tests/benchmarks/test_budgets.py


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


async def test_nothing_is_overrun_and_nothing_stays_held(database: Database) -> None:
    count = SQLITE_RUNS if database.is_sqlite else POSTGRES_RUNS
    runs = [await run_budget(database, seed) for seed in range(count)]
    assert [run for run in runs if not run.holds] == []
    # The runs are worth something: there were refusals, cancels and deaths.
    assert 0 < sum(run.admitted for run in runs) < len(runs) * CALLS
    assert sum(run.cancelled for run in runs) > 0
    assert sum(run.killed for run in runs) > 0
    assert sum(run.in_flight for run in runs) > 0
    assert sum(run.lost for run in runs) > 0
