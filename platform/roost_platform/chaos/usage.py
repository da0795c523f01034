"""Processor time, wake-ups and resident memory of a running stack's processes, from /proc, and the
price of a wake-up on this machine.
"""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Column, Integer, MetaData, Table, create_engine, func, select
from sqlalchemy.engine import Connection

from roost_platform.testing import Stack, descendants

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024
SAMPLES_MAX = 240  # kept of one run; a longer run is sampled less often
SAMPLE_LEAST_S = 2.0
# CPython takes memory from the system by the MiB: growth below this may be one such step within
# the half of a run of half an hour that is judged. In shorter runs a step looks like a leak.
FLAT_MIB_PER_MINUTE = 0.1
JUDGED_FROM_MINUTES = 30.0
REST_S = 5.0  # as between two beats of our processes
RESTS = 3
STATEMENTS = 20
WARM_UPS = 20


def idle_minutes() -> float:
    """How long an idle stack is looked at, by the environment."""
    return float(os.environ.get("IDLE_MINUTES", "1"))


def parts_of(stack: Stack) -> Iterator[tuple[str, Path]]:
    """Each process of the stack by name, and its folder below /proc."""
    assert stack.process is not None
    for pid, command in descendants(stack.process.popen.pid):
        part = "temporal server" if "start-dev" in command else command[-1]
        if "serve" in command or part == "temporal server":
            yield part, Path(f"/proc/{pid}")


def resident_mib(stack: Stack) -> dict[str, float]:
    """Resident memory of each process now, in MiB."""
    return {
        part: int((folder / "statm").read_text().split()[1]) * PAGE_BYTES / MIB
        for part, folder in parts_of(stack)
    }


def processor_s(stack: Stack) -> dict[str, float]:
    """User and system time of each part so far."""
    times = {
        part: (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        for part, folder in parts_of(stack)
    }
    return {part: (int(user) + int(system)) / TICKS for part, (user, system) in times.items()}


def sleeps(stack: Stack) -> dict[tuple[str, int], int]:
    """How often each thread of each part has gone to sleep so far, by part and thread id.

    Each time it was woken before. Unlike processor time this does not depend on the machine, nor on
    what else it does, and an idle process pays mostly for waking.
    """
    counts: dict[tuple[str, int], int] = {}
    for part, folder in parts_of(stack):
        for thread in (folder / "task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                status = (thread / "status").read_text()
                count = status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]
                counts[part, int(thread.name)] = int(count)
    return counts


def wakeups(
    before: Mapping[tuple[str, int], int], after: Mapping[tuple[str, int], int]
) -> dict[str, int]:
    """How often the threads of each part were woken between two results of `sleeps`."""
    counts: dict[str, int] = {}
    for thread, count in after.items():
        counts[thread[0]] = counts.get(thread[0], 0) + count - before.get(thread, 0)
    return counts


@dataclass(slots=True)
class ResidentSamples:
    """Resident memory of each process over a run of `minutes`, in even steps."""

    minutes: float
    taken: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    _next_s: float = 0.0

    def look(self, now_s: float, resident: dict[str, float]) -> None:
        """Keep a sample if one is due; `now_s` counts from the run's begin."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + max(SAMPLE_LEAST_S, self.minutes * 60 / SAMPLES_MAX)
        for part, mib in resident.items():
            samples = self.taken.setdefault(part, [])
            if len(samples) < SAMPLES_MAX:
                samples.append((now_s, mib))

    def growth(self, part: str) -> float:
        """The growth in MiB per minute over the second half, when caches are full."""
        samples = self.taken.get(part, [])
        end = samples[-1][0] if samples else 0.0
        late = [sample for sample in samples if sample[0] >= end / 2]
        if len(late) < 2:
            return 0.0
        return 60 * statistics.linear_regression(*zip(*late, strict=True)).slope


def price_of_waking(rest_s: float = REST_S, rests: int = RESTS) -> float:
    """Processor time of some small statements after a rest, as a multiple of the same ones at once.

    The median of `rests`. 1.0: waking costs nothing of its own. An idle process pays for little
    else, and a machine whose host takes an idle guest's memory away charges a multiple of what a
    quiet one does: a figure of an idle stack is to be judged by this one.
    """
    engine = create_engine("sqlite://")
    rows = Table("rows", MetaData(), *(Column(f"c{number}", Integer) for number in range(10)))
    try:
        with engine.connect() as connection:
            rows.create(connection)
            for _ in range(WARM_UPS):
                _work(connection, rows)
            prices = [_price(connection, rows, rest_s) for _ in range(rests)]
    finally:
        engine.dispose()
    return sorted(prices)[len(prices) // 2]


def _price(connection: Connection, rows: Table, rest_s: float) -> float:
    time.sleep(rest_s)
    rested_s = _took_s(lambda: _work(connection, rows))
    return rested_s / _took_s(lambda: _work(connection, rows))


def _took_s(work: Callable[[], None]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def _work(connection: Connection, rows: Table) -> None:
    for _ in range(STATEMENTS):
        query = select(func.count()).select_from(rows).where(rows.c.c1 == 3, rows.c.c2 > 5)
        connection.execute(query).all()
