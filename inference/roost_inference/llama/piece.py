"""A piece of a prompt that is computed beside steps, on threads that give way to them.

Each piece has a thread of its own that ends with it. libgomp keeps a team of compute threads for
every thread that has ever computed, and with more of them than cores it lets all of them sleep
where they should spin: the steps of the answers would be slower for ever after.

The piece pauses for a step at the next operation of its graph, which may be tens of milliseconds
away. Until then its low priority leaves most of the cores to the step.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from roost_inference.backend import DecodeStatus
from roost_inference.batch import Batch
from roost_inference.llama import bindings
from roost_inference.llama.context import LlamaContext

# How much nicer the threads of a piece are than others: a step gets three quarters of a core. With
# 2, 10 and 19 a prompt of 4,000 tokens came a tenth later beside four answers, on two cores.
NICER = 5
# A piece that gets less than this part of its core while it does not pause shares it with another
# program, and at that priority it would starve: the next pieces have the usual one, until a piece
# gets this much again.
STARVED, SERVED = 0.4, 0.9


class BackgroundPiece:
    """Decodes one batch at a time in the background. Used by one thread, which is not its own."""

    def __init__(self, context: LlamaContext, sequence: int, flag: Any) -> None:
        """sequence: the id that all rows get; flag: the abort flag that decodes in the foreground
        watch."""
        self._context, self._sequence, self._flag = context, sequence, flag
        self._gate = bindings.Gate()
        self._result: Future[DecodeStatus] | None = None
        self._paused_s = 0.0
        # Whether the next piece has a low priority.
        self.gives_way = True

    @property
    def is_busy(self) -> bool:
        """Whether a piece is being computed, or has ended and was not finished."""
        return self._result is not None

    def begin(self, batch: Batch, threads: int, on_end: Callable[[], None]) -> None:
        """Start to compute the batch with so many threads. on_end: called by the thread of the
        piece when it has ended."""
        self._context.threads_max = threads
        self._gate.open()
        self._context.pass_gate(self._gate)
        self._paused_s = 0.0
        thread = ThreadPoolExecutor(1, thread_name_prefix="prefill")
        self._result = thread.submit(self._compute, batch, nicer=NICER if self.gives_way else 0)
        self._result.add_done_callback(lambda _: on_end())
        thread.shutdown(wait=False)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Meanwhile the piece, if there is one, makes no progress from the end of its current
        operation on."""
        if self._result is None:
            yield
            return
        began = time.perf_counter()
        with self._gate.held():
            yield
        self._paused_s += time.perf_counter() - began

    def stop(self) -> None:
        """Let the piece end within milliseconds; `finish` is to follow."""
        self._gate.end()

    def finish(self, *, wait: bool) -> DecodeStatus | None:
        """How the piece ended, None if it is still being computed. Raises what decoding raised."""
        result = self._result
        if result is None or not (wait or result.done()):
            return None
        try:
            return result.result()
        finally:
            self._result = self._context.threads_max = None
            self._context.set_abort_flag(self._flag)

    def close(self) -> None:
        """End the piece being computed; safe to call twice."""
        if self._result is not None:
            self.stop()
            self._result.exception()
            self._result = None
            self._context.set_abort_flag(self._flag)
        self._gate.close()

    def _compute(self, batch: Batch, nicer: int) -> DecodeStatus:
        # Elsewhere it would be the whole process. The threads that llama.cpp starts inherit it.
        if nicer and sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + nicer)
        began, computed = time.perf_counter(), time.thread_time()
        status = self._context.decode(batch, sequence=self._sequence)
        elapsed_s = time.perf_counter() - began - self._paused_s
        self._judge((time.thread_time() - computed) / elapsed_s if elapsed_s > 0 else 1.0)
        return status

    def _judge(self, share: float) -> None:
        """share: the part of its core that the piece has got, while it did not pause."""
        self.gives_way = share >= (STARVED if self.gives_way else SERVED)
