"""The order of messages to one person, which no provider keeps: each waits for the one before."""

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from roost_channels.clock import Clock
from roost_channels.errors import DeliveryError, Throttled

logger = logging.getLogger(__name__)

# A message waits for `sent` of the one before it, this long at most.
GATE_S = 5.0
GATE_STEP_S = 0.25
# Where nothing tells how the one before stands, this distance must do.
GAP_S = 0.5
CHATS_REMEMBERED_MAX = 10_000
LONG_AGO = float("-inf")
ON_ITS_WAY = frozenset({"sent", "delivered", "read", "failed", "undelivered", "canceled"})


class Gate:
    """The last message of each chat. `status` tells how the one of an id stands now."""

    def __init__(self, clock: Clock, status: Callable[[str], Awaitable[str]]) -> None:
        self._clock = clock
        self._status = status
        # By chat: the message's id, when it went out, and the part it is.
        self._last: OrderedDict[str, tuple[str, float, str]] = OrderedDict()

    def last(self, chat: str, *, other_than: str = "") -> str:
        """The id of the chat's last message, empty where none is known or it is that part."""
        id, _, part_id = self._last.get(chat, ("", 0.0, ""))
        return "" if other_than and part_id == other_than else id

    def passed(self, chat: str, id: str, part_id: str = "") -> None:
        """This message goes out now; without an id only its time is known."""
        self._last[chat] = (id, self._clock.time(), part_id)
        self._last.move_to_end(chat)
        while len(self._last) > CHATS_REMEMBERED_MAX:
            self._last.popitem(last=False)

    async def wait(self, chat: str) -> None:
        """Until the previous message to this chat has left the provider, or long enough."""
        if chat not in self._last:
            return
        id, at, part_id = last = self._last[chat]
        patience_s = GATE_S if id else GAP_S
        while self._clock.time() - at < patience_s:
            if id and await self._is_on_its_way(chat, id):
                if self._last[chat] == last:  # who comes next need not ask again
                    self._last[chat] = id, LONG_AGO, part_id
                return
            await self._clock.sleep(GATE_STEP_S)

    async def _is_on_its_way(self, chat: str, id: str) -> bool:
        try:
            return await self._status(id) in ON_ITS_WAY
        except Throttled:
            raise  # the account was asked to wait: the message did not leave
        except DeliveryError as error:
            logger.info("order of messages to %s not checked: %s", chat, error)
            return True
