"""Runs a process that answers requests: libuv's event loop, and a heap that is not walked again."""

import asyncio
import gc
import sys
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import uvloop

# How long a thread keeps the interpreter when the event loop wants it. Python's own 5 ms come up
# dozens of times in a request, so that one page that takes long would delay all others.
SWITCH_INTERVAL_S: Final = 0.0005
# New objects before the collector looks at them; Python's own 700 come up in every request.
YOUNG_MAX: Final = 10_000

T = TypeVar("T")


def run_serving(main: Coroutine[Any, Any, T]) -> T:
    """Run this in an event loop made for many connections; what it returns."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def settle_heap() -> None:
    """All that lives now stays until the end: the collector need not walk it for each request."""
    gc.collect()
    gc.freeze()
    _, middle, old = gc.get_threshold()
    gc.set_threshold(YOUNG_MAX, middle, old)
