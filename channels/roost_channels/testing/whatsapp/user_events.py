"""Turns what users do on WhatsApp into events for the account's owner."""

import asyncio
from typing import Any, Generic

from roost_channels.testing.tasks import Tasks
from roost_channels.testing.whatsapp.state import MessageT, WhatsAppCore


class WhatsAppUserEvents(Generic[MessageT]):
    """Delivers events beside the fake's other work; subclasses word and send them."""

    def __init__(self, core: WhatsAppCore[Any, MessageT, Any]) -> None:
        self._deliveries = Tasks("deliveries")
        self._messages = core.messages

    async def deliver(self, event: dict[str, Any]) -> None:
        """Send one event to the webhook, with the faults for `inbound`."""
        raise NotImplementedError

    def start_delivery(self, event: dict[str, Any]) -> asyncio.Task[None]:
        """Start `deliver` as a task."""
        return self._deliveries.start(self.deliver(event))

    async def stop(self) -> None:
        """Cancel the deliveries under way."""
        await self._deliveries.stop()

    def quotes_user(self, message_id: str) -> bool:
        """Whether the quoted message is the user's own; False for an unknown one."""
        quoted = self._messages.get(message_id)
        return quoted is not None and quoted.inbound
