"""Run one process in an event loop until SIGTERM or SIGINT."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roost_platform.settings.config import Settings


@dataclass(slots=True)
class ProcessContext:
    """What an asynchronous process works with: its settings and the event that ends it.

    ready: set by the process once it works. Until then a stop cancels it, because what it waits
    for (the database, Temporal) may never answer.
    """

    settings: Settings
    stop: asyncio.Event
    ready: asyncio.Event


def run_until_stopped(work: Callable[[ProcessContext], Awaitable[None]], settings: Settings) -> int:
    """Run `work` and return the exit code 0; raises what `work` raises."""
    asyncio.run(_main(work, settings))
    return 0


async def _main(work: Callable[[ProcessContext], Awaitable[None]], settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = ProcessContext(settings, stop, asyncio.Event())
    task = asyncio.ensure_future(work(running))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not task.done() and not running.ready.is_set():
        task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
