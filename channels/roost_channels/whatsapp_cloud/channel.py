"""WhatsApp through Meta's Cloud API as a Channel: native quotes and buttons, no edits."""

import logging
from dataclasses import replace
from typing import Literal

from roost_channels.channel import Outgoing
from roost_channels.clock import Clock, SystemClock
from roost_channels.errors import (
    AuthBroken,
    DeliveryError,
    Rejected,
    RenderRejected,
)
from roost_channels.files import ChannelFiles
from roost_channels.intake import Intake
from roost_channels.message import Address, Attachment, Media, Receipt
from roost_channels.outbox import Receipts
from roost_channels.whatsapp import network
from roost_channels.whatsapp.gate import Gate
from roost_channels.whatsapp.window import INVITATION
from roost_channels.whatsapp_cloud import format as cloud_format
from roost_channels.whatsapp_cloud.client import CloudClient
from roost_channels.whatsapp_cloud.config import WhatsAppCloudConfig
from roost_channels.whatsapp_cloud.errors import BAD_PARAMETER
from roost_channels.whatsapp_cloud.inbound import WAITING

logger = logging.getLogger(__name__)

OCTETS = "application/octet-stream"

CAPABILITIES = replace(
    network.CAPABILITIES,
    text_max=cloud_format.TEXT_MAX,
    button_text_max=cloud_format.INTERACTIVE_TEXT_MAX,
)


class WhatsAppCloudChannel(network.ImmutableMessages):
    """One business phone number; its id is the account. `files` holds what answers carry.

    receipts: what went to each chat before, and what the webhooks were told of it, which another
    process takes in. Meta can't be asked how a message stands.
    """

    name = "whatsapp"

    def __init__(
        self,
        config: WhatsAppCloudConfig,
        *,
        clock: Clock | None = None,
        files: ChannelFiles | None = None,
        receipts: Receipts | None = None,
    ) -> None:
        self._client = CloudClient(config)
        self._clock = clock or SystemClock()
        self._files = files
        self._template = config.window_template
        self._language = config.window_template_language
        self._gate = Gate(self._clock, receipts)
        self.account = config.account
        self.capabilities = replace(
            CAPABILITIES,
            invitation=INVITATION if self._template else "",
            media_bytes_max=cloud_format.DOCUMENT_BYTES_MAX if files else 0,
            photo_bytes_max=cloud_format.SHOWN["image"][1] if files else 0,
            reaction=config.reaction,
        )

    async def send(self, message: Outgoing) -> Receipt:
        """Send a message; every receipt names its part id."""
        media = message.part.media
        body = cloud_format.message(message, await self._upload(media) if media else "")
        try:
            return Receipt(await self._client.send(message.address.chat, body))
        except Rejected as error:
            if "context" in body and error.code in BAD_PARAMETER:
                raise RenderRejected(
                    error.description, code="reply", http_status=error.http_status
                ) from error
            if not message.buttons:
                raise
            # Provably not sent: the words must arrive, whatever is wrong with the buttons.
            logger.warning("sent without its buttons: %s", error)
            plain = cloud_format.in_words(message)
            return Receipt(await self._client.send(message.address.chat, plain))

    async def _upload(self, media: Media) -> str:
        if self._files is None:
            raise Rejected("no files are kept here", code="media")
        data = await self._files.read(media.artifact_id)
        name = media.name or media.artifact_id
        return await self._client.upload(data, media.mime_type or OCTETS, name)

    async def in_order(self, address: Address, part_id: str = "") -> None:
        """Wait until the message before this one is on its way."""
        await self._gate.wait(address, part_id)

    async def invite(self, address: Address, *, part_id: str) -> Receipt:
        """Send the approved template, which is allowed outside the session window."""
        if not self._template:
            raise Rejected("whatsapp_cloud.window_template is not set", code="template")
        message = cloud_format.template(self._template, self._language, part_id)
        return Receipt(await self._client.send(address.chat, message))

    async def indicate(self, address: Address, *, inbound_message_id: str = "") -> None:
        """Show typing, which needs an inbound message and marks it read."""
        if inbound_message_id:
            await self._client.show_typing(inbound_message_id)

    async def react(self, address: Address, message_id: str) -> None:
        """Put the reaction of the settings under a message."""
        mark = cloud_format.reaction(message_id, self.capabilities.reaction)
        await self._client.send(address.chat, mark)

    async def find_sent(
        self, message: Outgoing, *, since: float
    ) -> Receipt | Literal["absent", "unknown"]:
        """Return `unknown`: Meta lists nothing, and only a receipt with the part's id is proof."""
        return "unknown"

    async def download(self, attachment: Attachment, bytes_max: int) -> bytes:
        """Fetch a file by its media id."""
        return await self._client.download(attachment.provider_id, bytes_max)

    async def ingest(self, intake: Intake) -> None:
        """Report whether the token works; messages come by webhook."""
        state, detail = "up", WAITING
        try:
            number = await self._client.number()
            logger.info("WhatsApp number %s", number.get("display_phone_number", self.account))
        except AuthBroken as error:
            state, detail = "auth_error", str(error)
        except DeliveryError as error:
            logger.warning("the Cloud API could not be asked: %s", error)
        await intake.channel_state(self.name, self.account, state, detail)

    async def close(self) -> None:
        """Release the connections."""
        await self._client.close()
