"""Closes the status messages of finished turns, once their answer is delivered."""

import logging
from dataclasses import replace

from roost_channels.channel import Channel, Outgoing, Probing
from roost_channels.errors import (
    DeliveryError,
    EditTargetMissing,
    NotModified,
    NotSent,
    Throttled,
)
from roost_channels.outbox import StatusMessage
from roost_channels.progress.guard import ProgressGuard
from roost_channels.progress.status_view import closing_line
from roost_channels.rendering.parts import RenderedPart

logger = logging.getLogger(__name__)


class Janitor:
    """Deletes a status message, or shrinks it to a line where it can't be deleted."""

    def __init__(self, guard: ProgressGuard) -> None:
        self._guard = guard
        self._ledger = guard.ledger

    async def close(self, channel: Channel, status: StatusMessage) -> None:
        """Close one status message; one that can't be closed now is left for the next round."""
        if not self._guard.allows(channel, status.address, "delete"):
            return
        async with self._ledger.lanes.lock(status.address):
            # Meanwhile the courier may have turned it into the answer.
            current = await self._ledger.outbox.status_message(status.turn_id)
            if current is None or current.state == "closed":
                return
            if not self._guard.allows(channel, status.address, "delete"):
                return  # the holder of the lane before us was told to wait
            current = replace(status, message_id=current.message_id, shown=current.shown)
            self._guard.take(channel, status.address, "delete")
            try:
                await self._remove(channel, current)
            except (Throttled, NotSent) as error:
                if isinstance(error, Throttled):
                    await self._ledger.learn_wait(status.address, error)
                logger.info("status of turn %s stays for now: %s", status.turn_id, error)
                return
            except DeliveryError as error:
                logger.info("status of turn %s is given up: %s", status.turn_id, error)
            await self._ledger.outbox.put_status_message(
                replace(current, state="closed", left_at=0.0)
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
        """Look for a status message whose send had an unknown outcome, and remove it."""
        if not isinstance(channel, Probing) or not status.before:
            return
        is_removed = await channel.remove_lost_status(
            status.address, after=status.after, before=status.before, known=status.known
        )
        words = "was found and removed" if is_removed else "never arrived, or is beyond our reach"
        logger.info("the status of turn %s %s", status.turn_id, words)
