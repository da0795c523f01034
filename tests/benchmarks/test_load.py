"""The whole platform under load, with a scripted engine. Run by `make bench`, never by `make test`.

LOAD_DATABASE=postgresql measures on PostgreSQL, LOAD_MEMORY_MINUTES=30 watches memory for long.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from roost_inference.benchmarking import report
from roost_platform.chaos.load import SCENARIOS, Load, LoadParameters
from roost_platform.chaos.storm import running_stack
from roost_platform.chaos.storm_report import StormConfig

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    parameters = LoadParameters()
    run = report.BenchmarkRun("scripted, every answer at once", 1)
    config = StormConfig(seed=1, minutes=0, database=parameters.database)
    with running_stack(config, tmp_path_factory.mktemp("load")) as world:
        opened = Load(world, parameters, run)
        yield opened
    run.note(
        "Draining queued parts is bound by one send a second per chat, 20 chats, and 25 calls a "
        "second in all; the flood has a chat for every answer."
    )
    if run.figures and parameters.record:
        report.append(PAGE, run)


@pytest.mark.benchmark
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_measure_load(load: Load, scenario: str) -> None:
    print(f"\n{scenario}", flush=True)
    SCENARIOS[scenario](load)
