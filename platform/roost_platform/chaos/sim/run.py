"""Many schedules on all cores; the plan of a seed that fails is reduced to what it needs."""

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context

from roost_platform.chaos.sim.attacks import plan_of
from roost_platform.chaos.sim.plan import Plan
from roost_platform.chaos.sim.schedule import Outcome, simulate

BATCH = 20
SHRINK_RUNS_MAX = 80
AHEAD_MAX = 4  # batches handed to each worker in advance


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that broke an invariant, and the smallest plan that breaks the same rule."""

    seed: int
    violations: tuple[str, ...]
    plan: Plan


@dataclass(slots=True)
class Tally:
    """The result of many schedules."""

    schedules: int = 0
    messages: int = 0
    calls: int = 0
    crashes: int = 0
    virtual_s: float = 0.0
    wall_s: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Add the counts and failures of another tally."""
        self.schedules += other.schedules
        self.messages += other.messages
        self.calls += other.calls
        self.crashes += other.crashes
        self.virtual_s += other.virtual_s
        self.failures += other.failures


def run(
    first: int,
    count: int,
    tell: Callable[[Tally], None] | None = None,
    *,
    workers: int = 0,
) -> Tally:
    """The schedules of seeds first … first + count - 1; by default one worker process per core."""
    total, began = Tally(), time.monotonic()
    batches = [
        range(start, min(start + BATCH, first + count))
        for start in range(first, first + count, BATCH)
    ]
    workers = min(workers or os.cpu_count() or 1, len(batches))
    done = (run_batch(batch) for batch in batches) if workers <= 1 else _spread(batches, workers)
    for tally in done:
        total.add(tally)
        total.wall_s = time.monotonic() - began
        if tell is not None:
            tell(total)
    total.failures = [shrunk(failure) for failure in total.failures[:3]] + total.failures[3:]
    total.wall_s = time.monotonic() - began
    return total


def _spread(batches: Sequence[range], workers: int) -> Iterator[Tally]:
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_collect_less) as pool:
        waiting = iter(batches)
        under_way: set[Future[Tally]] = set()
        while True:
            while len(under_way) < workers * AHEAD_MAX and (batch := next(waiting, None)):
                under_way.add(pool.submit(run_batch, batch))
            if not under_way:
                return
            finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)


def _collect_less() -> None:
    """What was imported stays, and a schedule makes few circles: looking for them costs a tenth."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def run_batch(seeds: range) -> Tally:
    """Some schedules, one after the other."""
    tally = Tally()
    for seed in seeds:
        outcome = simulate(plan_of(seed))
        tally.schedules += 1
        tally.messages += len(outcome.record.accepted)
        tally.calls += outcome.calls
        tally.crashes += outcome.crashes
        tally.virtual_s += outcome.took_s
        if outcome.violations:
            tally.failures.append(failure_of(outcome))
    return tally


def failure_of(outcome: Outcome) -> Failure:
    """The failure that a broken schedule is reported by."""
    return Failure(
        outcome.plan.seed,
        tuple(str(violation) for violation in outcome.violations[:20]),
        outcome.plan,
    )


def shrunk(failure: Failure) -> Failure:
    """The failure with everything left out that its first violation does not need."""
    rule = failure.violations[0].partition(" in ")[0]
    plan, runs = failure.plan, 0
    for name in ("strikes", "crashes", "outages", "jumps", "edits", "says"):
        index = 0
        while index < len(getattr(plan, name)) and runs < SHRINK_RUNS_MAX:
            smaller = plan.without(name, index)
            runs += 1
            broken = simulate(smaller).violations if smaller.says else []
            if any(violation.rule == rule for violation in broken):
                plan = smaller
            else:
                index += 1
    return Failure(failure.seed, failure.violations, plan)
