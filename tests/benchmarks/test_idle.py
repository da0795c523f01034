"""What a stack costs while nobody writes. Run by `make bench`, never by `make test`.

IDLE_MINUTES=30 judges the growth of memory as well, BENCH_RECORD=false writes nothing down. What
the machine charged for a wake-up is a figure of its own: the others are to be judged by it.
"""

import time
from pathlib import Path

import pytest

from roost_inference.benchmarking import report
from roost_inference.benchmarking.figures import Figure, Goal
from roost_inference.benchmarking.parameters import Parameters
from roost_platform.chaos.storm import running_stack
from roost_platform.chaos.storm_report import StormConfig
from roost_platform.chaos.usage import (
    FLAT_MIB_PER_MINUTE,
    JUDGED_FROM_MINUTES,
    REST_S,
    ResidentSamples,
    idle_minutes,
    price_of_waking,
    processor_s,
    resident_mib,
    sleeps,
    wakeups,
)

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
SETTLE_S = 30.0  # what a start leaves behind is done by then
LOOK_S = 5.0
ALL_PARTS = "all parts together"


@pytest.mark.benchmark
def test_measure_idle_parts(tmp_path: Path) -> None:
    minutes = idle_minutes()
    run = report.BenchmarkRun("scripted, nobody writes", 1)
    samples = ResidentSamples(minutes)
    with running_stack(StormConfig(seed=1, minutes=0, database="sqlite"), tmp_path) as world:
        time.sleep(SETTLE_S)
        price = price_of_waking()
        asleep = sleeps(world.stack)
        before, began = processor_s(world.stack), time.monotonic()
        while (now_s := time.monotonic() - began) < minutes * 60:
            samples.look(now_s, resident_mib(world.stack))
            time.sleep(LOOK_S)
        after, took_s = processor_s(world.stack), time.monotonic() - began
        woken = wakeups(asleep, sleeps(world.stack))
        prices = (price, price_of_waking())
    shares = {part: 100 * (after[part] - before[part]) / took_s for part in after}
    goals = {ALL_PARTS: Goal(2.0, 1.0)}
    for part, share in {**shares, ALL_PARTS: sum(shares.values())}.items():
        run.add(Figure("idle", f"{part}, of one core", share, "%", goal=goals.get(part)))
    for part, count in {**woken, ALL_PARTS: sum(woken.values())}.items():
        run.add(Figure("idle", f"{part}, wake-ups a second", count / took_s, "/s"))
    for when, multiple in zip(("before", "after"), prices, strict=True):
        name = (
            f"price of a wake-up {when}: statements after {REST_S:g} s of rest, those at once = 1"
        )
        run.add(Figure("idle", name, multiple, ""))
    for part in samples.taken:
        goal = Goal(FLAT_MIB_PER_MINUTE, 0.0) if minutes >= JUDGED_FROM_MINUTES else None
        name = f"{part} grows per minute, second half of {minutes:g} minutes"
        run.add(Figure("idle", name, samples.growth(part), "MiB", goal=goal))
    if Parameters.from_environment().record:
        report.append(PAGE, run)
