"""Background tasks of a fake: started, counted, and cancelled when the fake stops."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

RUNNING_MAX = 10_000

T = TypeVar("T")


class Tasks:
    """Running tasks of one kind, at most RUNNING_MAX. name: what they are, in the plural."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start a task; RuntimeError when RUNNING_MAX tasks run."""
        if len(self._running) >= RUNNING_MAX:
            work.close()
            raise RuntimeError(f"more than {RUNNING_MAX} {self._name} are under way")
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def stop(self) -> None:
        """Cancel all tasks and wait for their end."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
