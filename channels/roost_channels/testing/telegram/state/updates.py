"""The queue of updates: ids that only grow, offsets that confirm, one long poll at a time."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from roost_channels.testing.clock import Clock, wait_for_event
from roost_channels.testing.faults import OUT_OF_ORDER_MAX_S
from roost_channels.testing.telegram.errors import conflict
from roost_channels.testing.telegram.parameters import Parameters

LONG_POLL_MAX_S = 50
MESSAGE_LIFETIME_S = 86400.0
CALLBACK_LIFETIME_S = 150.0
QUEUE_MAX = 100_000
CONFLICT_PAUSE_S = 3.0
UPDATE_TYPES = (
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "inline_query",
    "chosen_inline_result",
    "callback_query",
    "my_chat_member",
    "chat_member",
    "message_reaction",
    "message_reaction_count",
    "stopped_message_generation",
)
NOT_BY_DEFAULT = {"chat_member", "message_reaction", "message_reaction_count"}
DEFAULT_TYPES = frozenset(UPDATE_TYPES) - NOT_BY_DEFAULT

WEBHOOK_ACTIVE = (
    "can't use getUpdates method while webhook is active; "
    "use deleteWebhook to delete the webhook first"
)
OTHER_POLL = (
    "terminated by other getUpdates request; make sure that only one bot instance is running"
)


@dataclass(slots=True)
class Update:
    """One queued update; `lane` keeps the order per chat when a webhook delivers."""

    update_id: int
    kind: str
    payload: dict[str, Any]
    expires_at: float
    lane: str

    def to_json(self) -> dict[str, Any]:
        return {"update_id": self.update_id, self.kind: self.payload}


class UpdateQueue:
    """Filled by people, drained by getUpdates or the webhook."""

    def __init__(
        self, clock: Clock, first_id: int = 1000, stretch_empty_polls: bool = True
    ) -> None:
        self._clock = clock
        self._next_id = first_id
        self._stretch = stretch_empty_polls
        self.pending: deque[Update] = deque()
        self.allowed = DEFAULT_TYPES
        self.arrived = asyncio.Event()
        self._polling: _Poll | None = None
        self._last_offset: int | None = None
        self._last_start = float("-inf")
        self._next_conflict_at = 0.0
        self._withheld: Update | None = None
        self._late: asyncio.Future[None] | None = None
        self._again: deque[Update] = deque()

    @property
    def polling(self) -> bool:
        return self._polling is not None

    def add(self, kind: str, payload: dict[str, Any], lane: str, fault: str = "") -> int | None:
        """Queue an update; None when allowed_updates leaves it out, else its id.

        duplicate_update: it is delivered once more after it was confirmed, under the same id.
        out_of_order: it waits until the next update has gone before it, at most two seconds.
        """
        if kind not in self.allowed:
            return None
        if len(self.pending) >= QUEUE_MAX:
            raise RuntimeError(f"more than {QUEUE_MAX} updates wait")
        lifetime = CALLBACK_LIFETIME_S if kind == "callback_query" else MESSAGE_LIFETIME_S
        update = Update(self._next_id, kind, payload, self._clock.time() + lifetime, lane)
        self._next_id += 1
        if fault == "out_of_order" and self._withheld is None:
            self._withheld = update
            self._late = asyncio.ensure_future(self._release_late())
            return update.update_id
        self.pending.append(update)
        if fault == "duplicate_update":
            self._again.append(update)
        self.release()
        self._wake()
        return update.update_id

    async def _release_late(self) -> None:
        await self._clock.sleep(OUT_OF_ORDER_MAX_S)
        self.release()
        self._wake()

    def stop(self) -> None:
        if self._late is not None:
            self._late.cancel()

    def release(self) -> None:
        """Queue what an out_of_order fault held back, with an id of its new place."""
        if self._withheld is not None:
            late, self._withheld = self._withheld, None
            late.update_id = self._next_id
            self._next_id += 1
            self.pending.append(late)

    def take_again(self, confirmed: int) -> list[Update]:
        """Confirmed updates that the network delivers a second time."""
        again = [update for update in self._again if update.update_id < confirmed]
        for update in again:
            self._again.remove(update)
        return again

    def allow(self, parameters: Parameters) -> bool:
        """allowed_updates stays until given again; unknown names count for nothing."""
        if "allowed_updates" not in parameters:
            return False
        listed = parameters.json("allowed_updates", "can't parse allowed updates JSON object")
        if not isinstance(listed, list):
            return False
        before = self.allowed
        self.allowed = frozenset(kind for kind in listed if kind in UPDATE_TYPES) or DEFAULT_TYPES
        return before != self.allowed

    def forget_expired(self) -> None:
        now = self._clock.time()
        if any(update.expires_at < now for update in self.pending):
            self.pending = deque(update for update in self.pending if update.expires_at >= now)

    def keep_last(self, count: int) -> None:
        while len(self.pending) > count:
            self.pending.popleft()

    async def get(self, parameters: Parameters) -> list[dict[str, Any]]:
        """getUpdates without a webhook: confirm, answer, or wait."""
        offset = parameters.integer("offset")
        limit = parameters.integer("limit", 100, 1, 100)
        timeout = parameters.integer("timeout", 0, 0, LONG_POLL_MAX_S)
        self.allow(parameters)
        now = self._clock.time()
        if self._stretch and offset == self._last_offset:
            if timeout < 3 and now < self._last_start + 3.0:
                timeout = 3
            if now < self._last_start + 0.5:
                limit = 1
        self._last_offset, self._last_start = offset, now
        self._confirm(offset)
        found = [update.to_json() for update in self.take_again(offset)] + self._first(limit)
        if found or timeout == 0:
            return found
        return await self._wait(offset, limit, timeout)

    def _confirm(self, offset: int) -> None:
        self.forget_expired()
        if offset < 0:
            self.keep_last(-offset)
        while offset > 0 and self.pending and self.pending[0].update_id < offset:
            self.pending.popleft()

    def _first(self, limit: int) -> list[dict[str, Any]]:
        return [update.to_json() for update, _ in zip(self.pending, range(limit), strict=False)]

    async def _wait(self, offset: int, limit: int, timeout: float) -> list[dict[str, Any]]:
        self.end_poll(OTHER_POLL)
        poll = _Poll(asyncio.Event())
        self._polling = poll
        try:
            await wait_for_event(poll.wake, self._clock, timeout)
        finally:
            if self._polling is poll:
                self._polling = None
        if poll.ended_by:
            raise await self.conflict(poll.ended_by)
        self.release()
        self._confirm(max(offset, 0))
        return self._first(limit)

    def end_poll(self, why: str) -> None:
        if self._polling is not None:
            self._polling.ended_by = why
            self._polling.wake.set()
            self._polling = None

    async def conflict(self, text: str) -> Exception:
        """409; a second one within 3 s is held back for 3 s."""
        now = self._clock.time()
        if now >= self._next_conflict_at:
            self._next_conflict_at = now + CONFLICT_PAUSE_S
        else:
            await self._clock.sleep(CONFLICT_PAUSE_S)
        return conflict(text)

    def _wake(self) -> None:
        self.arrived.set()
        if self._polling is not None:
            self._polling.wake.set()


@dataclass(slots=True)
class _Poll:
    wake: asyncio.Event
    ended_by: str = ""
