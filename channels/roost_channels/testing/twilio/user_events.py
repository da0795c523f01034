"""Turns what users do on WhatsApp into Twilio's signed inbound webhooks."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

from roost_channels.testing.faults import OUT_OF_ORDER_MAX_S
from roost_channels.testing.twilio.state import (
    API_VERSION,
    TextMessage,
    TwilioCore,
    TwilioMedia,
    new_sid,
)
from roost_channels.testing.twilio.webhooks import TwilioWebhookClient
from roost_channels.testing.whatsapp.state import WhatsAppUser
from roost_channels.testing.whatsapp.user_events import WhatsAppUserEvents

WEBHOOK_FAILED = "11200"


class TwilioUserEvents(WhatsAppUserEvents[TextMessage]):
    """Every event is the form of one inbound webhook."""

    def __init__(self, core: TwilioCore, webhooks: TwilioWebhookClient) -> None:
        super().__init__(core)
        self._core = core
        self._webhooks = webhooks
        self._withheld: dict[str, str] | None = None

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
        """Store an inbound message; returns it and its event. media: (data, content type)."""
        core = self._core
        user = core.user(address)
        user.name = profile_name or user.name
        core.open_window(user)
        message = TextMessage(
            new_sid("MM" if media else "SM"),
            True,
            user.address,
            body,
            core.now(),
            "received",
            reply_to=reply_to,
            sent_at=core.now(),
            from_=user.address,
            to=core.settings.sender,
        )
        event = self._event(message, user)
        event["MessageType"] = message_type
        for index, (data, content_type) in enumerate(media):
            url = self._add_file(message, data, content_type, file_name)
            event[f"MediaUrl{index}"] = url
            event[f"MediaContentType{index}"] = content_type
            event["MessageType"] = content_type.partition("/")[0]
        event["NumMedia"] = str(len(media))
        if reply_to:
            author = user.address if self.quotes_user(reply_to) else core.settings.sender
            event["OriginalRepliedMessageSid"] = reply_to
            event["OriginalRepliedMessageSender"] = author
        event.update(extra or {})
        core.store(message)
        return message, event

    def write_location(
        self, user: str, latitude: float, longitude: float, address: str = "", label: str = ""
    ) -> tuple[TextMessage, dict[str, str]]:
        """Store a location that a user sent; returns it and its event.

        address, label: the place's street address and name, left out when empty.
        """
        fields = {"Latitude": str(latitude), "Longitude": str(longitude)}
        if address:
            fields["Address"] = address
        if label:
            fields["Label"] = label
        return self.write(user, "", extra=fields, message_type="location")

    def _event(self, message: TextMessage, user: WhatsAppUser) -> dict[str, str]:
        event = {
            "AccountSid": self._core.settings.account_sid,
            "ApiVersion": API_VERSION,
            "Body": message.body,
            "ChannelMetadata": json.dumps({"type": "whatsapp", "data": {"context": {}}}),
            "From": message.from_,
            "MessageSid": message.id,
            "NumSegments": "1",
            "ProfileName": user.name,
            "ReferralNumMedia": "0",
            "SmsMessageSid": message.id,
            "SmsSid": message.id,
            "SmsStatus": "received",
            "To": message.to,
        }
        if user.phone:
            event["WaId"] = user.phone.removeprefix("whatsapp:+")
        if user.user_id:
            event["ExternalUserId"] = user.user_id
        return event

    def _add_file(self, message: TextMessage, data: bytes, content_type: str, name: str) -> str:
        """Store a file of the message; returns its URL."""
        core = self._core
        file = TwilioMedia(new_sid("ME"), content_type, data, message.id, core.now(), filename=name)
        core.media[file.id] = file
        message.media.append(file.id)
        account = core.settings.account_sid
        path = f"/{API_VERSION}/Accounts/{account}/Messages/{message.id}/Media/{file.id}"
        return f"{core.base_url}{path}"

    async def deliver(self, event: dict[str, Any]) -> None:
        """Send one event to the webhook, with the faults for `inbound`."""
        fault = self._core.faults.take(
            "inbound", ("drop_before", "delay", "duplicate_update", "out_of_order")
        )
        kind = fault.kind if fault else ""
        if kind == "drop_before":
            return
        if kind == "out_of_order" and self._withheld is None:
            self._withheld = event
            self._deliveries.start(self._release_later(event))
            return
        if fault is not None and kind == "delay":
            await self._core.clock.sleep(fault.value)
        await self._post(event)
        if kind == "duplicate_update":
            await self._post(event)
        if self._withheld is not None:
            withheld, self._withheld = self._withheld, None
            await self._post(withheld)

    async def _release_later(self, event: dict[str, str]) -> None:
        await self._core.clock.sleep(OUT_OF_ORDER_MAX_S)
        if self._withheld is event:
            self._withheld = None
            await self._post(event)

    async def _post(self, event: dict[str, str]) -> None:
        settings = self._core.settings
        if not settings.webhook_url:
            return
        attempt = await self._webhooks.call(settings.webhook_url, event)
        if not attempt.ok and settings.fallback_url:
            failure = {"ErrorCode": WEBHOOK_FAILED, "ErrorUrl": settings.webhook_url}
            attempt = await self._webhooks.call(settings.fallback_url, {**event, **failure})
        if attempt.ok:
            self._send_twiml_replies(attempt.body, event["From"])

    def _send_twiml_replies(self, twiml: str, address: str) -> None:
        """Send the text of each <Message> element back to the user."""
        for text in _twiml_messages(twiml):
            now, sender = self._core.now(), self._core.settings.sender
            reply = TextMessage(
                new_sid("SM"), False, address, text, now, "delivered", from_=sender, to=address
            )
            reply.sent_at = reply.delivered_at = now
            self._core.store(reply)


def _twiml_messages(body: str) -> list[str]:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return []
    texts = [(element.findtext("Body") or element.text or "") for element in root.iter("Message")]
    return [text.strip() for text in texts if text.strip()]
