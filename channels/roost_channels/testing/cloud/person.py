"""What people do on WhatsApp, worded as Meta's webhooks."""

import asyncio
from typing import Any

from roost_channels.testing.cloud.state import CloudCore, CloudMessage, CloudPerson, new_wamid
from roost_channels.testing.cloud.webhooks import CloudCaller


class CloudPeople:
    """Everybody with a phone. With `held` set, events pile up and leave as one batch."""

    def __init__(self, core: CloudCore, webhooks: CloudCaller) -> None:
        self._core = core
        self._webhooks = webhooks
        self._deliveries: set[asyncio.Task[bool]] = set()
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
        if core.settings.session_window_s is not None and content["type"] != "reaction":
            person.window_until = core.now() + core.settings.session_window_s
        message = CloudMessage(
            new_wamid(),
            True,
            person.address,
            body,
            core.now(),
            "received",
            content["type"],
            context=reply_to,
        )
        told = {"id": message.id, "timestamp": str(int(core.now())), **_names(person), **content}
        if forwarded:
            told["context"] = {"forwarded": True}
        elif reply_to:
            target = core.messages.get(reply_to)
            own = target is not None and target.inbound
            author = person.wa_id or person.user_id if own else core.settings.display_phone_number
            told["context"] = {"from": author, "id": reply_to}
        core.store(message)
        return message, self.value(person, told)

    def value(self, person: CloudPerson, told: dict[str, Any]) -> dict[str, Any]:
        contact: dict[str, Any] = {"profile": {"name": person.name}}
        if person.wa_id:
            contact["wa_id"] = person.wa_id
        if person.user_id:
            contact["user_id"] = person.user_id
        return {
            "messaging_product": "whatsapp",
            "metadata": self._core.metadata(),
            "contacts": [contact],
            "messages": [told],
        }

    def start_delivery(self, *values: dict[str, Any]) -> asyncio.Task[bool]:
        """Bring the events to the webhook, or keep them for the batch."""
        task = asyncio.create_task(self._deliver(values))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)
        return task

    async def _deliver(self, values: tuple[dict[str, Any], ...]) -> bool:
        if self.held is not None:
            self.held.extend(values)
            return True
        return await self._webhooks.call(values, "inbound")

    async def stop(self) -> None:
        tasks = list(self._deliveries)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _names(person: CloudPerson) -> dict[str, str]:
    names = {"from": person.wa_id} if person.wa_id else {}
    return names | ({"from_user_id": person.user_id} if person.user_id else {})
