"""The doors that Telegram, Twilio and Meta knock on; the channels check and read what comes in."""

import time
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from roost_channels.errors import Rejected
from roost_channels.file_response import file_headers
from roost_channels.webhook import WebhookReply
from roost_platform.db.artifacts import ArtifactStore
from roost_platform.errors import NotFound
from roost_platform.intake import PlatformIntake
from roost_platform.settings.config import Settings

if TYPE_CHECKING:
    from roost_channels.telegram.inbound import TelegramWebhook
    from roost_channels.whatsapp.inbound import TwilioWebhooks
    from roost_channels.whatsapp.links import MediaLinks
    from roost_channels.whatsapp_cloud.inbound import CloudWebhooks

NOT_CONFIGURED = WebhookReply(404, b"this channel is not configured\n")


class Webhooks:
    """One method per route. The provider's signature proves who asks, so no role is needed."""

    _telegram: "TelegramWebhook | None" = None
    _twilio: "TwilioWebhooks | None" = None
    _links: "MediaLinks | None" = None
    _cloud: "CloudWebhooks | None" = None

    def __init__(
        self, settings: Settings, intake: PlatformIntake, artifacts: ArtifactStore
    ) -> None:
        self._artifacts = artifacts
        self._account = settings.telegram.account
        self._number = settings.whatsapp_cloud.account
        # Imported when needed: who has no WhatsApp need not load Twilio's library.
        if settings.telegram.configured and settings.telegram.mode == "webhook":
            from roost_channels.telegram.inbound import TelegramWebhook

            self._telegram = TelegramWebhook(settings.telegram, intake)
        if settings.twilio.configured:
            from roost_channels.whatsapp.inbound import TwilioWebhooks
            from roost_channels.whatsapp.links import MediaLinks

            base = settings.public_base_url or ""
            self._twilio = TwilioWebhooks(settings.twilio, base, intake)
            if settings.twilio.auth_token is not None:
                self._links = MediaLinks(settings.twilio.auth_token, base)
        if settings.whatsapp_cloud.configured:
            from roost_channels.whatsapp_cloud.inbound import CloudWebhooks

            self._cloud = CloudWebhooks(settings.whatsapp_cloud, intake)

    async def telegram(self, request: Request) -> Response:
        """An update from Telegram."""
        if self._telegram is None or request.path_params["account"] != self._account:
            return _response(NOT_CONFIGURED)
        return _response(await self._telegram.handle(request.headers, await request.body()))

    async def twilio_inbound(self, request: Request) -> Response:
        """A message from Twilio."""
        if self._twilio is None:
            return _response(NOT_CONFIGURED)
        body = await request.body()
        return _response(await self._twilio.inbound(_path(request), request.headers, body))

    async def twilio_status(self, request: Request) -> Response:
        """A delivery receipt from Twilio."""
        if self._twilio is None:
            return _response(NOT_CONFIGURED)
        body = await request.body()
        return _response(await self._twilio.status(_path(request), request.headers, body))

    async def twilio_media(self, request: Request) -> Response:
        """A file of an answer, for who has the link that Twilio was given."""
        if self._links is None:
            return _response(NOT_CONFIGURED)
        artifact_id, query = str(request.path_params["artifact_id"]), request.query_params
        expires, signature = query.get("expires", ""), query.get("signature", "")
        if not self._links.is_good(artifact_id, expires, signature, time.time()):
            return _response(WebhookReply(403, b"this link is not good, or not any more\n"))
        try:
            found = await self._artifacts.record(artifact_id)
            data = await self._artifacts.read(artifact_id)
        except (NotFound, Rejected):
            found, data = None, b""
        if found is None:
            return _response(WebhookReply(404, b"the file is gone\n"))
        headers = file_headers(found.name, found.mime_type)
        return Response(data, 200, {**headers, "Cache-Control": "private, no-store"})

    async def whatsapp_cloud(self, request: Request) -> Response:
        """Messages and receipts from Meta; a GET is its question whether the address is ours."""
        if self._cloud is None or request.path_params["phone_number_id"] != self._number:
            return _response(NOT_CONFIGURED)
        if request.method == "GET":
            return _response(self._cloud.verify(request.query_params))
        return _response(await self._cloud.receive(request.headers, await request.body()))

    async def close(self) -> None:
        """Release the providers' clients."""
        if self._telegram is not None:
            await self._telegram.close()
        if self._twilio is not None:
            await self._twilio.close()


def _path(request: Request) -> str:
    """Path and query exactly as they came: the signature covers them."""
    raw = request.scope.get("raw_path") or request.url.path.encode()
    query = request.scope.get("query_string", b"")
    path = raw.split(b"?")[0].decode("latin-1")
    return f"{path}?{query.decode('latin-1')}" if query else path


def _response(reply: WebhookReply) -> Response:
    return Response(reply.body, reply.status, media_type=reply.content_type)
