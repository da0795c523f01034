"""Advances in a thread that is ended when it computes for too long: no flow holds up the worker."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from roost.errors import FlowLimit
from roost.execution.threads import run_in_thread
from roost.flow import Flow
from roost.flows.advancing import Advance, advance
from roost_workflows.storage.flows import FlowRecord
from roost_workflows.turn.suspects import Suspects

Result = TypeVar("Result")

CPU_S_MAX: Final = 10.0
WALL_S_MAX: Final = 60.0  # of one that blocks without computing, such as in `time.sleep`
CHECK_S: Final = 0.25


async def guarded_advance(
    flow: Flow,
    record: FlowRecord,
    suspects: Suspects,
    *,
    stopped: bool = False,
) -> Advance:
    """One advance of the flow; one that takes too long has failed."""

    def run() -> Advance:
        with suspects.in_thread(record.turn_id):
            return advance(
                flow,
                record.input or {},
                record.journal,
                facts=record.facts,
                stopped=stopped,
                clock=lambda: record.now,
            )

    try:
        return await bounded(run, f"flow {flow.name}")
    except FlowLimit as error:
        return Advance("failed", error=error)


async def bounded(
    function: Callable[[], Result],
    name: str,
    *,
    cpu_s: float = CPU_S_MAX,
    wall_s: float = WALL_S_MAX,
) -> Result:
    """The function's result, run in a thread of its own. Raises FlowLimit where it takes longer."""
    threads: list[int] = []

    def run() -> Result:
        threads.append(threading.get_ident())
        return function()

    began = time.monotonic()
    task = asyncio.create_task(run_in_thread(run, name))
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=CHECK_S)
            if task.done():
                break
            used = _cpu_s(threads)
            if used > cpu_s or time.monotonic() - began > wall_s:
                raise FlowLimit(
                    f"The {name} ran for {used:.0f} s of computing without reaching its next step. "
                    f"Put long work into a tool."
                )
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    result: Result = task.result()
    return result


def _cpu_s(threads: list[int]) -> float:
    """Seconds that the thread has computed for; 0 before it began and after it ended."""
    if not threads:
        return 0.0
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(threads[0]))
    except OSError:
        return 0.0
