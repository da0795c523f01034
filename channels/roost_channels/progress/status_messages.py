"""The one status message of a running turn: sent once, edited on change, never after the fence."""

import asyncio
import logging
from dataclasses import dataclass, replace

from roost_channels.channel import Channel, Outgoing
from roost_channels.clock import Clock
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.lanes import Lanes
from roost_channels.delivery.limits import Family, Limiter, learn
from roost_channels.errors import (
    Ambiguous,
    DeliveryError,
    EditTargetMissing,
    NotModified,
    NotSent,
    Throttled,
)
from roost_channels.message import Address, Button, ReplyTarget
from roost_channels.outbox import Outbox, ProgressSnapshot, StatusMessage
from roost_channels.progress.status_view import StatusView
from roost_channels.rendering.parts import RenderedPart

logger = logging.getLogger(__name__)

# An edit that nobody answered for, its courier dead or its answer lost, may be carried out so much
# later: proxies and servers give up sooner.
LATE_EDIT_S = 60.0
# Nobody else may ever know the id of what was sent, so storage may be away for ten minutes.
STORE_TRIES_MAX = 300
STORE_PAUSE_MAX_S = 2.0


@dataclass(frozen=True, slots=True)
class Room:
    """What all that is shown beside the answers shares: storage, lanes, limits, time.

    stop: once set, nothing is shown any more.
    """

    outbox: Outbox
    lanes: Lanes
    limiter: Limiter
    clock: Clock
    config: DeliveryConfig
    stop: asyncio.Event

    def may(self, channel: Channel, address: Address, family: Family) -> bool:
        if self.stop.is_set():
            return False
        now = self.clock.time()
        return not self.limiter.wait_s(address, channel.capabilities, family, now, gives_way=True)

    def take(self, channel: Channel, address: Address, family: Family) -> None:
        self.limiter.take(address, channel.capabilities, family, self.clock.time())

    async def may_still(self, channel: Channel, snapshot: ProgressSnapshot, family: Family) -> bool:
        """Asked again once the lane is ours: whoever had it may have queued the final, or may have
        been told to wait.
        """
        is_over = await self.outbox.fenced(snapshot.turn_id)
        return not is_over and self.may(channel, snapshot.address, family)

    async def keep(self, status: StatusMessage) -> None:
        """Store what the provider was told already, however often storage refuses.

        The caller has the lane until then, in which nothing could be sent meanwhile either.
        """
        for tries in range(1, STORE_TRIES_MAX + 1):
            try:
                return await self.outbox.put_status_message(status)
            except Exception:
                if tries == STORE_TRIES_MAX:
                    raise
                logger.exception("status of turn %s not stored, trying again", status.turn_id)
                await self.clock.sleep(min(0.2 * tries, STORE_PAUSE_MAX_S))

    async def dropped(self, address: Address, error: DeliveryError) -> None:
        """Progress is not retried; what a refusal teaches about limits is kept."""
        if isinstance(error, Throttled):
            await learn(self.limiter, self.outbox, address, error, self.clock)
        logger.info("progress in %s dropped: %s", address.key, error)


class StatusMessages:
    """Opens and edits status messages."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def show(self, channel: Channel, snapshot: ProgressSnapshot, wanted: StatusView) -> None:
        room = self._room
        if room.clock.time() - snapshot.started_at < room.config.status_delay_s:
            return
        if not any(room.may(channel, snapshot.address, family) for family in ("send", "edit")):
            return
        status = await room.outbox.status_message(snapshot.turn_id)
        if status is None:
            await self._open(channel, snapshot, wanted)
        elif status.state == "open" and status.message_id and status.shown != wanted.text:
            await self._edit(channel, snapshot, status, wanted)

    async def _open(self, channel: Channel, snapshot: ProgressSnapshot, wanted: StatusView) -> None:
        """Send the status message. It is planned before it leaves and never sent a second time."""
        room = self._room
        if not room.may(channel, snapshot.address, "send"):
            return
        status = StatusMessage(
            turn_id=snapshot.turn_id,
            address=snapshot.address,
            message_id=None,
            shown="",
            state="planned",
            edited_at=room.clock.time(),
        )
        async with room.lanes.hold(snapshot.address):
            if not await room.may_still(channel, snapshot, "send"):
                return
            room.take(channel, snapshot.address, "send")
            await room.outbox.put_status_message(status)
            if room.stop.is_set():
                return await room.keep(replace(status, state="closed"))
            try:
                receipt = await channel.send(
                    Outgoing(
                        snapshot.address,
                        RenderedPart(wanted.text),
                        reply_to=_plain_reply(snapshot),
                        buttons=stop_buttons(snapshot, wanted),
                        silent=True,
                    )
                )
            except DeliveryError as error:
                await room.dropped(snapshot.address, error)
                # Maybe it arrived, maybe not: a second one would only add to the confusion. The
                # janitor looks for it when the turn is over.
                is_lost = isinstance(error, Ambiguous)
                await room.keep(replace(status, state="lost" if is_lost else "closed"))
                return
            await room.keep(
                replace(status, message_id=receipt.message_id, shown=wanted.text, state="open")
            )

    async def _edit(
        self,
        channel: Channel,
        snapshot: ProgressSnapshot,
        status: StatusMessage,
        wanted: StatusView,
    ) -> None:
        room = self._room
        interval = channel.capabilities.edit_interval_s[snapshot.address.is_group]
        if room.clock.time() - status.edited_at < interval:
            return
        if not room.may(channel, snapshot.address, "edit") or status.message_id is None:
            return
        async with room.lanes.hold(snapshot.address):
            if not await room.may_still(channel, snapshot, "edit"):
                return
            room.take(channel, snapshot.address, "edit")
            now = room.clock.time()
            changed = replace(status, shown=wanted.text, edited_at=now)
            # Before it leaves: should we die with it on its way, whoever comes next must not make
            # this message the answer, which the edit would replace.
            late_until = max(status.late_until, now + LATE_EDIT_S)
            await room.outbox.put_status_message(replace(status, late_until=late_until))
            if room.stop.is_set():
                return await room.keep(status)
            try:
                await channel.edit(
                    status.message_id,
                    Outgoing(
                        snapshot.address,
                        RenderedPart(wanted.text),
                        buttons=stop_buttons(snapshot, wanted),
                    ),
                )
            except NotModified:
                logger.debug("status of turn %s read so already", snapshot.turn_id)
            except EditTargetMissing:
                changed = replace(status, state="closed")
            except DeliveryError as error:
                await room.dropped(snapshot.address, error)
                changed = replace(status, edited_at=room.clock.time())
                # Of what may be repeated, NotSent says no more than that it may.
                if isinstance(error, (Ambiguous, NotSent)):
                    changed = replace(changed, late_until=late_until)
            await room.keep(changed)


def stop_buttons(snapshot: ProgressSnapshot, wanted: StatusView) -> tuple[Button, ...]:
    if not wanted.can_stop:
        return ()
    data = ":".join(filter(None, ("stop", snapshot.turn_id, snapshot.nonce)))
    return (Button("Stop", data),)


def _plain_reply(snapshot: ProgressSnapshot) -> ReplyTarget | None:
    """The status replies to the person's message, without quoting it."""
    if snapshot.reply_to is None:
        return None
    return replace(snapshot.reply_to, quote="", utf16_start=None)
