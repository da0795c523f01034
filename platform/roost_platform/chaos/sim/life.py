"""A simulated process, which may die at any await on storage or network and then acts no more.

Its tasks are known by the context in which they were created. The tasks of a dead process get
CancelledError from every port, so nothing that runs while they unwind has an effect, as after
kill -9.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

UNWIND_ROUNDS_MAX = 200

_LIFE: ContextVar["Life | None"] = ContextVar("life", default=None)


class Life:
    """One run of one process. `crash` decides at every await whether it dies there."""

    def __init__(self, part: str, crash: Callable[["Life"], bool], pause: Callable[[], float]):
        self.part = part
        self.is_dead = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self._crash = crash
        self._pause = pause

    async def point(self) -> None:
        """An await of this process: time passes, other tasks run, and it may die here."""
        self.must_live()
        if self._crash(self):
            self.die()
        self.must_live()
        await asyncio.sleep(self._pause())
        self.must_live()

    def must_live(self) -> None:
        """Raise CancelledError in a task of a dead process."""
        if self.is_dead:
            raise asyncio.CancelledError

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of this process."""
        context = copy_context()
        context.run(_LIFE.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    def die(self) -> None:
        """kill -9: from now on none of its tasks reaches storage or network."""
        if not self.is_dead:
            self.is_dead = True
            outside(self._bury())

    async def _bury(self) -> None:
        for _ in range(UNWIND_ROUNDS_MAX):
            left = [task for task in self.tasks if not task.done()]
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.sleep(0)
        raise RuntimeError(f"tasks of a dead {self.part} do not end: {left}")


def outside(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task that belongs to no process and survives them all."""
    return asyncio.get_running_loop().create_task(work, context=Context())


def know_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Make the loop add each new task to the process that creates it."""

    def factory(
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Any],
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
        life = _LIFE.get() if context is None else context.get(_LIFE)
        if life is not None:
            life.tasks.add(task)
            task.add_done_callback(life.tasks.discard)
        return task

    loop.set_task_factory(factory)  # type: ignore[arg-type]
