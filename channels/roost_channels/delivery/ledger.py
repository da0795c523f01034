"""How the outcome of a physical send is committed, whoever found it out."""

import asyncio
import logging
from collections import OrderedDict

from roost_channels.clock import Clock
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.limits import Limiter, learn
from roost_channels.errors import DeliveryError, Throttled
from roost_channels.message import Receipt
from roost_channels.outbox import Outbox, OutboxEntry, StoredPart

logger = logging.getLogger(__name__)

# A message the provider accepted is recorded even if storage needs a few tries.
RECORD_TRIES_MAX = 5
RECORD_PAUSE_S = 0.2
UNRECORDED_MAX = 10_000


class Filing:
    """Storage, limits and time, and what both senders and reconcilers write down."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        config: DeliveryConfig,
        limiter: Limiter,
        stop: asyncio.Event,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._config = config
        self._limiter = limiter
        # Once set, no request that changes a chat begins any more.
        self._stop = stop
        # Accepted by the provider while storage was away: recorded before anything else is tried.
        self.unrecorded: OrderedDict[str, Receipt] = OrderedDict()

    async def _later(
        self,
        part: StoredPart,
        at: float,
        error: DeliveryError | str,
        *,
        held: bool = False,
        invitation: str = "",
    ) -> float:
        code = error.code if isinstance(error, DeliveryError) else ""
        status = error.http_status if isinstance(error, DeliveryError) else 0
        await self._outbox.not_sent(
            part.id,
            retry_at=at,
            error=str(error),
            code=code,
            http_status=status,
            held=held,
            invitation=invitation,
        )
        return at

    def _backoff(self, attempt: int) -> float:
        """1, 3, 9, … times `retry_s`, never more than `retry_max_s`."""
        return float(min(self._config.retry_s * 3 ** (attempt - 1), self._config.retry_max_s))

    async def _record(self, part: StoredPart, receipt: Receipt) -> None:
        """Commit the proof. After several failures it is kept for the lane's next look, as nobody
        else may ever know it.
        """
        for tries in range(1, RECORD_TRIES_MAX + 1):
            try:
                await self._outbox.sent(part.id, receipt.message_id)
                self.unrecorded.pop(part.id, None)
                return
            except Exception:
                if tries == RECORD_TRIES_MAX:
                    self._keep(part, receipt)
                    raise
                logger.exception("receipt of part %s not stored, trying again", part.id)
                await self._clock.sleep(RECORD_PAUSE_S * tries)

    def _keep(self, part: StoredPart, receipt: Receipt) -> None:
        self.unrecorded[part.id] = receipt
        while len(self.unrecorded) > UNRECORDED_MAX:
            self.unrecorded.popitem(last=False)

    async def record_kept(self, part: StoredPart) -> bool:
        """Commit a proof that could not be committed before; False where there is none."""
        receipt = self.unrecorded.get(part.id)
        if receipt is None:
            return False
        await self._record(part, receipt)
        return True

    async def record_all_kept(self) -> None:
        """At the end: commit every proof that is still kept, trying until storage takes it."""
        while self.unrecorded:
            part_id, receipt = next(iter(self.unrecorded.items()))
            try:
                await self._outbox.sent(part_id, receipt.message_id)
                self.unrecorded.pop(part_id, None)
            except Exception:
                logger.exception("receipt of part %s not stored, trying again", part_id)
                await self._clock.sleep(RECORD_PAUSE_S)

    async def _learn(self, entry: OutboxEntry, error: Throttled) -> float:
        return await learn(self._limiter, self._outbox, entry.address, error, self._clock)
