"""Messages that replace an earlier one of ours in place, such as a card once it is decided.

An edit may be repeated at will, so one of unknown outcome is made again without a label.
"""

import contextlib
from typing import Literal

from roost_channels.channel import Channel, Outgoing
from roost_channels.errors import EditTargetMissing, NotModified
from roost_channels.message import Receipt
from roost_channels.outbox import OutboxEntry, StoredPart

# An edit whose response never came may still be carried out this much later; proxies and servers
# give up sooner.
LATE_EDIT_S = 60.0


def edits_in_place(channel: Channel, entry: OutboxEntry) -> bool:
    """Whether the entry is delivered as an edit."""
    return bool(entry.edits) and channel.capabilities.can_edit


def is_needless(channel: Channel, entry: OutboxEntry) -> bool:
    """Whether an edit is not to be sent at all: its target never arrived, or the channel can't edit
    and the words need not be told. A notice is told as a message of its own.
    """
    if not entry.edits_id or edits_in_place(channel, entry):
        return False
    return not entry.edits or entry.kind != "notice"


def operation(channel: Channel, entry: OutboxEntry) -> Literal["send", "edit"]:
    """Which limit of the provider the delivery of the entry counts for."""
    return "edit" if edits_in_place(channel, entry) else "send"


async def edit_message(channel: Channel, entry: OutboxEntry, part: StoredPart) -> Receipt:
    """Replace the message; one that reads so already, or is gone, is done."""
    message = Outgoing(entry.address, part.rendered, buttons=entry.buttons, part_id=part.id)
    with contextlib.suppress(NotModified, EditTargetMissing):
        await channel.edit(entry.edits, message)
    return Receipt(entry.edits)
