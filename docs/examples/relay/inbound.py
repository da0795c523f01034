"""Relay's webhook: the signature before anything, the commit before the 200."""

import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from relay.config import RelayConfig
from roost_channels.http.bodies import parse_json
from roost_channels.intake import Intake
from roost_channels.message import Address, InboundMessage, Quote, Sender
from roost_channels.webhook import NOT_CONFIGURED, WebhookReply, WebhookRequest

logger = logging.getLogger(__name__)

BODY_BYTES_MAX = 65_536
SIGNATURE = "x-relay-signature"


class RelayWebhook:
    """Takes one account's events in. The server repeats what got no 2xx, with the same id."""

    def __init__(self, config: RelayConfig, intake: Intake) -> None:
        secret = config.webhook_secret.get_secret_value() if config.webhook_secret else ""
        self._secret = secret.encode()
        self._account = config.account
        self._intake = intake

    async def handle(self, request: WebhookRequest) -> WebhookReply:
        """Store one event."""
        if request.path_values["account"] != self._account:
            return NOT_CONFIGURED
        if len(request.body) > BODY_BYTES_MAX:
            return WebhookReply(413, b"body too large\n")
        expected = signature(self._secret, request.body)
        given = request.headers.get(SIGNATURE, "")
        if not hmac.compare_digest(given.encode(), expected.encode()):
            return WebhookReply(403, b"wrong signature\n")
        try:
            event = parse_json(request.body)
            message = read(event, self._account)
        except (ValueError, KeyError, TypeError):
            return WebhookReply(400, b"not an event\n")
        try:
            quote = await self._quote(event, message.address.chat)
            await self._intake.accept("relay", self._account, [replace(message, quote=quote)])
        except Exception:
            logger.exception("event %s was not stored; Relay will repeat it", message.event_id)
            return WebhookReply(500, b"not stored\n")
        return WebhookReply(204)

    async def _quote(self, event: Mapping[str, Any], chat: str) -> Quote | None:
        """The message replied to, from our store; marked as unresolved where it is not there."""
        ref = str(event.get("reply_to") or "")
        if not ref:
            return None
        known = await self._intake.resolve_quote("relay", self._account, chat, ref)
        return known or Quote(ref, author="other", text="", excerpt="", resolved=False)


def signature(secret: bytes, body: bytes) -> str:
    """What the header says of a body that the server signed."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def read(event: Mapping[str, Any], account: str) -> InboundMessage:
    """One event as a message; raises KeyError or TypeError for what is none."""
    sender = event["from"]
    is_group = event.get("group") is True
    address = Address("relay", account, str(event["chat"]), str(event["thread"]), is_group)
    return InboundMessage(
        address=address,
        event_id=str(event["id"]),
        message_id=str(event["id"]),
        sender=Sender(str(sender["id"]), str(sender.get("name") or "")),
        text=str(event["text"]),
        sent_at=float(event["at"]),
        is_addressed=not is_group or event.get("to_us") is True,
        raw=dict(event),
    )
