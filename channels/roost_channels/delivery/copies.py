"""Takes back a second copy of a message whose buttons somebody could press for ever.

Two couriers run at once in a rolling restart. One may send again what the other was still sending;
each hears of its own copy, and only one of them is edited once the question is over.
"""

import logging

from roost_channels.channel import Channel
from roost_channels.delivery.ledger import Ledger
from roost_channels.errors import DeliveryError, Throttled
from roost_channels.message import Receipt
from roost_channels.outbox import OutboxEntry

logger = logging.getLogger(__name__)


async def take_back(ledger: Ledger, channel: Channel, entry: OutboxEntry, receipt: Receipt) -> None:
    """Delete the copy where the network can; try again once after a wait that it asks for."""
    if not channel.capabilities.can_delete:
        return
    for _ in range(2):
        try:
            return await channel.delete(entry.address, receipt.message_id)
        except Throttled as error:
            await ledger.clock.sleep(await ledger.learn_wait(entry.address, error))
        except DeliveryError as error:
            logger.warning("a copy of message %s is not taken back: %s", entry.id, error)
            return
