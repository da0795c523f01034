"""The Cloud API's webhooks: the signature before anything, the commit before the 200."""

import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from roost_channels.clock import Clock, SystemClock
from roost_channels.http.bodies import decoded
from roost_channels.intake import DeliveryReceipt, Intake
from roost_channels.message import InboundMessage, Quote
from roost_channels.webhook import WebhookReply, lowered
from roost_channels.whatsapp.numbers import canonical
from roost_channels.whatsapp.window import refusal_of
from roost_channels.whatsapp_cloud import payloads
from roost_channels.whatsapp_cloud.config import WhatsAppCloudConfig
from roost_channels.whatsapp_cloud.errors import by_code
from roost_channels.whatsapp_cloud.payloads import StatusSeen, Value

logger = logging.getLogger(__name__)

# Meta batches up to a thousand events and three megabytes.
BODY_BYTES_MAX = 3 * 1024 * 1024
# The detail of an account that works.
WAITING = "waiting for webhooks"
# Messages stored in one transaction.
BATCH_MAX = 20
SIGNATURE_PREFIX = "sha256="


class CloudWebhooks:
    """Takes what Meta posts for one business phone number, messages and receipts alike.

    Meta repeats what got no 200 for days: a batch is acknowledged when all of it is stored, and
    storing is idempotent.
    """

    def __init__(
        self, config: WhatsAppCloudConfig, intake: Intake, *, clock: Clock | None = None
    ) -> None:
        if config.app_secret is None or config.verify_token is None:
            raise ValueError("whatsapp_cloud.app_secret and verify_token are needed")
        self._account = config.account
        self._secret = config.app_secret.get_secret_value().encode()
        self._verify_token = config.verify_token.get_secret_value()
        self._has_template = bool(config.window_template)
        self._intake = intake
        self._clock = clock or SystemClock()
        self._has_problem = False

    def verify(self, query: Mapping[str, str]) -> WebhookReply:
        """Answer Meta's question whether the address is ours, asked when it is entered."""
        token = query.get("hub.verify_token", "")
        is_ours = hmac.compare_digest(token.encode(), self._verify_token.encode())
        if query.get("hub.mode") != "subscribe" or not is_ours:
            logger.warning("a wrong verify token was refused")
            return WebhookReply(403, b"wrong verify token\n")
        return WebhookReply(200, query.get("hub.challenge", "").encode())

    async def receive(self, headers: Mapping[str, str], body: bytes) -> WebhookReply:
        """Store a batch."""
        if len(body) > BODY_BYTES_MAX:
            return WebhookReply(413, b"body too large\n")
        if not self._is_signed(lowered(headers), body):
            logger.warning("webhook with a wrong signature refused")
            return WebhookReply(403, b"wrong signature\n")
        payload = decoded(body)
        if not isinstance(payload, dict):
            return WebhookReply(400, b"not a JSON object\n")
        try:
            for value in payloads.values(payload):
                await self._take(value)
        except Exception:
            logger.exception("a batch was not stored whole; Meta will repeat it")
            return WebhookReply(500, b"not stored\n")
        return WebhookReply(200, b"ok\n")

    async def _take(self, value: Value) -> None:
        if value.phone_number_id != self._account:
            logger.info("events of another number (%s) are not ours", value.phone_number_id)
            return
        batch = one_chat_each([await self._read(message, value) for message in value.messages()])
        for message in batch:
            if message.problem:
                logger.warning("a message could not be read: %s", message.problem)
            if message.is_group:
                logger.warning(
                    "message %s of the group %s is kept and not answered",
                    message.message_id,
                    message.address.chat,
                )
        # Short transactions: other chats don't wait until a thousand messages are stored.
        for start in range(0, len(batch), BATCH_MAX):
            await self._intake.accept("whatsapp", self._account, batch[start : start + BATCH_MAX])
        for status in value.statuses():
            if not status.message_id:
                logger.warning("a receipt without an id: %s", status)
                continue
            await self._file(status)
        problems = value.errors()
        for problem in problems:
            logger.warning("Meta reports a problem of the account: %s", problem)
            await self._intake.channel_state("whatsapp", self._account, "degraded", problem)
        if problems:
            self._has_problem = True
        elif self._has_problem and (batch or value.statuses()):
            # That the problem is over is told only by messages and receipts that come again.
            await self._intake.channel_state("whatsapp", self._account, "up", WAITING)
            self._has_problem = False

    async def _read(self, message: Any, value: Value) -> InboundMessage:
        read = payloads.read(message, value, self._clock.time())
        ref = payloads.quoted(message)
        if not ref or read.problem:
            return read
        quote = await self._quote(read.address.chat, ref)
        return payloads.read(message, value, self._clock.time(), quote)

    async def _quote(self, chat: str, ref: str) -> Quote:
        """Return the quoted message from our store, else as unresolved: Meta gives no text."""
        try:
            known = await self._intake.resolve_quote("whatsapp", self._account, chat, ref)
            if known is not None:
                return known
        except Exception:
            # The message itself matters more than what it quotes.
            logger.exception("quoted message %s could not be resolved", ref)
        return Quote(ref=ref, author="other", text="", excerpt="", resolved=False)

    async def _file(self, status: StatusSeen) -> None:
        error = by_code(status.error_code, status.description) if status.error_code else None
        receipt = DeliveryReceipt(
            part_id=status.part_id,
            message_id=status.message_id,
            status=status.status,
            error_code=status.error_code,
            description=status.description,
            refusal=refusal_of(error, has_template=self._has_template),
        )
        await self._intake.receipt("whatsapp", self._account, receipt)

    def _is_signed(self, headers: Mapping[str, str], body: bytes) -> bool:
        header = headers.get("x-hub-signature-256", "")
        expected = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        signature = header.removeprefix(SIGNATURE_PREFIX)
        return header.startswith(SIGNATURE_PREFIX) and hmac.compare_digest(
            signature.encode(), expected.encode()
        )


def one_chat_each(batch: Sequence[InboundMessage]) -> Sequence[InboundMessage]:
    """The messages, those of one person in one chat, whatever form of the number each names.

    Storage knows people's other names only after their first message.
    """
    chats: dict[str, str] = {}
    kept = []
    for message in batch:
        chat = message.address.chat
        first = chats.setdefault(canonical(chat), chat)
        if first != chat and message.sender.address == chat:
            names = (chat, *(name for name in message.sender.aliases if name != first))
            sender = replace(message.sender, address=first, aliases=names)
            message = replace(message, address=replace(message.address, chat=first), sender=sender)
        kept.append(message)
    return kept
