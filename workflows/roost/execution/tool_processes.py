"""Processes for synchronous tools: warm, few, and killed when a call is stopped or takes too long.

A thread can't be ended while it is in code that holds the interpreter, and then nothing else of the
worker runs either: no time limit, no heartbeat. A process can always be killed.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, Final

from roost.errors import ToolFailed
from roost.execution.tool_process import ToolProcess, address_of
from roost.tools import Tool

log = logging.getLogger(__name__)

PROCESSES_MAX: Final = 8
IDLE_MAX: Final = 2  # kept warm; those beyond end with their call
CALLS_MAX: Final = 1000  # of one process: what tools leak ends with it
WAIT_S: Final = 60.0  # for one of PROCESSES_MAX to become free


class ToolProcesses:
    """The processes of one worker. `modules` are imported before the first call."""

    def __init__(self, tools: Iterable[Tool] = (), *, processes_max: int = PROCESSES_MAX) -> None:
        addresses = [address_of(tool) for tool in tools if not tool.is_async]
        self._modules = {address[0] for address in addresses if address}
        self._slots = asyncio.Semaphore(processes_max)
        self._idle: list[ToolProcess] = []
        self._all: set[ToolProcess] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unloaded: set[str] = set()
        self._closed = False

    def takes(self, tool: Tool) -> bool:
        """Whether this tool runs in a process: one that a process can find by its name."""
        return not self._closed and tool.name not in self._unloaded and bool(address_of(tool))

    def cannot_load(self, tool: Tool, why: str) -> None:
        """Run this tool in threads from now on."""
        if tool.name not in self._unloaded:
            self._unloaded.add(tool.name)
            log.warning("tool %s runs in a thread: its process can't load it: %s", tool.name, why)

    def warm(self) -> None:
        """Start a process ahead of the first call."""
        if self._modules and not self._idle:
            self._spare()

    @contextlib.asynccontextmanager
    async def one(self, tool: Tool) -> AsyncIterator[ToolProcess]:
        """A process for one call of this tool. Raises ToolFailed, before the call has begun, where
        none is free or can be started in time.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                await self._slots.acquire()
        except TimeoutError:
            raise ToolFailed(
                f"The call was not begun: no process for tools became free in {WAIT_S:.0f} s."
            ) from None
        try:
            process = self._take() or await self._start()
            if tool.check is not None and not self._idle and not self._closed:
                self._spare()  # a call that is stopped is asked about at once
            try:
                yield process
            finally:
                self._give_back(process)
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Kill every process."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        ending = list(self._all)
        for process in ending:
            process.kill()
        await asyncio.gather(*(process.ended() for process in ending))
        self._idle.clear()
        self._all.clear()

    def _take(self) -> ToolProcess | None:
        while self._idle:
            process = self._idle.pop()
            if process.is_running:
                return process
            self._drop(process)
        return None

    async def _start(self) -> ToolProcess:
        if self._closed:
            raise ToolFailed("The worker is ending.")
        process = await ToolProcess.start(self._modules)
        self._all.add(process)
        return process

    def _give_back(self, process: ToolProcess) -> None:
        is_worn = process.calls >= CALLS_MAX or len(self._idle) >= IDLE_MAX
        if process.is_usable and not is_worn and not self._closed:
            self._idle.append(process)
            return
        self._drop(process)
        if not self._idle and not self._closed:
            self._spare()  # the next call need not wait for a new one

    def _drop(self, process: ToolProcess) -> None:
        process.kill()
        self._keep(self._forget(process))

    async def _forget(self, process: ToolProcess) -> None:
        await process.ended()
        self._all.discard(process)

    def _spare(self) -> None:
        async def start() -> None:
            try:
                self._idle.append(await self._start())
            except ToolFailed as error:
                log.warning("%s", error)

        self._keep(start())

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
