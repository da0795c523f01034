"""Closes the status messages of finished turns, once their answer is delivered."""

import asyncio
import logging
from dataclasses import replace

from roost_channels.channel import Channel, Outgoing, Probing
from roost_channels.clock import Clock
from roost_channels.delivery.lanes import Lanes
from roost_channels.delivery.limits import Limiter, learn
from roost_channels.errors import (
    DeliveryError,
    EditTargetMissing,
    NotModified,
    NotSent,
    Throttled,
)
from roost_channels.outbox import Outbox, StatusMessage
from roost_channels.progress.status_view import closing_line
from roost_channels.rendering.parts import RenderedPart

logger = logging.getLogger(__name__)


class Janitor:
    """Deletes a status message, or shrinks it to a line where it can't be deleted."""

    def __init__(
        self, outbox: Outbox, lanes: Lanes, limiter: Limiter, clock: Clock, stop: asyncio.Event
    ) -> None:
        self._outbox = outbox
        self._lanes = lanes
        self._limiter = limiter
        self._clock = clock
        self._stop = stop

    async def close(self, channel: Channel, status: StatusMessage) -> None:
        """Close one; what can't be done now is left for the next round."""
        if not self._may(channel, status):
            return
        async with self._lanes.hold(status.address):
            # The courier may have made it the answer meanwhile.
            current = await self._outbox.status_message(status.turn_id)
            if current is None or current.state == "closed":
                return
            if not self._may(channel, status):
                return  # whoever had the lane before us was told to wait
            current = replace(status, message_id=current.message_id, shown=current.shown)
            now = self._clock.time()
            self._limiter.take(status.address, channel.capabilities, "delete", now)
            try:
                await self._remove(channel, current)
            except (Throttled, NotSent) as error:
                if isinstance(error, Throttled):
                    await learn(self._limiter, self._outbox, status.address, error, self._clock)
                logger.info("status of turn %s stays for now: %s", status.turn_id, error)
                return
            except DeliveryError as error:
                logger.info("status of turn %s is given up: %s", status.turn_id, error)
            await self._outbox.put_status_message(replace(current, state="closed"))

    def _may(self, channel: Channel, status: StatusMessage) -> bool:
        if self._stop.is_set():
            return False
        now = self._clock.time()
        return not self._limiter.wait_s(
            status.address, channel.capabilities, "delete", now, gives_way=True
        )

    async def _remove(self, channel: Channel, status: StatusMessage) -> None:
        if status.message_id is None:
            return await self._remove_lost(channel, status)
        if channel.capabilities.can_delete:
            try:
                return await channel.delete(status.address, status.message_id)
            except EditTargetMissing:
                logger.debug("status of turn %s can't be deleted", status.turn_id)
        try:
            await channel.edit(
                status.message_id, Outgoing(status.address, RenderedPart(closing_line(status)))
            )
        except (NotModified, EditTargetMissing):
            logger.debug("status of turn %s is gone", status.turn_id)

    async def _remove_lost(self, channel: Channel, status: StatusMessage) -> None:
        """Its send had an unknown outcome: look where it would be."""
        if not isinstance(channel, Probing) or not status.before:
            return
        found = await channel.remove_lost_status(
            status.address, after=status.after, before=status.before, known=status.known
        )
        words = "was found and removed" if found else "never arrived, or is beyond our reach"
        logger.info("the status of turn %s %s", status.turn_id, words)
