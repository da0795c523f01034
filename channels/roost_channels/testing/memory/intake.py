"""An intake in memory, by the platform's rules, for tests of adapters."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from roost_channels.intake import Accepted, DeliveryReceipt
from roost_channels.message import InboundMessage, Quote


@dataclass(slots=True)
class MemoryIntake:
    """Implements Intake. `messages` by the id they are stored under; `quotes`, by (chat, message
    id), are what resolve_quote knows beside what arrived.
    """

    messages: dict[str, InboundMessage] = field(default_factory=dict)
    cursors: dict[tuple[str, str], int] = field(default_factory=dict)
    quotes: dict[tuple[str, str], Quote] = field(default_factory=dict)
    states: list[tuple[str, str]] = field(default_factory=list)
    receipts: list[DeliveryReceipt] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _accounts: dict[tuple[str, str], set[str]] = field(default_factory=dict)

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
        stored, answers = 0, {}
        for message in batch:
            stored_as = self._new_id(channel, account, message)
            if stored_as is None:
                continue
            self.messages[stored_as] = message
            self._accounts.setdefault((channel, account), set()).add(message.event_id)
            stored += 1
            if message.kind == "callback":
                answers[stored_as] = ""
        if cursor is not None:
            self.cursors[channel, account] = cursor
        self.arrived.set()
        return Accepted(stored, len(batch) - stored, answers)

    def _new_id(self, channel: str, account: str, message: InboundMessage) -> str | None:
        """The id to store an event under, None for a redelivery. Accounts share no ids, and a
        provider may use a number again for another message.
        """
        event_id = message.event_id
        for stored_as in (
            event_id,
            f"{event_id}:{message.message_id}:{message.kind}",
            f"{channel}:{account}:{event_id}",
        ):
            known = self.messages.get(stored_as)
            if known is None:
                return stored_as
            is_here = (known.address.channel, known.address.account) == (channel, account)
            same = (known.message_id, known.kind) == (message.message_id, message.kind)
            if is_here and same:
                return None
        return None

    async def cursor(self, channel: str, account: str) -> int | None:
        """The cursor of the last accepted batch."""
        return self.cursors.get((channel, account))

    async def unseen(self, channel: str, account: str, event_ids: Sequence[str]) -> frozenset[str]:
        """Which of these events were never accepted."""
        return frozenset(event_ids) - self._accounts.get((channel, account), set())

    async def resolve_quote(self, channel: str, account: str, chat: str, ref: str) -> Quote | None:
        """The message that arrived in this chat under this id, else what `quotes` holds."""
        for message in reversed(self.messages.values()):
            address = message.address
            is_here = (address.channel, address.account, address.chat) == (channel, account, chat)
            if is_here and message.message_id == ref and message.kind in ("message", "edited"):
                text = message.text
                return Quote(ref=ref, author="user", text=text, excerpt=text, utf16_start=0)
        return self.quotes.get((chat, ref))

    async def channel_state(self, channel: str, account: str, state: str, detail: str = "") -> None:
        """Record the account's state."""
        self.states.append((state, detail))

    async def receipt(self, channel: str, account: str, receipt: DeliveryReceipt) -> None:
        """Record a delivery receipt."""
        self.receipts.append(receipt)
