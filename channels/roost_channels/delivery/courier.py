"""Runs the delivery lanes: each chat's messages go out in order, one in flight."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from functools import partial

from roost_channels.channel import Channel, Grouping
from roost_channels.clock import Clock
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.edits import edits_in_place, is_needless
from roost_channels.delivery.ledger import Ledger
from roost_channels.delivery.limits import Limiter
from roost_channels.delivery.parts import album_of, planned
from roost_channels.delivery.sender import PartSender, ReportState
from roost_channels.delivery.settler import Settler
from roost_channels.message import Address
from roost_channels.outbox import UNFINISHED, Outbox, OutboxEntry, StoredPart

logger = logging.getLogger(__name__)

# A lane sleeps through waits up to this long; for longer ones it ends and is started again.
LANE_WAIT_MAX_S = 2.0
FAULT_PAUSE_S = 1.0
# Between two looks at a status message that another courier is showing right now.
STATUS_PAUSE_S = 0.1
# Commits wake the courier at once. It looks again this often while something is due later, as the
# clock may be set, and while nothing is.
LATER_S = 30.0
IDLE_S = 300.0
# A waiting lane is looked at again at least this often, as newer work may have changed its turn.
DEFER_MAX_S = 2.0
# After a look for due lanes the courier rests this many times as long as the look took. Under load
# there is always news, and looking would take the time of delivering.
REST = 4.0
REST_MAX_S = 0.25


class Courier:
    """Empties the outbox of some accounts: at most `lanes_max` chats at the same time.

    ledger: shared with the ProgressRenderer of the same process.
    stop: once it is set, nothing new begins; operations in flight end.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        outbox: Outbox,
        owner: str,
        clock: Clock | None = None,
        config: DeliveryConfig | None = None,
        *,
        limiter: Limiter | None = None,
        report: ReportState | None = None,
        stop: asyncio.Event | None = None,
    ) -> None:
        self._channels = {(channel.name, channel.account): channel for channel in channels}
        self.ledger = Ledger(outbox, clock, config, limiter=limiter, stop=stop)
        self._outbox = outbox
        self._owner = owner
        self._clock = self.ledger.clock
        self._config = self.ledger.config
        self._stop = self.ledger.stop
        self._sender = PartSender(self.ledger, owner, report)
        self._settler = Settler(self.ledger)
        self._tasks: dict[Address, asyncio.Task[None]] = {}
        # Lanes that asked to be left alone for a while; never more than lanes that are due.
        self._not_before: dict[Address, float] = {}
        self._freed = asyncio.Event()
        # Lanes that only wait: they end at once when the courier stops.
        self._resting: set[Address] = set()

    async def run(self) -> None:
        """Deliver for ever. Cancelled, it lets sends in flight finish for `shutdown_s`."""
        doubtful = await self._outbox.recover(self._owner)
        await self.ledger.recall_waits(tuple(self._channels))
        if doubtful:
            logger.warning("%d sends of an earlier courier have an unknown outcome", doubtful)
        try:
            await self._outbox.wait(0)  # from here on no commit is missed
            while True:
                began = self._clock.time()
                try:
                    await self.step()
                except Exception:
                    logger.exception("looking for due lanes failed")
                    await self._clock.sleep(FAULT_PAUSE_S)
                took_s = self._clock.time() - began
                await self._clock.sleep(min(REST * took_s, REST_MAX_S))
                await self._wait()
        finally:
            await self.close()

    async def step(self) -> int:
        """Start a lane for every chat with due work; returns how many were started."""
        if self._stop.is_set():
            return 0
        now = self._clock.time()
        self._not_before = {
            address: at
            for address, at in self._not_before.items()
            if now < at <= now + DEFER_MAX_S  # later than that only where the clock was set back
        }
        started = 0
        for address in await self._outbox.due(tuple(self._channels), now):
            if len(self._tasks) >= self._config.lanes_max or self._stop.is_set():
                break
            channel = self._channels.get((address.channel, address.account))
            if channel is None or address in self._tasks or address in self._not_before:
                continue
            if self._sender.paused_until(channel) > now:
                continue
            task = asyncio.create_task(self._lane(channel, address))
            self._tasks[address] = task
            task.add_done_callback(partial(self._ended, address))
            started += 1
        return started

    async def drain(self) -> None:
        """Deliver all that is due now, then return."""
        while await self.step() or self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Begin nothing more, let operations in flight finish, and cancel those that last too long.

        Sends that a provider took are recorded; else the next courier would have to doubt them.
        """
        self._stop.set()
        for address in self._resting:
            self._tasks[address].cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.shutdown_s):
                while self._tasks:
                    await asyncio.wait(self._tasks.values())
                await self.ledger.record_all_kept()
        if self._tasks:
            logger.warning("%d sends were cut off; their outcome is unknown", len(self._tasks))
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _lane(self, channel: Channel, address: Address) -> None:
        """Deliver the chat's entries in order, until none is due."""
        while not self._stop.is_set():
            head = await self._outbox.next_entry(address)
            if head is None:
                return
            again = await self._advance(channel, address, *head)
            if again is None:
                continue
            wait = again - self._clock.time()
            if wait > LANE_WAIT_MAX_S:
                self._not_before[address] = min(again, self._clock.time() + DEFER_MAX_S)
                return
            if wait > 0 and not self._stop.is_set():
                with self._rest(address):
                    await self._clock.sleep(wait)

    async def _advance(
        self,
        channel: Channel,
        address: Address,
        entry: OutboxEntry,
        parts: Sequence[StoredPart],
    ) -> float | None:
        """One step of an entry: plan it, send its next part, or settle an uncertain one."""
        if is_needless(channel, entry):
            await self._outbox.skip(entry.id)
            return None
        if not parts:
            rendered = await planned(entry, channel)
            if edits_in_place(channel, entry):
                rendered = rendered[:1]  # one message can't become two
            parts = await self._outbox.plan(entry.id, rendered)
            if not parts:
                return None  # it was stopped meanwhile
        now = self._clock.time()
        part = next((part for part in parts if part.state in UNFINISHED), None)
        if part is not None and await self.ledger.record_kept(part):
            return None
        if part is None:
            return now + LANE_WAIT_MAX_S + FAULT_PAUSE_S
        group = album_of(parts, part) if isinstance(channel, Grouping) else (part,)
        if any(one.state == "sending" for one in group):
            return now + LANE_WAIT_MAX_S + FAULT_PAUSE_S
        # An album is sent as a whole, so its parts in doubt are settled first.
        doubtful = next((one for one in group if one.state == "ambiguous"), None)
        due_at = doubtful.next_at if doubtful else max(one.next_at for one in group)
        if due_at > now:
            return due_at
        until = self._sender.paused_until(channel)
        if until > now:
            return until
        async with self.ledger.lanes.lock(entry.address):
            if self._stop.is_set():
                return now
            if await self.ledger.is_status_under_way(entry):
                return self._clock.time() + STATUS_PAUSE_S
            with self._rest(address):
                again = await self._sender.free_at(channel, entry, None if doubtful else part)
            if again is not None:
                return again
            if self._stop.is_set():
                return now
            if doubtful:
                return await self._settler.settle(channel, entry, doubtful)
            return await self._sender.send(channel, entry, group)

    @contextlib.contextmanager
    def _rest(self, address: Address) -> Iterator[None]:
        """The lane only waits inside the block: cancelling it there loses nothing."""
        self._resting.add(address)
        try:
            yield
        finally:
            self._resting.discard(address)

    def _ended(self, address: Address, task: asyncio.Task[None]) -> None:
        self._tasks.pop(address, None)
        self._freed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("lane %s failed and goes on soon", address.key, exc_info=error)
            self._not_before[address] = self._clock.time() + FAULT_PAUSE_S

    async def _rest_s(self) -> float:
        """How long nothing is to be done unless something changes, in seconds."""
        now = self._clock.time()
        due_at = await self._next_due()
        if not self._tasks and not self._not_before and due_at > now:
            return IDLE_S if due_at == math.inf else min(due_at - now, LATER_S)
        nearest = min(self._not_before.values(), default=now + self._config.poll_s)
        return min(max(nearest - now, 0.01), self._config.poll_s)

    async def _next_due(self) -> float:
        try:
            return await self._outbox.next_due(tuple(self._channels))
        except Exception:
            logger.exception("looking for the next lane failed")
            return 0.0

    async def _wait(self) -> None:
        """Wait until something may have changed, a lane ended, or a waiting lane may go on."""
        timeout = await self._rest_s()
        self._freed.clear()
        waits = (
            asyncio.create_task(self._outbox.wait(timeout)),
            asyncio.create_task(self._freed.wait()),
        )
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        if any(not task.cancelled() and task.exception() for task in done):
            await self._clock.sleep(FAULT_PAUSE_S)
