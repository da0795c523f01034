"""What people do on WhatsApp, turned into signed inbound webhooks."""

import asyncio
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

from roost_channels.testing.faults import OUT_OF_ORDER_MAX_S
from roost_channels.testing.tasks import Tasks
from roost_channels.testing.twilio.state import (
    API_VERSION,
    TextMessage,
    TwilioCore,
    TwilioMedia,
    new_sid,
)
from roost_channels.testing.twilio.webhooks import Attempt, WebhookCaller

WEBHOOK_FAILED = "11200"


class People:
    """Everybody with a phone."""

    def __init__(self, core: TwilioCore, webhooks: WebhookCaller) -> None:
        self._core = core
        self._webhooks = webhooks
        self._withheld: dict[str, str] | None = None
        self._deliveries = Tasks("deliveries")

    def write(
        self,
        address: str,
        body: str,
        *,
        reply_to: str = "",
        profile_name: str = "",
        media: Sequence[tuple[bytes, str]] = (),
        file_name: str = "",
        extra: dict[str, str] | None = None,
        message_type: str = "text",
    ) -> tuple[TextMessage, dict[str, str]]:
        """Store an inbound message and word its webhook."""
        core = self._core
        person = core.person(address)
        person.name = profile_name or person.name
        core.open_window(person)
        message = TextMessage(
            new_sid("MM" if media else "SM"),
            True,
            person.address,
            body,
            core.now(),
            "received",
            reply_to=reply_to,
            sent_at=core.now(),
            from_=person.address,
            to=core.settings.sender,
        )
        parameters = self._parameters(message, person.phone, person.user_id, person.name)
        parameters["MessageType"] = message_type
        for index, (data, content_type) in enumerate(media):
            made_at = core.now()
            item = TwilioMedia(
                new_sid("ME"), content_type, data, message.id, made_at, filename=file_name
            )
            core.media[item.id] = item
            message.media.append(item.id)
            parameters[f"MediaUrl{index}"] = (
                f"{core.base_url}/{API_VERSION}/Accounts/{core.settings.account_sid}"
                f"/Messages/{message.id}/Media/{item.id}"
            )
            parameters[f"MediaContentType{index}"] = content_type
            parameters["MessageType"] = content_type.partition("/")[0]
        parameters["NumMedia"] = str(len(media))
        if reply_to:
            parameters["OriginalRepliedMessageSid"] = reply_to
            target = core.messages.get(reply_to)
            own = target is not None and target.inbound
            parameters["OriginalRepliedMessageSender"] = (
                person.address if own else core.settings.sender
            )
        parameters.update(extra or {})
        core.store(message)
        return message, parameters

    def _parameters(
        self, message: TextMessage, phone: str, bsuid: str, name: str
    ) -> dict[str, str]:
        parameters = {
            "AccountSid": self._core.settings.account_sid,
            "ApiVersion": API_VERSION,
            "Body": message.body,
            "ChannelMetadata": json.dumps({"type": "whatsapp", "data": {"context": {}}}),
            "From": message.from_,
            "MessageSid": message.id,
            "NumSegments": "1",
            "ProfileName": name,
            "ReferralNumMedia": "0",
            "SmsMessageSid": message.id,
            "SmsSid": message.id,
            "SmsStatus": "received",
            "To": message.to,
        }
        if phone:
            parameters["WaId"] = phone.removeprefix("whatsapp:+")
        if bsuid:
            parameters["ExternalUserId"] = bsuid
        return parameters

    async def deliver(self, parameters: dict[str, str]) -> None:
        """Bring an inbound message to the webhook, with the faults ordered for `inbound`."""
        fault = self._core.faults.take(
            "inbound", ("drop_before", "delay", "duplicate_update", "out_of_order")
        )
        kind = fault.kind if fault else ""
        if kind == "drop_before":
            return
        if kind == "out_of_order" and self._withheld is None:
            self._withheld = parameters
            self._deliveries.start(self._release_late(parameters))
            return
        if fault is not None and kind == "delay":
            await self._core.clock.sleep(fault.value)
        await self._post(parameters)
        if kind == "duplicate_update":
            await self._post(parameters)
        if self._withheld is not None:
            late, self._withheld = self._withheld, None
            await self._post(late)

    async def _release_late(self, parameters: dict[str, str]) -> None:
        await self._core.clock.sleep(OUT_OF_ORDER_MAX_S)
        if self._withheld is parameters:
            self._withheld = None
            await self._post(parameters)

    async def _post(self, parameters: dict[str, str]) -> None:
        settings = self._core.settings
        if not settings.webhook_url:
            return
        attempt = await self._webhooks.call(settings.webhook_url, parameters)
        if not attempt.ok and settings.fallback_url:
            failed = {"ErrorCode": WEBHOOK_FAILED, "ErrorUrl": settings.webhook_url}
            attempt = await self._webhooks.call(settings.fallback_url, {**parameters, **failed})
        if attempt.ok:
            self._obey(attempt, parameters["From"])

    def _obey(self, attempt: Attempt, person: str) -> None:
        """TwiML in the answer: each <Message> is sent back."""
        for text in _twiml_messages(attempt.body):
            now, sender = self._core.now(), self._core.settings.sender
            reply = TextMessage(
                new_sid("SM"), False, person, text, now, "delivered", from_=sender, to=person
            )
            reply.sent_at = reply.delivered_at = now
            self._core.store(reply)

    def start_delivery(self, parameters: dict[str, str]) -> asyncio.Task[None]:
        return self._deliveries.start(self.deliver(parameters))

    async def stop(self) -> None:
        await self._deliveries.stop()


def _twiml_messages(body: str) -> list[str]:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return []
    found = [(element.findtext("Body") or element.text or "") for element in root.iter("Message")]
    return [text.strip() for text in found if text.strip()]


def location_parameters(
    latitude: float, longitude: float, address: str, label: str
) -> dict[str, Any]:
    given = {"Latitude": str(latitude), "Longitude": str(longitude)}
    if address:
        given["Address"] = address
    if label:
        given["Label"] = label
    return given
