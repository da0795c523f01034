"""An intake in memory, by the platform's rules, for tests of adapters."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from roost_channels.intake import Accepted, DeliveryReceipt
from roost_channels.message import InboundMessage, Quote


@dataclass(slots=True)
class MemoryIntake:
    """Implements Intake. `messages` by event id; `quotes` by (chat, message id) answer
    resolve_quote.
    """

    messages: dict[str, InboundMessage] = field(default_factory=dict)
    cursors: dict[tuple[str, str], int] = field(default_factory=dict)
    quotes: dict[tuple[str, str], Quote] = field(default_factory=dict)
    states: list[tuple[str, str]] = field(default_factory=list)
    receipts: list[DeliveryReceipt] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(
        self,
        channel: str,
        account: str,
        batch: Sequence[InboundMessage],
        *,
        cursor: int | None = None,
    ) -> Accepted:
        """Store new messages by event id, and the cursor."""
        if self.faults:
            raise self.faults.pop(0)
        new = [message for message in batch if message.event_id not in self.messages]
        for message in batch:
            self.messages.setdefault(message.event_id, message)
        if cursor is not None:
            self.cursors[channel, account] = cursor
        self.arrived.set()
        return Accepted(len(new), len(batch) - len(new))

    async def cursor(self, channel: str, account: str) -> int | None:
        """The cursor of the last accepted batch."""
        return self.cursors.get((channel, account))

    async def unseen(self, channel: str, account: str, event_ids: Sequence[str]) -> frozenset[str]:
        """Which of these events were never accepted."""
        return frozenset(event_ids) - self.messages.keys()

    async def resolve_quote(self, channel: str, account: str, chat: str, ref: str) -> Quote | None:
        """The quote that `quotes` holds for this message."""
        return self.quotes.get((chat, ref))

    async def channel_state(self, channel: str, account: str, state: str, detail: str = "") -> None:
        """Record the account's state."""
        self.states.append((state, detail))

    async def receipt(self, channel: str, account: str, receipt: DeliveryReceipt) -> None:
        """Record a delivery receipt."""
        self.receipts.append(receipt)
