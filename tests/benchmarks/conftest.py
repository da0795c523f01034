"""One run for all scenarios: its model, its record in docs/benchmarks.md, its chart."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from roost_inference.benchmarking import chart, report
from roost_inference.benchmarking.bench import Bench, open_bench
from roost_inference.benchmarking.parameters import Parameters
from roost_platform.chaos.load import LoadParameters
from roost_platform.chaos.usage import idle_minutes

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
CHART = ROOT / "docs" / "images" / "benchmarks.svg"
# A scenario alone, on a slow machine with peers.
SCENARIO_TIMEOUT_S = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            longer_s = 60 * LoadParameters().memory_minutes if "[memory]" in item.name else 0
            longer_s += 60 * idle_minutes() if "idle" in item.name else 0
            item.add_marker(pytest.mark.timeout(SCENARIO_TIMEOUT_S + longer_s))


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Measures with what the environment says; writes down what was measured, also of a run in
    which a scenario failed."""
    opened = open_bench(Parameters.from_environment(), tmp_path_factory.mktemp("bench"))
    print(f"\n{report.machine(opened.run)}", flush=True)
    if opened.run.is_busy:
        print("The machine is busy: take ratios from this run, not times.", flush=True)
    yield opened
    if not opened.run.figures or not opened.parameters.record:
        return
    report.append(PAGE, opened.run)
    print(f"\nAppended to {PAGE}", flush=True)
    image = chart.chart(opened.run)
    if image is None:
        print("No chart: nothing was compared with llama-server (LLAMA_SERVER=path).")
        return
    CHART.parent.mkdir(parents=True, exist_ok=True)
    CHART.write_text(image)
    print(f"Drawn {CHART}", flush=True)
