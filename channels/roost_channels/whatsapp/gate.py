"""Keeps the order of messages to one person, which no provider does: each waits for the last."""

import logging
from collections.abc import Awaitable, Callable

from roost_channels.clock import Clock
from roost_channels.errors import DeliveryError, Throttled
from roost_channels.message import Address
from roost_channels.outbox import EarlierSend, Receipts

logger = logging.getLogger(__name__)

# A message waits for `sent` of the one before it, this long at most.
GATE_S = 5.0
GATE_STEP_S = 0.25
# Where nothing will ever tell how the one before stands, this distance must do.
GAP_S = 0.5
ON_ITS_WAY = frozenset({"sent", "delivered", "read", "failed", "undelivered", "canceled"})
# Earlier messages that a search for a lost one leaves out.
KNOWN_MAX = 50


class Gate:
    """Holds a message until the chat's previous one is on its way.

    receipts: what went before; it is stored, so that a courier which starts again waits as well.
        Without them nothing waits.
    ask: how the message of an id stands, for providers that can be asked.
    """

    def __init__(
        self,
        clock: Clock,
        receipts: Receipts | None,
        ask: Callable[[str], Awaitable[str]] | None = None,
    ) -> None:
        self._clock = clock
        self._receipts = receipts
        self._ask = ask

    async def wait(self, address: Address, part_id: str) -> None:
        """Wait until the previous message to this chat has left the provider, GATE_S at most."""
        while (before := await self._before(address, part_id)) is not None:
            patience_s = GATE_S if before.part_id or self._ask else GAP_S
            if self._clock.time() - before.taken_at >= patience_s:
                return
            if await self._is_on_its_way(address, before):
                return
            await self._clock.sleep(GATE_STEP_S)

    async def known(self, address: Address, part_id: str) -> frozenset[str]:
        """Return the ids of the chat's newest messages, without this part's."""
        if self._receipts is None:
            return frozenset()
        earlier = await self._receipts.earlier(address, before=part_id, limit=KNOWN_MAX)
        return frozenset(one.message_id for one in earlier if one.message_id)

    async def _before(self, address: Address, part_id: str) -> EarlierSend | None:
        if self._receipts is None:
            return None
        return next(iter(await self._receipts.earlier(address, before=part_id)), None)

    async def _is_on_its_way(self, address: Address, before: EarlierSend) -> bool:
        if before.status in ON_ITS_WAY:
            return True
        if self._ask is None or not before.message_id:
            return False
        try:
            return await self._ask(before.message_id) in ON_ITS_WAY
        except Throttled:
            raise  # the whole account was asked to wait
        except DeliveryError as error:
            logger.info("order of messages to %s not checked: %s", address.chat, error)
            return True
