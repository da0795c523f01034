"""What WhatsApp itself offers and refuses, whichever provider carries the messages."""

from roost_channels.capabilities import Capabilities
from roost_channels.channel import Outgoing
from roost_channels.errors import EditTargetMissing
from roost_channels.message import Address
from roost_channels.whatsapp.window import SESSION_WINDOW_S

# Each provider replaces what it does differently: lengths, quotes, files.
CAPABILITIES = Capabilities(
    text_max=4096,
    # No provider says what it counts; UTF-16 units are never fewer than characters.
    text_unit="utf16",
    markup="marks",
    can_edit=False,
    can_delete=False,
    native_quote=True,
    buttons=True,
    typing_s=25.0,
    edit_interval_s=(0.0, 0.0),
    # The pair limit: one message in 6 s to the same person, up to 45 at once.
    send_interval_s=6.0,
    send_burst=45,
    session_window_s=SESSION_WINDOW_S,
)


class ImmutableMessages:
    """The verbs of a Channel whose messages stay as they were sent."""

    async def edit(self, message_id: str, message: Outgoing) -> None:
        """Raise EditTargetMissing."""
        raise EditTargetMissing("WhatsApp messages can't be edited")

    async def delete(self, address: Address, message_id: str) -> None:
        """Raise EditTargetMissing."""
        raise EditTargetMissing("WhatsApp messages can't be deleted")

    async def acknowledge(self, callback_id: str, text: str = "") -> None:
        """Do nothing: pressed buttons are messages, and no app waits for an answer."""
