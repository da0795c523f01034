"""The queue of updates: growing ids, offsets that confirm, one long poll at a time."""

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
    """A queued update; updates of one `lane`, a chat, keep their order in webhooks."""

    update_id: int
    kind: str
    payload: dict[str, Any]
    expires_at: float
    lane: str

    def to_json(self) -> dict[str, Any]:
        """The Update object."""
        return {"update_id": self.update_id, self.kind: self.payload}


class UpdateQueue:
    """Users' actions fill it; getUpdates or the webhook drains it."""

    def __init__(
        self, clock: Clock, first_id: int = 1000, stretch_empty_polls: bool = True
    ) -> None:
        self._clock = clock
        self.next_id = first_id
        self._stretch = stretch_empty_polls
        self.pending: deque[Update] = deque()
        self.allowed = DEFAULT_TYPES
        self.arrived = asyncio.Event()
        self._polling: _Poll | None = None
        self._last_offset: int | None = None
        self._last_start = float("-inf")
        self._next_conflict_at = 0.0
        self._withheld: Update | None = None
        self._releasing: asyncio.Future[None] | None = None
        self._duplicates: deque[Update] = deque()

    @property
    def polling(self) -> bool:
        """Whether a long poll waits now."""
        return self._polling is not None

    def add(self, kind: str, payload: dict[str, Any], lane: str, fault: str = "") -> int | None:
        """Queue an update; returns its id, or None when allowed_updates leaves it out.

        fault: duplicate_update delivers it once more after it was confirmed, under the same id;
            out_of_order holds it back until the next update has passed it, at most two seconds.
        Raises RuntimeError when QUEUE_MAX updates wait.
        """
        if kind not in self.allowed:
            return None
        if len(self.pending) >= QUEUE_MAX:
            raise RuntimeError(f"more than {QUEUE_MAX} updates wait")
        lifetime = CALLBACK_LIFETIME_S if kind == "callback_query" else MESSAGE_LIFETIME_S
        update = Update(self.next_id, kind, payload, self._clock.time() + lifetime, lane)
        self.next_id += 1
        if fault == "out_of_order" and self._withheld is None:
            self._withheld = update
            self._releasing = asyncio.ensure_future(self._release_later())
            return update.update_id
        self.pending.append(update)
        if fault == "duplicate_update":
            self._duplicates.append(update)
        self.release_withheld()
        self._wake()
        return update.update_id

    async def _release_later(self) -> None:
        await self._clock.sleep(OUT_OF_ORDER_MAX_S)
        self.release_withheld()
        self._wake()

    def stop(self) -> None:
        """Cancel the timer of an update that is held back."""
        if self._releasing is not None:
            self._releasing.cancel()

    def release_withheld(self) -> None:
        """Queue the update that an out_of_order fault held back, under a new id."""
        if self._withheld is not None:
            update, self._withheld = self._withheld, None
            update.update_id = self.next_id
            self.next_id += 1
            self.pending.append(update)

    def take_duplicates(self, confirmed: int) -> list[Update]:
        """Updates below the id `confirmed` that must be delivered a second time."""
        duplicates = [update for update in self._duplicates if update.update_id < confirmed]
        for update in duplicates:
            self._duplicates.remove(update)
        return duplicates

    def allow(self, parameters: Parameters) -> bool:
        """Set allowed_updates if the call has them; True when that changed the set."""
        if "allowed_updates" not in parameters:
            return False
        listed = parameters.json("allowed_updates", "can't parse allowed updates JSON object")
        if not isinstance(listed, list):
            return False
        before = self.allowed
        self.allowed = frozenset(kind for kind in listed if kind in UPDATE_TYPES) or DEFAULT_TYPES
        return before != self.allowed

    def forget_expired(self) -> None:
        """Drop updates whose lifetime is over."""
        now = self._clock.time()
        if any(update.expires_at < now for update in self.pending):
            self.pending = deque(update for update in self.pending if update.expires_at >= now)

    def keep_last(self, count: int) -> None:
        """Drop all but the last `count` updates."""
        while len(self.pending) > count:
            self.pending.popleft()

    async def get(self, parameters: Parameters) -> list[dict[str, Any]]:
        """Answer getUpdates: confirm up to the offset, then return updates or wait for one."""
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
        updates = [update.to_json() for update in self.take_duplicates(offset)] + self._first(limit)
        if updates or timeout == 0:
            return updates
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
        self.release_withheld()
        self._confirm(max(offset, 0))
        return self._first(limit)

    def end_poll(self, why: str) -> None:
        """End the waiting poll with a conflict; `why` is its text."""
        if self._polling is not None:
            self._polling.ended_by = why
            self._polling.wake.set()
            self._polling = None

    async def conflict(self, text: str) -> Exception:
        """The 409 error; a second one within 3 s comes 3 s later."""
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
