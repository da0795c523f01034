"""WhatsApp through Twilio as a Channel: no edits, no native quotes, order kept by waiting."""

import logging
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import quote

from roost_channels.channel import Outgoing
from roost_channels.clock import Clock, Passed, SystemClock
from roost_channels.errors import Ambiguous, Rejected
from roost_channels.intake import Intake
from roost_channels.message import Address, Attachment, Media, Receipt, ReplyTarget, with_choices
from roost_channels.outbox import Receipts
from roost_channels.rendering.parts import RenderedPart, utf16_length
from roost_channels.rendering.quote_line import needs_quote_line, quote_prefix
from roost_channels.whatsapp import contents, network
from roost_channels.whatsapp.client import TwilioClient
from roost_channels.whatsapp.config import TwilioConfig
from roost_channels.whatsapp.contents import Contents
from roost_channels.whatsapp.gate import Gate
from roost_channels.whatsapp.http import TIMEOUT_S
from roost_channels.whatsapp.inbound.backfill import Backfill
from roost_channels.whatsapp.links import MediaLinks
from roost_channels.whatsapp.window import INVITATION

logger = logging.getLogger(__name__)

STATUS_PATH = "/hooks/twilio/status"
BODY_MAX = 1600
# A message that is not in the list this long after the request was never accepted. Twilio may work
# on a request for as long as we would wait for its answer, even if our process ended meanwhile.
ABSENT_AFTER_S = TIMEOUT_S + 10.0
CLOCK_SKEW_S = 5.0
LIST_PAGE = 50
# What WhatsApp takes of a photo, and Twilio of any file.
PHOTO_BYTES_MAX = 5 * 1024 * 1024
MEDIA_BYTES_MAX = 16 * 1024 * 1024

CAPABILITIES = replace(
    network.CAPABILITIES,
    text_max=BODY_MAX,
    native_quote=False,
    button_text_max=contents.TEXT_MAX,
)


