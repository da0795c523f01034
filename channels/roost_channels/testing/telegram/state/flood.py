"""Flood control: limits per bot, chat and kind of call, and the waits they ask for."""

import math
from collections import deque
from dataclasses import dataclass

from roost_channels.testing.telegram.errors import too_many_requests

PENALTY_MAX_S = 1800


@dataclass(frozen=True, slots=True)
class Window:
    """At most `calls` in any `seconds`."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FloodLimits:
    """The windows of each kind of call; an empty tuple, the default, is no limit.

    private, group: messages to one chat; the topics of a forum count as one chat.
    bot: messages to all chats.
    typing: chat actions and drafts of one chat together.
    edit_private, edit_group: edits in one chat.
    penalty_s: how much each call inside a wait lengthens it.
    """

    private: tuple[Window, ...] = ()
    group: tuple[Window, ...] = ()
    bot: tuple[Window, ...] = ()
    typing: tuple[Window, ...] = ()
    edit_private: tuple[Window, ...] = ()
    edit_group: tuple[Window, ...] = ()
    penalty_s: int = 0

    @classmethod
    def documented(cls) -> "FloodLimits":
        """Limits from Telegram's FAQ and from measurements; Telegram publishes no exact ones."""
        return cls(
            private=(Window(5, 5.0),),
            group=(Window(20, 60.0),),
            bot=(Window(30, 1.0),),
            typing=(Window(20, 5.0), Window(40, 30.0)),
            edit_private=(Window(10, 10.0),),
            edit_group=(Window(20, 60.0),),
        )


class FloodControl:
    """Counts calls per bucket; a bucket over its limit stays closed until its wait ends."""

    def __init__(self, limits: FloodLimits) -> None:
        self.limits = limits
        self._closed_until: dict[str, float] = {}
        self._announced: dict[str, float] = {}
        self._calls: dict[str, deque[float]] = {}

    def announce(self, bucket: str, until: float) -> None:
        """Remember the wait that a response asks for, so that early calls are noticed."""
        self._announced[bucket] = max(until, self._announced.get(bucket, 0.0))

    def wait_until(self, bucket: str) -> float:
        """When the wait that was announced for the bucket ends."""
        return self._announced.get(bucket, 0.0)

    def send(self, chat_id: int, private: bool, now: float, messages: int = 1) -> None:
        """Count messages to a chat; BotApiError 429 when closed. An album passes as a whole."""
        self._spend(
            now,
            (f"send:{chat_id}", self.limits.private if private else self.limits.group),
            ("send", self.limits.bot),
            count=messages,
        )

    def edit(self, chat_id: int, private: bool, now: float) -> None:
        """Count an edit in a chat; BotApiError 429 when the bucket is closed."""
        limits = self.limits.edit_private if private else self.limits.edit_group
        self._spend(now, (f"edit:{chat_id}", limits))

    def typing(self, chat_id: int, now: float) -> None:
        """Count a chat action or draft; BotApiError 429 when the bucket is closed."""
        self._spend(now, (f"typing:{chat_id}", self.limits.typing))

    def _spend(self, now: float, *buckets: tuple[str, tuple[Window, ...]], count: int = 1) -> None:
        for bucket, windows in buckets:
            closed = self._closed_until.get(bucket, 0.0) - now
            wait = max(self._wait(bucket, windows, now), closed)
            if wait > 0:
                seconds = max(1, math.ceil(wait))
                if closed > 0:
                    # Each call inside the wait makes the wait longer.
                    seconds = min(seconds + self.limits.penalty_s, PENALTY_MAX_S)
                self._closed_until[bucket] = now + seconds
                self.announce(bucket, now + seconds)
                raise too_many_requests(seconds)
        for bucket, windows in buckets:
            if windows:
                longest = max(window.calls for window in windows)
                times = self._calls.setdefault(bucket, deque(maxlen=longest))
                times.extend(now for _ in range(count))

    def _wait(self, bucket: str, windows: tuple[Window, ...], now: float) -> float:
        calls = self._calls.get(bucket, deque())
        wait = 0.0
        for window in windows:
            if len(calls) >= window.calls:
                wait = max(wait, calls[-window.calls] + window.seconds - now)
        return wait
