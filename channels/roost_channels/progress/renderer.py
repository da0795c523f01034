"""Shows running turns to people: typing, then one status message until the answer is sent."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from roost_channels.channel import Channel, Ordering, Outgoing, Reacting
from roost_channels.config import Progress
from roost_channels.delivery.ledger import Ledger
from roost_channels.errors import DeliveryError
from roost_channels.message import Address
from roost_channels.outbox import ProgressSnapshot, StatusMessage
from roost_channels.progress.drafts import TURNS_REMEMBERED_MAX, Drafts
from roost_channels.progress.guard import ProgressGuard
from roost_channels.progress.janitor import Janitor
from roost_channels.progress.status_messages import StatusMessages, stop_buttons
from roost_channels.progress.status_view import StatusView, view, with_text
from roost_channels.rendering.parts import RenderedPart

logger = logging.getLogger(__name__)

TICK_S = 0.25
TICK_LEAST_S = 0.1
# After a step it rests this many times as long as the step took, so that answers go first.
REST = 4.0
REST_MAX_S = 1.0
JANITOR_S = 5.0  # between two looks for status messages to close, while there are some
# With nothing to show or to close it looks again this often; commits wake it at once.
IDLE_S = 300.0
TURNS_SHOWN_MAX = 64
# A reaction is a first sign; a late one, after a restart, would only confuse.
REACT_WITHIN_S = 5.0
STILL_WORKING = "Still working on this. I will write when it is done."


class ProgressRenderer:
    """Shows the progress of running turns. Lossy: nothing here is retried, the latest view wins.

    ledger: the Courier's. One operation is in flight per chat, whoever begins it, and progress
        gives way to answers. Every turn is fenced: once its final is queued no more edits leave.
    modes: by (channel, account), what conversations see that chose nothing else: typing alone, a
        status message, or the answer as it is written. An account not in it has the status.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        ledger: Ledger,
        *,
        modes: Mapping[tuple[str, str], Progress] | None = None,
    ) -> None:
        self._channels = {(channel.name, channel.account): channel for channel in channels}
        self._ledger = ledger
        self._outbox = ledger.outbox
        self._clock = ledger.clock
        self._config = ledger.config
        self._stop = ledger.stop
        self._modes = dict(modes or {})
        self._typed: OrderedDict[str, float] = OrderedDict()
        self._reacted: OrderedDict[str, float] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._swept_at = 0.0
        self._is_swept = False  # the last step looked for orphans and found none
        self._guard = ProgressGuard(ledger)
        self._statuses = StatusMessages(self._guard)
        self._drafts = Drafts(self._guard)
        self._janitor = Janitor(self._guard)

    async def run(self) -> None:
        """Show progress for ever, after reading which chats asked an earlier process to wait.

        Cancelled, it begins nothing more and lets operations in flight finish for `shutdown_s`: a
        status message whose id is never stored would stay in the chat for ever.
        """
        knows_waits = shows = False
        try:
            while True:
                began = self._clock.time()
                try:
                    if not knows_waits:
                        await self._outbox.wait(0)  # from here on no commit is missed
                        await self._ledger.recall_waits(tuple(self._channels))
                        knows_waits = True
                    shows = await self.step()
                except Exception:
                    logger.exception("progress could not be read")
                    self._is_swept = False  # it is looked again soon
                    await self._clock.sleep(1.0)
                took_s = self._clock.time() - began
                await self._clock.sleep(max(TICK_LEAST_S, min(REST * took_s, REST_MAX_S)))
                await self._outbox.wait(self._rest_s(shows))
        finally:
            self._stop.set()
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=self._config.shutdown_s)
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def step(self) -> bool:
        """Start what each turn needs now, except for turns whose last operation still runs; returns
        whether there is any turn to show.
        """
        now = self._clock.time()
        accounts = tuple(self._channels)
        snapshots = await self._outbox.progress(accounts)
        is_over = any(view(snapshot, now) is None for snapshot in snapshots)
        self._is_swept = False
        if now - self._swept_at >= (TICK_S if is_over else JANITOR_S):
            self._swept_at = now
            orphans = await self._outbox.orphans(accounts)
            self._is_swept = not orphans
            for status in orphans:
                self._start(status.turn_id, status.address, None, status)
        for snapshot in snapshots:
            self._start(snapshot.turn_id, snapshot.address, snapshot, None)
        return bool(snapshots)

    def _rest_s(self, shows: bool) -> float:
        """How long nothing is to be done unless something changes, in seconds."""
        if shows or self._tasks:
            return TICK_S
        return IDLE_S if self._is_swept else JANITOR_S

    async def finish_step(self) -> None:
        """Take one step and wait for everything that it started."""
        await self.step()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.sleep(0)

    def _start(
        self,
        turn_id: str,
        address: Address,
        snapshot: ProgressSnapshot | None,
        orphan: StatusMessage | None,
    ) -> None:
        channel = self._channels.get((address.channel, address.account))
        if channel is None or turn_id in self._tasks or len(self._tasks) >= TURNS_SHOWN_MAX:
            return
        if self._stop.is_set():
            return
        work = (
            partial(self._janitor.close, channel, orphan)
            if orphan
            else partial(self._show, channel, snapshot)
        )
        task = asyncio.create_task(self._guarded(turn_id, work))
        self._tasks[turn_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(turn_id, None))

    async def _guarded(self, turn_id: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception:
            logger.exception("progress of turn %s could not be shown", turn_id)

    async def _show(self, channel: Channel, snapshot: ProgressSnapshot | None) -> None:
        if snapshot is None:
            return
        wanted = view(snapshot, self._clock.time())
        if wanted is None or self._ledger.lanes.busy(snapshot.address):
            return
        await self._react(channel, snapshot)
        mode = snapshot.mode or self._modes.get((channel.name, channel.account), "status")
        if mode == "stream" and self._drafts.fits(channel, snapshot):
            return await self._drafts.show(channel, snapshot, wanted)
        await self._type(channel, snapshot)
        if mode == "off":
            return
        if not channel.capabilities.can_edit:
            await self._say_still_working(channel, snapshot, wanted)
            return
        if mode == "stream" and snapshot.phase == "answering":
            wanted = with_text(wanted, snapshot)
        await self._statuses.show(channel, snapshot, wanted)

    async def _react(self, channel: Channel, snapshot: ProgressSnapshot) -> None:
        """React to the person's message, once at the start of a turn, where the account reacts."""
        if not channel.capabilities.reaction or snapshot.turn_id in self._reacted:
            return
        _remember(self._reacted, snapshot.turn_id, self._clock.time())
        is_late = self._clock.time() - snapshot.started_at > REACT_WITHIN_S
        if is_late or not snapshot.inbound_message_id or not isinstance(channel, Reacting):
            return
        async with self._ledger.lanes.lock(snapshot.address):
            if not await self._guard.still_allows(channel, snapshot, "typing"):
                return
            self._guard.take(channel, snapshot.address, "typing")
            try:
                await channel.react(snapshot.address, snapshot.inbound_message_id)
            except DeliveryError as error:
                await self._guard.drop(snapshot.address, error)

    async def _type(self, channel: Channel, snapshot: ProgressSnapshot) -> None:
        lasts = channel.capabilities.typing_s
        now = self._clock.time()
        since = now - self._typed.get(snapshot.turn_id, 0.0)
        if (
            not lasts
            or since < lasts * 0.8
            or not self._guard.allows(channel, snapshot.address, "typing")
        ):
            return
        _remember(self._typed, snapshot.turn_id, now)
        async with self._ledger.lanes.lock(snapshot.address):
            if not await self._guard.still_allows(channel, snapshot, "typing"):
                return
            self._guard.take(channel, snapshot.address, "typing")
            try:
                await channel.indicate(
                    snapshot.address, inbound_message_id=snapshot.inbound_message_id
                )
            except DeliveryError as error:
                await self._guard.drop(snapshot.address, error)

    async def _say_still_working(
        self, channel: Channel, snapshot: ProgressSnapshot, wanted: StatusView
    ) -> None:
        """Say once per turn that work goes on, on channels without edits; of an engine that fails
        people are told in a message that is not lossy.
        """
        waited_s = self._clock.time() - snapshot.started_at
        if snapshot.phase == "unreachable":
            return
        if not channel.capabilities.typing_s or waited_s < self._config.still_working_s:
            return
        if await self._outbox.status_message(snapshot.turn_id) is not None:
            return
        if not self._guard.allows(channel, snapshot.address, "send"):
            return
        note = StatusMessage(
            turn_id=snapshot.turn_id,
            address=snapshot.address,
            message_id=None,
            shown=STILL_WORKING,
            state="closed",
            edited_at=self._clock.time(),
        )
        async with self._ledger.lanes.lock(snapshot.address):
            try:
                if isinstance(channel, Ordering):
                    await channel.in_order(snapshot.address)
            except DeliveryError as error:
                return await self._guard.drop(snapshot.address, error)
            if not self._guard.allows(channel, snapshot.address, "send"):
                return
            if not await self._guard.may_leave(note):
                return
            if not self._stop.is_set():
                note = await self._say(channel, snapshot, wanted, note)
            await self._guard.store(note)

    async def _say(
        self, channel: Channel, snapshot: ProgressSnapshot, wanted: StatusView, note: StatusMessage
    ) -> StatusMessage:
        """Send the note, once; returns it with its id where it was sent."""
        self._guard.take(channel, snapshot.address, "send")
        buttons = stop_buttons(snapshot, wanted) if channel.capabilities.buttons else ()
        try:
            receipt = await channel.send(
                Outgoing(snapshot.address, RenderedPart(note.shown), buttons=buttons)
            )
        except DeliveryError as error:
            await self._guard.drop(snapshot.address, error)
            return note
        return replace(note, message_id=receipt.message_id, edited_at=self._clock.time())


def _remember(turns: OrderedDict[str, float], turn_id: str, at: float) -> None:
    """Remember when something was last done for a turn, of a bounded number of turns."""
    turns[turn_id] = at
    while len(turns) > TURNS_REMEMBERED_MAX:
        turns.popitem(last=False)
