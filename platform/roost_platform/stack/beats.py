"""Listen to a child's signs of life, to tell a process that is stuck from one that works."""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from typing import Final

from roost_platform.rhythm import until_beat

READ_BYTES: Final = 4096
ASKED_TIMES: Final = 8  # a child that is asked is asked so often within its longest silence


class Beats:
    """The pipe that a child writes its beats to, and when the last one came. Times are monotonic.

    silence_max_s: how long without a beat counts as silence.
    alive: asked as well, for a child that does not beat by itself.
    look_s: the time between two looks, if the child is not asked.
    pause_s: a look that is this late means that this process was stopped itself, with the child or
        without it; the silence then starts over.
    """

    def __init__(
        self,
        silence_max_s: float,
        alive: Callable[[], Awaitable[bool]] | None,
        look_s: float,
        pause_s: float,
    ) -> None:
        self._silence_max_s = silence_max_s
        self._alive = alive
        self._look_s = min(look_s, silence_max_s / 4)
        if alive is not None:  # asking wakes the child as well
            self._look_s = silence_max_s / ASKED_TIMES
        self._pause_s = pause_s
        self._heard_at = time.monotonic()
        self._pipe, self.child_end = os.pipe()
        os.set_blocking(self._pipe, False)
        asyncio.get_running_loop().add_reader(self._pipe, self._hear)

    def started(self) -> None:
        """Close our copy of the child's end: the child has started, or never will."""
        os.close(self.child_end)

    async def until_silent(self) -> None:
        """Return once the child was silent for too long, counted from this call on."""
        self._heard_at = looked_at = time.monotonic()
        while time.monotonic() - self._heard_at <= self._silence_max_s:
            look_s = until_beat(self._look_s)  # when the children beat
            await asyncio.sleep(look_s)
            if time.monotonic() - looked_at > look_s + self._pause_s:
                self._heard_at = time.monotonic()
            if self._alive is not None and await self._alive():
                self._heard_at = time.monotonic()
            looked_at = time.monotonic()

    def close(self) -> None:
        """Stop listening and close the pipe."""
        if self._pipe >= 0:
            asyncio.get_running_loop().remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if os.read(self._pipe, READ_BYTES):
                self._heard_at = time.monotonic()
            else:  # no process holds the other end any more
                asyncio.get_running_loop().remove_reader(self._pipe)
