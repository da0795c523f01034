"""What every operation in a chat shares, and how the outcomes of sends are committed."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from roost_channels.channel import Channel
from roost_channels.clock import Clock, Passed, SystemClock
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.edits import operation
from roost_channels.delivery.lanes import Lanes
from roost_channels.delivery.limits import ACCOUNT, Limiter
from roost_channels.errors import DeliveryError, Throttled, failure_of
from roost_channels.message import Address, Receipt
from roost_channels.outbox import Outbox, OutboxEntry, StoredPart, is_under_way

logger = logging.getLogger(__name__)

# A message the provider accepted is recorded even if storage needs a few tries.
RECORD_TRIES_MAX = 5
RECORD_PAUSE_S = 0.2
UNRECORDED_MAX = 10_000
# Added to a provider's wait, because our clock may run a little ahead of the provider's.
RETRY_AFTER_MARGIN_S = 0.1
STORE_WAIT_AGAIN_S = 0.2


class Ledger:
    """Storage, lanes, limits and time of one courier process: one ledger for all who use chats.

    stop: once it is set, no request that changes a chat begins any more.
    """

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock | None = None,
        config: DeliveryConfig | None = None,
        *,
        lanes: Lanes | None = None,
        limiter: Limiter | None = None,
        stop: asyncio.Event | None = None,
    ) -> None:
        self.outbox = outbox
        self.clock = clock or SystemClock()
        self.config = config or DeliveryConfig()
        self.lanes = lanes if lanes is not None else Lanes()
        self.limiter = limiter or Limiter(
            account_rate=self.config.account_rate, chat_burst=self.config.chat_burst
        )
        self.stop = stop or asyncio.Event()
        self.passed = Passed.by(self.clock)
        # Accepted by the provider while storage was away: recorded before anything else is tried.
        self.unrecorded: OrderedDict[str, Receipt] = OrderedDict()

    async def try_later(
        self,
        part: StoredPart,
        at: float,
        error: DeliveryError | str,
        *,
        held: bool = False,
        invitation: str = "",
    ) -> float:
        """Commit that a part was provably not sent, and is due again at `at`; returns `at`."""
        await self.outbox.not_sent(
            part.id,
            failure_of(error),
            retry_at=at,
            held=held,
            invitation=invitation,
            attempt=part.attempts,
        )
        return at

    def backoff_s(self, attempt: int) -> float:
        """1, 3, 9, … times `retry_s`, never more than `retry_max_s`."""
        return float(min(self.config.retry_s * 3 ** (attempt - 1), self.config.retry_max_s))

    async def is_status_under_way(self, entry: OutboxEntry) -> bool:
        """Whether another courier's request with the turn's status message has no outcome yet.

        It must not arrive after the answer. The caller holds the lane, so none of ours is.
        """
        if not is_under_way(entry.status_left_at, self.passed) or entry.turn_id is None:
            return False
        status = await self.outbox.status_message(entry.turn_id)
        return status is not None and is_under_way(status.left_at, self.passed)

    def allowed_at(self, channel: Channel, entry: OutboxEntry) -> float | None:
        """When the limits let the entry go; None for now."""
        now = self.clock.time()
        what = operation(channel, entry)
        wait_s = self.limiter.wait_s(entry.address, channel.capabilities, what, now)
        return now + wait_s if wait_s else None

    def take(self, channel: Channel, entry: OutboxEntry) -> None:
        """Count one call for the entry."""
        what = operation(channel, entry)
        self.limiter.take(entry.address, channel.capabilities, what, self.clock.time())

    async def record(self, part: StoredPart, receipt: Receipt) -> bool:
        """Commit the proof of a send; False where the part stands under another id.

        After several failures the proof is kept for the lane's next look, as nobody else may ever
        know it.
        """
        tries = 0
        while True:
            try:
                stands = await self.outbox.sent(part.id, receipt.message_id)
                self.unrecorded.pop(part.id, None)
                return stands
            except Exception:
                tries += 1
                if tries == RECORD_TRIES_MAX:
                    self.keep(part, receipt)
                    raise
                logger.exception("receipt of part %s not stored, trying again", part.id)
                await self.clock.sleep(RECORD_PAUSE_S * tries)

    def keep(self, part: StoredPart, receipt: Receipt) -> None:
        """Keep a proof in memory until it is recorded; the oldest of too many are dropped."""
        self.unrecorded[part.id] = receipt
        while len(self.unrecorded) > UNRECORDED_MAX:
            self.unrecorded.popitem(last=False)

    async def record_kept(self, part: StoredPart) -> bool:
        """Commit a proof that could not be committed before; False where there is none."""
        receipt = self.unrecorded.get(part.id)
        if receipt is None:
            return False
        await self.record(part, receipt)
        return True

    async def record_all_kept(self) -> None:
        """Commit every proof that is still kept before the end, trying until storage takes it."""
        while self.unrecorded:
            part_id, receipt = next(iter(self.unrecorded.items()))
            try:
                await self.outbox.sent(part_id, receipt.message_id)
                self.unrecorded.pop(part_id, None)
            except Exception:
                logger.exception("receipt of part %s not stored, trying again", part_id)
                await self.clock.sleep(RECORD_PAUSE_S)

    async def learn_wait(self, address: Address, error: Throttled) -> float:
        """Keep to a wait that a provider asked for, also after a restart; returns its seconds.

        While storage fails, the wait is stored again and again for as long as it lasts: the caller
        can do nothing else in this chat meanwhile.
        """
        now = self.clock.time()
        wait_s = max(error.retry_after_s, 0.0) + RETRY_AFTER_MARGIN_S
        if error.is_account_wide:
            address = replace(address, chat=ACCOUNT, thread="")
        self.limiter.learn(address, wait_s, now)
        while True:
            try:
                await self.outbox.keep_wait(address, now + wait_s)
                return wait_s
            except Exception:
                logger.exception("a wait of %s is not stored", address.key)
            if self.clock.time() + STORE_WAIT_AGAIN_S >= now + wait_s:
                return wait_s
            await self.clock.sleep(STORE_WAIT_AGAIN_S)

    async def recall_waits(self, accounts: Sequence[tuple[str, str]]) -> None:
        """Go on waiting in chats where a process before this one was told to wait."""
        now = self.clock.time()
        for address, until in await self.outbox.waits(accounts, now):
            self.limiter.learn(address, until - now, now)
