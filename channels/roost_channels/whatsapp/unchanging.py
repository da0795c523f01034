"""What WhatsApp itself does not offer, whichever provider carries it."""

from collections.abc import Sequence

from roost_channels.errors import EditTargetMissing
from roost_channels.message import Address, Button
from roost_channels.rendering.parts import RenderedPart


class Unchanging:
    """The verbs of a Channel whose messages stay as they were sent."""

    async def edit(
        self,
        address: Address,
        message_id: str,
        part: RenderedPart,
        *,
        buttons: Sequence[Button] = (),
    ) -> None:
        raise EditTargetMissing("WhatsApp messages can't be edited")

    async def delete(self, address: Address, message_id: str) -> None:
        raise EditTargetMissing("WhatsApp messages can't be deleted")

    async def acknowledge(self, callback_id: str, text: str = "") -> None:
        """Pressed buttons are messages; nothing spins."""
