"""Turns what users do on WhatsApp into Meta's webhooks."""

from typing import Any

from roost_channels.testing.cloud.state import (
    CloudCore,
    CloudMessage,
    business_scoped_id,
    new_wamid,
    wa_id,
)
from roost_channels.testing.cloud.webhooks import CloudWebhookClient
from roost_channels.testing.whatsapp.state import WhatsAppUser
from roost_channels.testing.whatsapp.user_events import WhatsAppUserEvents


class CloudUserEvents(WhatsAppUserEvents[CloudMessage]):
    """Every event is the value of a change in a webhook of Meta.

    batch: while it is a list, events are collected there instead of being sent.
    """

    def __init__(self, core: CloudCore, webhooks: CloudWebhookClient) -> None:
        super().__init__(core)
        self.batch: list[dict[str, Any]] | None = None
        self._core = core
        self._webhooks = webhooks

    def write(
        self,
        address: str,
        content: dict[str, Any],
        *,
        body: str = "",
        reply_to: str = "",
        forwarded: bool = False,
    ) -> tuple[CloudMessage, dict[str, Any]]:
        """Store an inbound message; returns it and its event. content: `type` and its object."""
        core, user = self._core, self._core.user(address)
        if content["type"] != "reaction":
            core.open_window(user)
        message = CloudMessage(
            new_wamid(),
            True,
            user.address,
            body,
            core.now(),
            "received",
            content["type"],
            reply_to=reply_to,
        )
        fields = {
            "id": message.id,
            "timestamp": str(int(core.now())),
            **_sender_fields(user),
            **content,
        }
        if forwarded:
            fields["context"] = {"forwarded": True}
        elif reply_to:
            own_id = wa_id(user) or business_scoped_id(user)
            author = own_id if self.quotes_user(reply_to) else core.settings.display_phone_number
            fields["context"] = {"from": author, "id": reply_to}
        core.store(message)
        return message, self._event(user, fields)

    def _event(self, user: WhatsAppUser, message: dict[str, Any]) -> dict[str, Any]:
        contact: dict[str, Any] = {"profile": {"name": user.name}}
        if user.phone:
            contact["wa_id"] = wa_id(user)
        if user.user_id:
            contact["user_id"] = business_scoped_id(user)
        return {
            "messaging_product": "whatsapp",
            "metadata": self._core.metadata(),
            "contacts": [contact],
            "messages": [message],
        }

    async def deliver(self, event: dict[str, Any]) -> None:
        """Send one event to the webhook, or add it to the batch."""
        if self.batch is not None:
            self.batch.append(event)
        else:
            await self._webhooks.call([event], "inbound")

    async def deliver_batch(self) -> None:
        """Send the collected events as one webhook and end the batch."""
        events, self.batch = self.batch or [], None
        await self._deliveries.start(self._webhooks.call(events, "inbound"))


def _sender_fields(user: WhatsAppUser) -> dict[str, str]:
    names = {"from": wa_id(user)} if user.phone else {}
    return names | ({"from_user_id": business_scoped_id(user)} if user.user_id else {})
