"""Start child processes in the order of readiness, keep them running, stop them in reverse."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from roost_platform.stack.process_log import ProcessLog
from roost_platform.stack.reporter import Reporter
from roost_platform.stack.supervised import Bounds, Probe, ProcessSpec, SupervisedProcess

__all__ = ["Bounds", "Probe", "ProcessSpec", "Supervisor"]


class Supervisor:
    """Runs processes in the given order. Use: start, then wait, then stop."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        logs: Path,
        reporter: Reporter,
        bounds: Bounds | None = None,
        on_pids: Callable[[Mapping[str, int]], None] | None = None,
    ) -> None:
        """on_pids: is told which processes run, by name, whenever that changes."""
        self.children: list[SupervisedProcess] = []
        self._on_pids = on_pids
        self._reporter = reporter
        self._bounds = bounds or Bounds()
        self._logs = logs
        self.children = [self._child(spec) for spec in specs]
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def pids(self) -> dict[str, int]:
        """The pids of the processes that run now, by name."""
        return {child.spec.name: child.pid for child in self.children if child.pid}

    async def run_once(self, spec: ProcessSpec) -> None:
        """Run a process that prepares something and ends; raises ProcessFailed."""
        child = self._child(spec)
        self._reporter.starting(spec.name)
        began = time.monotonic()
        try:
            await child.run_to_end()
        except asyncio.CancelledError:
            child.kill()
            raise
        self._reporter.ready(spec.name, time.monotonic() - began)

    async def start(self) -> None:
        """Start each process once the one before it is ready; raises ProcessFailed."""
        for child in self.children:
            self._reporter.starting(child.spec.name)
            began = time.monotonic()
            self._tasks[child.spec.name] = asyncio.create_task(child.keep_running())
            waiter = asyncio.create_task(child.ready.wait())
            try:
                await asyncio.wait(
                    {waiter, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                waiter.cancel()
            self._raise_failure()
            self._reporter.ready(child.spec.name, time.monotonic() - began)

    async def wait(self) -> None:
        """Wait until a process can't be kept running; raises ProcessFailed."""
        await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        self._raise_failure()

    async def restart(self, name: str) -> None:
        """Stop a process in order and start it again; one that is down comes up anyway."""
        for child in self.children:
            if child.spec.name == name and name in self._tasks:
                await child.restart()

    async def stop(self) -> None:
        """Stop what runs, the last started first."""
        for child in reversed(self.children):
            task = self._tasks.get(child.spec.name)
            if task is None:
                continue
            task.cancel()
            await asyncio.wait({task})
            self._reporter.stopping(child.spec.name)
            await child.stop()
        self._tasks.clear()

    def kill(self) -> None:
        """End everything at once."""
        for child in self.children:
            child.kill()

    def _child(self, spec: ProcessSpec) -> SupervisedProcess:
        log = ProcessLog(self._logs / f"{spec.name}.log")
        return SupervisedProcess(spec, log, self._reporter, self._bounds, self._tell_pids)

    def _tell_pids(self) -> None:
        if self._on_pids is not None:
            self._on_pids(self.pids())

    def _raise_failure(self) -> None:
        for task in self._tasks.values():
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error
