"""The port of intake: every inbound event is committed first and acknowledged after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from roost_channels.message import InboundMessage, Quote


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of a batch: how many rows are new; redeliveries count as duplicates.

    answers: by event id, the text shown to the person who pressed a button.
    """

    stored: int
    duplicates: int
    answers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a provider's late refusal means for the part; without a Refusal it is final.

    held: the session window is closed; the part is sent when the person writes again. `invitation`
        asks them to write, where the account has one.
    retry_after_s: the part may be sent again after this many seconds.
    of_content: the provider refuses this very content; a part with a file may go without the file.
    """

    held: bool = False
    invitation: str = ""
    retry_after_s: float | None = None
    of_content: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryReceipt:
    """What a provider reports of a message that it took from us.

    part_id: our part, where its id travelled with the message; empty elsewhere.
    message_id: the provider's id of the message.
    status: the provider's word, such as sent, delivered, read, failed or undelivered.
    refusal: goes with a failure that is not the last word.
    """

    part_id: str
    message_id: str
    status: str
    error_code: str = ""
    description: str = ""
    refusal: Refusal | None = None


class Intake(Protocol):
    """Implemented by the platform; adapters call nothing else when an event arrives."""

    async def accept(
        self,
        channel: str,
        account: str,
        batch: Sequence[InboundMessage],
        *,
        cursor: int | None = None,
    ) -> Accepted:
        """Commit the rows, and for a poller its next offset, in one transaction; then ring
        doorbells.

        Returns only after the commit; raises if nothing was stored, so that the caller does not
        acknowledge.
        """
        ...

    async def cursor(self, channel: str, account: str) -> int | None:
        """The offset stored with the last accepted batch."""
        ...

    async def unseen(self, channel: str, account: str, event_ids: Sequence[str]) -> frozenset[str]:
        """Which of these events, listed by a provider, were never accepted."""
        ...

    async def resolve_quote(self, channel: str, account: str, chat: str, ref: str) -> Quote | None:
        """The message `ref` of this chat, inbound or one of our own parts, as a quote; None if we
        never saw it.

        For one of our parts `text` is the whole logical message and `excerpt` the passage of that
        part.
        """
        ...

    async def channel_state(self, channel: str, account: str, state: str, detail: str = "") -> None:
        """Record the account's health: `up`, `degraded`, `conflict`, `auth_error`, `paused`."""
        ...

    async def receipt(self, channel: str, account: str, receipt: DeliveryReceipt) -> None:
        """Record a delivery receipt; receipts may come in any order and more than once."""
        ...
