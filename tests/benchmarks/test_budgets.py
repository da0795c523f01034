"""A thousand seeded runs of fifty calls at once against one budget; see chaos/sim/budgets.py."""

import os
from pathlib import Path

import pytest

from roost_platform.chaos.gateway.budgets import run_budget
from roost_platform.db.base.engine import Database

RUNS = int(os.environ.get("BUDGET_RUNS", "1000"))


@pytest.mark.benchmark
async def test_a_thousand_runs_overrun_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'roost.db'}")
    await database.migrate()
    runs = [await run_budget(database, seed) for seed in range(RUNS)]
    await database.close()
    broken = [run for run in runs if not run.holds]
    print(
        f"\n{len(runs)} runs: {sum(run.admitted for run in runs)} calls admitted, "
        f"{sum(run.cancelled for run in runs)} cancels, {sum(run.killed for run in runs)} deaths, "
        f"{sum(run.lost for run in runs)} calls lost, overrun in {len(broken)}"
    )
    assert broken == []
