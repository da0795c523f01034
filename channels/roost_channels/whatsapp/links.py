"""Links by which Twilio fetches our files: signed with a key of the account, and short-lived."""

import hashlib
import hmac
from urllib.parse import quote, urlencode

from pydantic import SecretStr

from roost_channels.clock import Clock, SystemClock
from roost_channels.errors import Rejected
from roost_channels.file_response import file_headers
from roost_channels.files import ChannelFiles
from roost_channels.webhook import NOT_CONFIGURED, WebhookReply, WebhookRequest
from roost_channels.whatsapp.config import TwilioConfig

MEDIA_PATH = "/hooks/twilio/media"
# Twilio keeps a message queued for up to four hours before it fetches what belongs to it.
LINK_S = 6 * 3600.0
NAME_MAX = 100


class MediaLinks:
    """Makes and checks links. The key comes from the auth token, which both processes have."""

    def __init__(self, auth_token: SecretStr, public_base_url: str) -> None:
        token = auth_token.get_secret_value().encode()
        self._key = hmac.new(token, b"roost: links to media", hashlib.sha256).digest()
        self._base = public_base_url.rstrip("/")

    def link(self, artifact_id: str, name: str, now: float) -> str:
        """Return a link that is good for LINK_S; it ends with the name that people see."""
        expires = str(int(now + LINK_S))
        query = urlencode({"expires": expires, "signature": self._sign(artifact_id, expires)})
        shown = quote(name[-NAME_MAX:].replace("/", "_") or "file", safe="")
        return f"{self._base}{MEDIA_PATH}/{quote(artifact_id, safe='')}/{shown}?{query}"

    def is_good(self, artifact_id: str, expires: str, signature: str, now: float) -> bool:
        """Return whether the link opens this file now."""
        expected = self._sign(artifact_id, expires)
        is_ours = hmac.compare_digest(signature.encode(), expected.encode())
        return is_ours and expires.isdigit() and now < int(expires)

    def _sign(self, artifact_id: str, expires: str) -> str:
        words = f"{artifact_id} {expires}".encode()
        return hmac.new(self._key, words, hashlib.sha256).hexdigest()


class MediaHandler:
    """Serves a file of an answer to whoever has its link."""

    def __init__(
        self,
        config: TwilioConfig,
        public_base_url: str,
        files: ChannelFiles | None,
        clock: Clock | None = None,
    ) -> None:
        self._files = files
        self._clock = clock or SystemClock()
        self._links: MediaLinks | None = None
        if config.auth_token is not None:
            self._links = MediaLinks(config.auth_token, public_base_url)

    async def handle(self, request: WebhookRequest) -> WebhookReply:
        """Answer a GET of such a link."""
        if self._links is None or self._files is None:
            return NOT_CONFIGURED
        artifact_id, query = request.path_values["artifact_id"], request.query
        expires, signature = query.get("expires", ""), query.get("signature", "")
        if not self._links.is_good(artifact_id, expires, signature, self._clock.time()):
            return WebhookReply(403, b"this link is not good, or not any more\n")
        try:
            file = await self._files.stored(artifact_id)
        except Rejected:
            return WebhookReply(404, b"the file is gone\n")
        headers = file_headers(file.name, file.mime_type)
        content_type = headers.pop("Content-Type")
        return WebhookReply(
            200, file.data, content_type, {**headers, "Cache-Control": "private, no-store"}
        )
