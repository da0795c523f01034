"""A channel that plays a script, and a courier that delivers over the outbox in memory."""

import asyncio
from typing import Literal

from roost_channels.capabilities import Capabilities
from roost_channels.channel import Channel, Outgoing
from roost_channels.clock import Clock
from roost_channels.config import DeliveryConfig
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.limits import Limiter
from roost_channels.delivery.sender import ReportState
from roost_channels.message import Address, Attachment, Receipt, ReplyTarget
from roost_channels.outbox import OutboxEntry
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing.memory.outbox import MemoryOutbox

QUICK = DeliveryConfig(retry_s=0.01, retry_max_s=0.02, poll_s=0.02, shutdown_s=1.0)
CAPABILITIES = Capabilities(
    text_max=4096,
    text_unit="utf16",
    markup="entities",
    can_edit=True,
    can_delete=True,
    native_quote=True,
    buttons=True,
    typing_s=5.0,
    edit_interval_s=(1.5, 3.0),
    send_interval_s=1.0,
)
SEND_S = 0.002  # a send takes real time, so that two at once would be seen

ScriptedResult = Exception | Literal["ok"]


class ScriptedChannel:
    """A channel that answers each send with the next of some outcomes, then always with success.

    proof: what it says of a send in doubt. sent, edits: what it was asked to do, oldest first.
    """

    name = "telegram"
    account = "42"
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, *outcomes: ScriptedResult) -> None:
        self.outcomes: list[ScriptedResult] = list(outcomes)
        self.sent: list[tuple[Address, RenderedPart, ReplyTarget | None]] = []
        self.edits: list[tuple[str, str]] = []
        self.in_flight = 0
        self.in_flight_max = 0
        self.proof: Receipt | Literal["absent", "unknown"] = "unknown"

    @property
    def texts(self) -> list[str]:
        """The text of each send, oldest first."""
        return [part.text for _, part, _ in self.sent]

    async def send(self, message: Outgoing) -> Receipt:
        """Record the send and play the next outcome."""
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        await asyncio.sleep(SEND_S)
        self.in_flight -= 1
        self.sent.append((message.address, message.part, message.reply_to))
        outcome = self.outcomes.pop(0) if self.outcomes else "ok"
        if isinstance(outcome, Exception):
            raise outcome
        return Receipt(str(1000 + len(self.sent)))

    async def edit(self, message_id: str, message: Outgoing) -> None:
        """Record the edit."""
        self.edits.append((message_id, message.part.text))

    async def delete(self, address: Address, message_id: str) -> None:
        """Do nothing."""

    async def indicate(self, address: Address, *, inbound_message_id: str = "") -> None:
        """Do nothing."""

    async def find_sent(
        self, message: Outgoing, *, since: float
    ) -> Receipt | Literal["absent", "unknown"]:
        """Return `proof`."""
        return self.proof

    async def download(self, attachment: Attachment, bytes_max: int) -> bytes:
        """Return no bytes."""
        return b""

    async def acknowledge(self, callback_id: str, text: str = "") -> None:
        """Do nothing."""

    async def ingest(self, intake: object) -> None:
        """Return at once: nothing arrives."""

    async def close(self) -> None:
        """Do nothing."""


def quick_courier(
    channel: Channel,
    outbox: MemoryOutbox,
    config: DeliveryConfig = QUICK,
    *,
    clock: Clock | None = None,
    report: ReportState | None = None,
) -> Courier:
    """A courier that waits little between tries, for chats that are written to at any speed."""
    limiter = Limiter(chat_burst=1000, account_rate=100_000)
    return Courier([channel], outbox, "courier-1", clock, config, limiter=limiter, report=report)


async def deliver(
    courier: Courier, outbox: MemoryOutbox, *entries: OutboxEntry, timeout_s: float = 10.0
) -> None:
    """Let a courier work until none of these entries is open; raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while any(outbox.is_open(entry) for entry in entries):
            await courier.drain()
            await asyncio.sleep(0.005)
