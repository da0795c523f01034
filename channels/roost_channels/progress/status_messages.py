"""The one status message of a running turn: sent once, edited on change, never after the fence."""

import logging
from dataclasses import replace

from roost_channels.channel import Channel, Outgoing
from roost_channels.delivery.edits import LATE_EDIT_S
from roost_channels.errors import (
    Ambiguous,
    DeliveryError,
    EditTargetMissing,
    NotModified,
    NotSent,
)
from roost_channels.message import STOP_BUTTON, Button, ReplyTarget
from roost_channels.outbox import ProgressSnapshot, StatusMessage
from roost_channels.progress.guard import ProgressGuard
from roost_channels.progress.status_view import StatusView
from roost_channels.rendering.parts import RenderedPart

logger = logging.getLogger(__name__)


class StatusMessages:
    """Opens and edits status messages."""

    def __init__(self, guard: ProgressGuard) -> None:
        self._guard = guard
        self._ledger = guard.ledger

    async def show(self, channel: Channel, snapshot: ProgressSnapshot, wanted: StatusView) -> None:
        """Bring the status message of a running turn up to date, where that is allowed now."""
        if self._ledger.clock.time() - snapshot.started_at < self._ledger.config.status_delay_s:
            return
        if not any(
            self._guard.allows(channel, snapshot.address, family) for family in ("send", "edit")
        ):
            return
        status = await self._ledger.outbox.status_message(snapshot.turn_id)
        if status is None:
            await self._open(channel, snapshot, wanted)
        elif status.state == "open" and status.message_id and status.shown != wanted.text:
            await self._edit(channel, snapshot, status, wanted)

    async def _open(self, channel: Channel, snapshot: ProgressSnapshot, wanted: StatusView) -> None:
        """Send the status message. It is planned before it leaves and never sent a second time."""
        if not self._guard.allows(channel, snapshot.address, "send"):
            return
        status = StatusMessage(
            turn_id=snapshot.turn_id,
            address=snapshot.address,
            message_id=None,
            shown="",
            state="planned",
            edited_at=self._ledger.clock.time(),
        )
        async with self._ledger.lanes.lock(snapshot.address):
            if not self._guard.allows(channel, snapshot.address, "send"):
                return
            if not await self._guard.may_leave(status):
                return
            self._guard.take(channel, snapshot.address, "send")
            if self._ledger.stop.is_set():
                return await self._guard.store(replace(status, state="closed"))
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
                await self._guard.drop(snapshot.address, error)
                # An uncertain status message is never sent twice. The janitor looks for it when
                # the turn is over.
                is_lost = isinstance(error, Ambiguous)
                await self._guard.store(replace(status, state="lost" if is_lost else "closed"))
                return
            await self._guard.store(
                replace(status, message_id=receipt.message_id, shown=wanted.text, state="open")
            )

    async def _edit(
        self,
        channel: Channel,
        snapshot: ProgressSnapshot,
        status: StatusMessage,
        wanted: StatusView,
    ) -> None:
        interval = channel.capabilities.edit_interval_s[snapshot.address.is_group]
        if self._ledger.clock.time() - status.edited_at < interval:
            return
        message_id = status.message_id
        if message_id is None or not self._guard.allows(channel, snapshot.address, "edit"):
            return
        async with self._ledger.lanes.lock(snapshot.address):
            if not self._guard.allows(channel, snapshot.address, "edit"):
                return
            now = self._ledger.clock.time()
            status = replace(status, left_at=0.0)
            changed = replace(status, shown=wanted.text, edited_at=now)
            # Stored before the edit leaves. If this process dies meanwhile, the next courier must
            # not turn this message into the answer: the late edit would replace the answer.
            late_until = max(status.late_until, now + LATE_EDIT_S)
            if not await self._guard.may_leave(replace(status, late_until=late_until)):
                return
            self._guard.take(channel, snapshot.address, "edit")
            if self._ledger.stop.is_set():
                return await self._guard.store(status)
            try:
                await channel.edit(
                    message_id,
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
                await self._guard.drop(snapshot.address, error)
                changed = replace(status, edited_at=self._ledger.clock.time())
                # NotSent only says that a repeat is safe: an edit may have arrived all the same.
                if isinstance(error, (Ambiguous, NotSent)):
                    changed = replace(changed, late_until=late_until)
            await self._guard.store(changed)


def stop_buttons(snapshot: ProgressSnapshot, wanted: StatusView) -> tuple[Button, ...]:
    """The Stop button of a running turn: its data names the turn and carries its nonce."""
    if not wanted.can_stop:
        return ()
    data = STOP_BUTTON + ":".join(filter(None, (snapshot.turn_id, snapshot.nonce)))
    return (Button("Stop", data),)


def _plain_reply(snapshot: ProgressSnapshot) -> ReplyTarget | None:
    """The status replies to the person's message where that helps, without quoting it."""
    if snapshot.reply_to is None:
        return None
    if not snapshot.reply_to.helps(is_group=snapshot.address.is_group):
        return None
    return replace(snapshot.reply_to, quote="", utf16_start=None)
