"""Synchronous tools: each runs in a thread of its own that a stop can interrupt."""

import asyncio
import contextlib
import contextvars
import ctypes
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

# After a stop a thread may first return by itself, having seen `ctx.stopped`; then it is
# interrupted; then it is left behind, for it is blocked in code that Python can't reach.
RETURN_GRACE_S: Final = 0.1
LEAVE_GRACE_S: Final = 0.3
# Set in a simulation, where a thread's end would come at any moment: the function runs at once.
without_threads: ContextVar[bool] = ContextVar("without_threads", default=False)


class Interrupted(BaseException):
    """Raised inside a synchronous tool's thread at its next bytecode when the call is stopped."""


async def run_in_thread(
    function: Callable[[], Any], name: str, on_stop: Callable[[], None] = lambda: None
) -> Any:
    """The function's result. Cancelled, it calls `on_stop` and ends the thread as above.

    A function that returns within its grace still gives its result: it knows best what it did.
    A thread per call rather than a pool: an abandoned one must not take a slot from the next call,
    and a daemon does not hold up the worker's exit. The worker's bound on concurrent activities
    bounds the threads.
    """
    if without_threads.get():
        return function()
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: Any, error: BaseException | None) -> None:
        if outcome.done():
            return
        if isinstance(error, Interrupted):
            outcome.cancel()
        elif isinstance(error, StopIteration | asyncio.CancelledError):  # no future takes these
            outcome.set_exception(RuntimeError(f"it raised {type(error).__name__}"))
        elif error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)

    def body() -> None:
        # An interrupt may still arrive after the function's end; it has nothing left to end then.
        with contextlib.suppress(Interrupted):
            done: tuple[Any, BaseException | None]
            try:
                done = (context.run(function), None)
            except BaseException as error:
                done = (None, error)
            with contextlib.suppress(RuntimeError):  # the loop closed: nobody waits any more
                loop.call_soon_threadsafe(settle, *done)

    thread = threading.Thread(target=body, name=f"tool {name}", daemon=True)
    thread.start()
    try:
        return await asyncio.shield(outcome)
    except asyncio.CancelledError:
        on_stop()
        await asyncio.wait([outcome], timeout=RETURN_GRACE_S)
        if not outcome.done() and thread.is_alive():
            _interrupt(thread)
            await asyncio.wait([outcome], timeout=LEAVE_GRACE_S)
        if outcome.done() and not outcome.cancelled() and outcome.exception() is None:
            return outcome.result()
        raise


def _interrupt(thread: threading.Thread) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupted)
    )
