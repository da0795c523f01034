"""The console's own channel: what is stored is delivered; pages and `roost chat` read it there."""

from typing import Any, Literal

from roost_channels.capabilities import Capabilities
from roost_channels.channel import Outgoing
from roost_channels.console.config import ACCOUNT, CHANNEL
from roost_channels.errors import Rejected
from roost_channels.message import Address, Attachment, Receipt


class ConsoleChannel:
    """Sending is storing: the part's own id is the receipt."""

    name = CHANNEL
    account = ACCOUNT
    capabilities = Capabilities(
        text_max=1_000_000,
        text_unit="codepoint",
        markup="plain",
        can_edit=False,
        can_delete=False,
        native_quote=True,
        buttons=False,
        typing_s=0.0,
        edit_interval_s=(0.0, 0.0),
        send_interval_s=0.0,
    )

    async def send(self, message: Outgoing) -> Receipt:
        """Take the part's own id for a proof: it is stored, and pages read it there."""
        return Receipt(message.part_id)

    async def edit(self, message_id: str, message: Outgoing) -> None:
        """Pages show progress from storage; nothing is kept twice."""

    async def delete(self, address: Address, message_id: str) -> None:
        """Nothing of ours is shown beside what is stored."""

    async def indicate(self, address: Address, *, inbound_message_id: str = "") -> None:
        """Pages show a running turn themselves."""

    async def find_sent(
        self, message: Outgoing, *, since: float
    ) -> Receipt | Literal["absent", "unknown"]:
        """Find it always: what is stored is delivered."""
        return Receipt(message.part_id)

    async def download(self, attachment: Attachment, bytes_max: int) -> bytes:
        """Raise Rejected: no message comes with a file."""
        raise Rejected("the console receives no files")

    async def acknowledge(self, callback_id: str, text: str = "") -> None:
        """Buttons on pages are answered by the page."""

    async def ingest(self, intake: Any) -> None:
        """The console and the API put messages in by themselves; there is nothing to wait for."""
        await intake.channel_state(self.name, self.account, "up")

    async def close(self) -> None:
        """Nothing is open."""