class WhatsAppChannel(network.ImmutableMessages):
    """One sender. `public_base_url` is where Twilio reaches our status webhook.

    receipts: what went to each chat before, and how it stands.
    """

    name = "whatsapp"

    def __init__(
        self,
        config: TwilioConfig,
        *,
        public_base_url: str = "",
        clock: Clock | None = None,
        client: TwilioClient | None = None,
        receipts: Receipts | None = None,
    ) -> None:
        self._client = client or TwilioClient(config)
        self._public_base_url = public_base_url.rstrip("/")
        self._clock = clock or SystemClock()
        self._passed = Passed.by(self._clock)
        self._gate = Gate(self._clock, receipts, self._status)
        self.account = config.account
        self._template = config.window_template
        self._contents = Contents(self._client)
        self._backfill = Backfill(self._client, config, self._clock)
        self._links: MediaLinks | None = None
        if self._public_base_url and config.auth_token is not None:
            self._links = MediaLinks(config.auth_token, self._public_base_url)
        self.capabilities = replace(
            CAPABILITIES,
            invitation=INVITATION if self._template else "",
            media_bytes_max=MEDIA_BYTES_MAX if self._links else 0,
            photo_bytes_max=PHOTO_BYTES_MAX if self._links else 0,
        )

    async def send(self, message: Outgoing) -> Receipt:
        """Send; the status callback carries the part id."""
        part, chat, part_id = message.part, message.address.chat, message.part_id
        body = body_of(part, message.reply_to)
        if part.media is not None:
            return await self._create(chat, part_id, self._media(part.media, body))
        if not message.buttons:
            return await self._create(chat, part_id, {"Body": body})
        in_words = with_choices(body, message.buttons)
        if utf16_length(body) > contents.TEXT_MAX:
            return await self._create(chat, part_id, {"Body": in_words})
        try:
            content = await self._contents.form(body, message.buttons)
            return await self._create(chat, part_id, content)
        except Rejected as error:
            # Provably not sent: the words must arrive, whatever is wrong with the buttons.
            logger.warning("sent without its buttons: %s", error)
            self._contents.forget()
            return await self._create(chat, part_id, {"Body": in_words})

    def _media(self, media: Media, caption: str) -> dict[str, str]:
        """Give Twilio a link by which it fetches the file from us."""
        if self._links is None:
            raise Rejected("files need public_base_url", code="media")
        link = self._links.link(media.artifact_id, media.name, self._clock.time())
        return {"MediaUrl": link, **({"Body": caption} if caption else {})}

    async def in_order(self, address: Address, part_id: str = "") -> None:
        """Wait until the message before this one is on its way."""
        await self._gate.wait(address, part_id)

    async def invite(self, address: Address, *, part_id: str) -> Receipt:
        """Send the approved template, which is allowed outside the session window."""
        if not self._template:
            raise Rejected("twilio.window_template is not set", code="template")
        return await self._create(address.chat, part_id, {"ContentSid": self._template})

    async def _create(self, chat: str, part_id: str, content: dict[str, str]) -> Receipt:
        form = {"To": chat, "From": self.account, **content}
        if self._public_base_url and part_id:
            callback = f"{self._public_base_url}{STATUS_PATH}?part={quote(part_id, safe='')}"
            form["StatusCallback"] = callback
        sent = await self._client.create_message(form)
        sid = sent.get("sid")
        if not isinstance(sid, str) or not sid:
            raise Ambiguous("accepted without a SID", code="decode")
        return Receipt(sid)

    async def indicate(self, address: Address, *, inbound_message_id: str = "") -> None:
        """Show typing, which needs an inbound message and marks it read."""
        if inbound_message_id:
            await self._client.indicate_typing(inbound_message_id)

    async def find_sent(
        self, message: Outgoing, *, since: float
    ) -> Receipt | Literal["absent", "unknown"]:
        """Search the list by receiver, time and body. What is missing for ABSENT_AFTER_S was never
        accepted.
        """
        # Not filtered by date: what is still queued has no DateSent yet.
        part, address = message.part, message.address
        query = {"To": address.chat, "From": self.account, "PageSize": str(LIST_PAGE)}
        waited_s = self._passed.since(since)  # before the list is made
        listed = await self._client.list_messages(query)
        texts = (part.text, with_choices(part.text, message.buttons))
        # Not its own: that may have been found before, and not been written down.
        known = await self._gate.known(address, message.part_id)
        for sent in listed:
            body, sid = str(sent.get("body") or ""), str(sent.get("sid") or "")
            # The quote line was written in front of the part when it was sent.
            same = any(body == text or (text and body.endswith(f"\n\n{text}")) for text in texts)
            has_file = str(sent.get("num_media") or "0") != "0"
            if (
                same
                and has_file == (part.media is not None)
                and sid
                and sid not in known
                and _created(sent, since) >= since - CLOCK_SKEW_S
            ):
                return Receipt(sid)
        return "absent" if waited_s >= ABSENT_AFTER_S else "unknown"

    async def download(self, attachment: Attachment, bytes_max: int) -> bytes:
        """Fetch a file that came in by its address at Twilio."""
        return await self._client.fetch_media(attachment.url, bytes_max)

    async def ingest(self, intake: Intake) -> None:
        """Search for what the webhooks did not bring."""
        await intake.channel_state(self.name, self.account, "up", "waiting for webhooks")
        await self._backfill.run(intake)

    async def close(self) -> None:
        """Release the connections."""
        await self._client.close()

    async def _status(self, sid: str) -> str:
        return str((await self._client.fetch_message(sid)).get("status") or "")


def body_of(part: RenderedPart, reply_to: ReplyTarget | None) -> str:
    """Return the text as it is sent, with the quote line where one is needed."""
    if reply_to is None or not needs_quote_line(reply_to):
        return part.text
    prefix = quote_prefix(reply_to.author, reply_to.quote or reply_to.excerpt)
    body = prefix + part.text
    # Parts are cut with room for the line; without it the text goes first.
    return body if utf16_length(body) <= BODY_MAX else part.text


def _created(message: dict[str, Any], default: float) -> float:
    """Return when Twilio took a message, in seconds since the epoch."""
    try:
        return parsedate_to_datetime(str(message.get("date_created"))).timestamp()
    except ValueError:
        return default
