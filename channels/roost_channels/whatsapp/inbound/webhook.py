"""Twilio's webhooks: the signature before anything, the commit before the 200."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from twilio.request_validator import (  # type: ignore[import-untyped]
    HMAC_SHA1,
    SIGNATURE_SETTINGS_HEADER,
    RequestValidator,
    get_signature_algorithm,
)

from roost_channels.clock import Clock, SystemClock
from roost_channels.errors import DeliveryError
from roost_channels.intake import DeliveryReceipt, Intake
from roost_channels.message import Attachment, InboundMessage, Quote
from roost_channels.webhook import WebhookReply, lowered
from roost_channels.whatsapp.client import TwilioClient
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.described import identifier
from roost_channels.whatsapp.errors import failure
from roost_channels.whatsapp.inbound import forms
from roost_channels.whatsapp.inbound.form_contents import files_of, is_card
from roost_channels.whatsapp.inbound.forms import Form
from roost_channels.whatsapp.inbound.vcards import CARD_BYTES_MAX, CARDS_MAX, contacts_of
from roost_channels.whatsapp.window import refusal_of

logger = logging.getLogger(__name__)

BODY_BYTES_MAX = 65_536
# Looking up a quoted message takes at most this long: Twilio gives a webhook 15 s in all.
QUOTE_TIMEOUT_S = 3.0
# Reading the cards of contacts that were sent, likewise.
CARDS_TIMEOUT_S = 3.0
# The status of what people send; every other one is about a message of ours.
RECEIVED = "received"
EMPTY_TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'


class TwilioWebhooks:
    """Takes messages in at /hooks/twilio/inbound and receipts at /hooks/twilio/status.

    public_base_url: the address Twilio was told, which the signature covers. Never the request's
    own Host header, which anybody can write.
    """

    def __init__(
        self,
        config: TwilioConfig,
        public_base_url: str,
        intake: Intake,
        *,
        client: TwilioClient | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not config.configured or config.auth_token is None:
            raise ValueError("twilio.account_sid, twilio.auth_token and twilio.from are needed")
        self._account_sid = config.account_sid
        self._account = config.account
        self._base = public_base_url.rstrip("/")
        self._token = config.auth_token.get_secret_value()
        self._shared = {
            key: secret.get_secret_value() for key, secret in config.shared_keys.items()
        }
        self._has_template = bool(config.window_template)
        self._intake = intake
        self._client = client or TwilioClient(config)
        self._clock = clock or SystemClock()

    async def inbound(self, url_path: str, headers: Mapping[str, str], body: bytes) -> WebhookReply:
        """Store one message. `url_path` is the request's path with its query string."""
        form, refused = self._checked(url_path, headers, body)
        if form is None:
            return refused
        if form.get("MessageStatus") not in ("", RECEIVED):  # the addresses were mixed up
            return await self._file(url_path, form)
        return await self._take(form)

    async def status(self, url_path: str, headers: Mapping[str, str], body: bytes) -> WebhookReply:
        """File one delivery receipt; our callback address names its part."""
        form, refused = self._checked(url_path, headers, body)
        if form is None:
            return refused
        if _status_of(form) == RECEIVED:  # a person's message: the addresses were mixed up
            return await self._take(form)
        return await self._file(url_path, form)

    async def _take(self, form: Form) -> WebhookReply:
        quote, files = await self._quote(form)
        message = forms.read(form, self._account, self._clock.time(), quote, files)
        message = await self._with_contacts(message)
        if message.problem:
            logger.warning("a message could not be read: %s", message.problem)
        try:
            await self._intake.accept("whatsapp", self._account, (message,))
        except Exception:
            logger.exception("message %s was not stored; Twilio may repeat it", message.event_id)
            return WebhookReply(500, b"not stored\n")
        return WebhookReply(200, EMPTY_TWIML, "text/xml; charset=utf-8")

    async def _file(self, url_path: str, form: Form) -> WebhookReply:
        sid, status = form.get("MessageSid") or form.get("SmsSid"), _status_of(form)
        if not sid or not status:
            return WebhookReply(400, b"not a receipt\n")
        error = failure(status, form.get("ErrorCode"), form.get("ErrorMessage"))
        part_id = parse_qs(urlsplit(url_path).query).get("part", [""])[0]
        receipt = DeliveryReceipt(
            part_id=part_id,
            message_id=sid,
            status=status,
            error_code=form.get("ErrorCode"),
            description=form.get("ErrorMessage"),
            refusal=refusal_of(error, has_template=self._has_template),
        )
        try:
            await self._intake.receipt("whatsapp", self._account, receipt)
        except Exception:
            logger.exception("receipt of %s was not stored; Twilio may repeat it", sid)
            return WebhookReply(500, b"not stored\n")
        return WebhookReply(204)

    async def close(self) -> None:
        """Release the connections."""
        await self._client.close()

    def _checked(
        self, url_path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Form | None, WebhookReply]:
        """Return the form if Twilio signed it and it is about our account, else the refusal."""
        if not lowered(headers).get("x-twilio-signature"):
            return None, WebhookReply(403, b"no signature\n")
        if len(body) > BODY_BYTES_MAX:
            return None, WebhookReply(413, b"body too large\n")
        try:
            form = Form.parse(body)
        except ValueError:
            return None, WebhookReply(400, b"not a form\n")
        if not self._is_signed(url_path, lowered(headers), form):
            logger.warning("webhook with a wrong signature refused")
            return None, WebhookReply(403, b"wrong signature\n")
        if form.get("AccountSid", self._account_sid or "") != self._account_sid:
            return None, WebhookReply(403, b"wrong account\n")
        return form, WebhookReply(200)

    def _is_signed(self, url_path: str, headers: Mapping[str, str], form: Form) -> bool:
        """Check the signature: SHA-1 by the auth token, else by the shared key of a header."""
        signature = headers.get("x-twilio-signature", "")
        settings = headers.get(SIGNATURE_SETTINGS_HEADER.lower(), "")
        algorithm = get_signature_algorithm(settings)
        if settings and algorithm.upper() != HMAC_SHA1:
            secret = self._shared.get(_setting(settings, "key"), "")
        else:
            secret = self._token
        if not signature or not secret:
            return False
        validator = RequestValidator(secret)
        return bool(validator.validate(self._base + url_path, form, signature, algorithm))

    async def _quote(self, form: Form) -> tuple[Quote | None, Sequence[Attachment]]:
        """Return the quoted message from our store, else from Twilio with its files, else marked as
        unresolved.
        """
        ref = identifier(form.get("OriginalRepliedMessageSid"))
        if not ref:
            return None, ()
        try:
            async with asyncio.timeout(QUOTE_TIMEOUT_S):
                known = await self._intake.resolve_quote(
                    "whatsapp", self._account, form.get("From"), ref
                )
                return (known, ()) if known is not None else await self._fetched(ref)
        except (DeliveryError, TimeoutError) as error:
            logger.info("quoted message %s could not be had: %s", ref, error)
        except Exception:
            # The message itself matters more than what it quotes.
            logger.exception("quoted message %s could not be resolved", ref)
        return Quote(ref=ref, author="other", text="", excerpt="", resolved=False), ()

    async def _with_contacts(self, message: InboundMessage) -> InboundMessage:
        """The message with the people of its vCards in words; the file itself stays with it."""
        cards = [one for one in message.attachments if one.url and is_card(one.mime_type)]
        if not cards:
            return message
        contacts: list[str] = []
        try:
            async with asyncio.timeout(CARDS_TIMEOUT_S):
                for card in cards:
                    contacts += contacts_of(
                        await self._client.fetch_media(card.url, CARD_BYTES_MAX)
                    )
        except (DeliveryError, TimeoutError) as error:
            logger.info("a contact of %s could not be read: %s", message.message_id, error)
        except Exception:
            logger.exception("a contact of %s could not be read", message.message_id)
        told = (Attachment("contact", "", words) for words in contacts[:CARDS_MAX])
        return replace(message, attachments=(*message.attachments, *told))

    async def _fetched(self, ref: str) -> tuple[Quote, Sequence[Attachment]]:
        """A message that we never stored, and the files it carried."""
        message = await self._client.fetch_message(ref, timeout_s=QUOTE_TIMEOUT_S)
        files: Sequence[Attachment] = ()
        if str(message.get("num_media") or "0") != "0":
            files = files_of(await self._client.list_media(ref))
        return forms.fetched_quote(ref, message, self._account, bool(files)), files


def _status_of(form: Form) -> str:
    return form.get("MessageStatus") or form.get("SmsStatus")


def _setting(header: str, name: str) -> str:
    """Return one value of `key=<id>,algorithm=<name>`."""
    for pair in header.split(","):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            return value.strip()
    return ""
