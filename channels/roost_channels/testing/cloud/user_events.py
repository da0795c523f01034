"""What people do on WhatsApp, worded as Meta's webhooks."""

import asyncio
from typing import Any

from roost_channels.testing.cloud.state import CloudCore, CloudMessage, new_wamid, user_id, wa_id
from roost_channels.testing.cloud.webhooks import CloudCaller
from roost_channels.testing.tasks import Tasks
from roost_channels.testing.whatsapp.state import Person


class CloudPeople:
    """Everybody with a phone. With `held` set, events pile up and leave as one batch."""

    def __init__(self, core: CloudCore, webhooks: CloudCaller) -> None:
        self._core = core
        self._webhooks = webhooks
        self._deliveries = Tasks("deliveries")
        self.held: list[dict[str, Any]] | None = None

    def write(
        self,
        address: str,
        content: dict[str, Any],
        *,
        body: str = "",
        reply_to: str = "",
        forwarded: bool = False,
    ) -> tuple[CloudMessage, dict[str, Any]]:
        """Store an inbound message and word its webhook value. content: `type` and its object."""
        core, person = self._core, self._core.person(address)
        if content["type"] != "reaction":
            core.open_window(person)
        message = CloudMessage(
            new_wamid(),
            True,
            person.address,
            body,
            core.now(),
            "received",
            content["type"],
            reply_to=reply_to,
        )
        told = {"id": message.id, "timestamp": str(int(core.now())), **_names(person), **content}
        if forwarded:
            told["context"] = {"forwarded": True}
        elif reply_to:
            target = core.messages.get(reply_to)
            own = target is not None and target.inbound
            us = core.settings.display_phone_number
            author = wa_id(person) or user_id(person) if own else us
            told["context"] = {"from": author, "id": reply_to}
        core.store(message)
        return message, self.value(person, told)

    def value(self, person: Person, told: dict[str, Any]) -> dict[str, Any]:
        contact: dict[str, Any] = {"profile": {"name": person.name}}
        if person.phone:
            contact["wa_id"] = wa_id(person)
        if person.user_id:
            contact["user_id"] = user_id(person)
        return {
            "messaging_product": "whatsapp",
            "metadata": self._core.metadata(),
            "contacts": [contact],
            "messages": [told],
        }

    def start_delivery(self, *values: dict[str, Any]) -> asyncio.Task[bool]:
        """Bring the events to the webhook, or keep them for the batch."""
        return self._deliveries.start(self._deliver(values))

    async def _deliver(self, values: tuple[dict[str, Any], ...]) -> bool:
        if self.held is not None:
            self.held.extend(values)
            return True
        return await self._webhooks.call(values, "inbound")

    async def stop(self) -> None:
        await self._deliveries.stop()


def _names(person: Person) -> dict[str, str]:
    names = {"from": wa_id(person)} if person.phone else {}
    return names | ({"from_user_id": user_id(person)} if person.user_id else {})
