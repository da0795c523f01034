"""Whether progress may be shown now: it gives way to answers, and it ends at the fence."""

import logging
from dataclasses import replace

from roost_channels.channel import Channel
from roost_channels.delivery.ledger import Ledger
from roost_channels.delivery.limits import Family
from roost_channels.errors import DeliveryError, Throttled
from roost_channels.message import Address
from roost_channels.outbox import ProgressSnapshot, StatusMessage

logger = logging.getLogger(__name__)

# Only this process knows the id of what was sent, so it goes on for ten minutes without storage.
STORE_TRIES_MAX = 300
STORE_PAUSE_MAX_S = 2.0


class ProgressGuard:
    """Asks the ledger's limits and storage on behalf of everything that is shown beside answers."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def allows(self, channel: Channel, address: Address, family: Family) -> bool:
        """Whether a call of this family may go to this chat now, answers first."""
        if self.ledger.stop.is_set():
            return False
        now = self.ledger.clock.time()
        wait_s = self.ledger.limiter.wait_s(
            address, channel.capabilities, family, now, gives_way=True
        )
        return not wait_s

    async def still_allows(
        self, channel: Channel, snapshot: ProgressSnapshot, family: Family
    ) -> bool:
        """The same, asked again by the holder of the lane, and whether the turn is still unfenced.

        Whoever held the lane before may have queued the final, or may have been told to wait.
        """
        is_fenced = await self.ledger.outbox.fenced(snapshot.turn_id)
        return not is_fenced and self.allows(channel, snapshot.address, family)

    def take(self, channel: Channel, address: Address, family: Family) -> None:
        """Count one call against the limits."""
        ledger = self.ledger
        ledger.limiter.take(address, channel.capabilities, family, ledger.clock.time())

    async def may_leave(self, status: StatusMessage) -> bool:
        """Whether a request with a status message may leave now; if so, that is on record.

        One transaction, so that the courier of the final knows of each request that left before
        the fence, whichever process made it, and lets it end first.
        """
        leaving = replace(status, left_at=self.ledger.clock.time())
        return await self.ledger.outbox.plan_status_message(leaving)

    async def store(self, status: StatusMessage) -> None:
        """Store what the provider was told already, however often storage refuses.

        The caller holds the lane until then; nothing could be sent in it meanwhile either.
        """
        for tries in range(1, STORE_TRIES_MAX + 1):
            try:
                return await self.ledger.outbox.put_status_message(status)
            except Exception:
                if tries == STORE_TRIES_MAX:
                    raise
                logger.exception("status of turn %s not stored, trying again", status.turn_id)
                await self.ledger.clock.sleep(min(0.2 * tries, STORE_PAUSE_MAX_S))

    async def drop(self, address: Address, error: DeliveryError) -> None:
        """Give up one piece of progress, but keep what its refusal teaches about limits."""
        if isinstance(error, Throttled):
            await self.ledger.learn_wait(address, error)
        logger.info("progress in %s dropped: %s", address.key, error)
