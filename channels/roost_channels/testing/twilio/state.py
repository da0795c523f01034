"""The state of a Twilio account: its settings, Message resources and contents."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from roost_channels.testing.whatsapp.state import (
    AccountSettings,
    WhatsAppCore,
    WhatsAppMedia,
    WhatsAppMessage,
)

API_VERSION = "2010-04-01"


def new_sid(prefix: str) -> str:
    """A new SID: the two-letter prefix and 32 hexadecimal digits."""
    return prefix + uuid.uuid4().hex


def rfc2822(seconds: float | None) -> str | None:
    """A time as `Mon, 23 Nov 2026 23:05:37 +0000`; None stays None."""
    if seconds is None:
        return None
    return format_datetime(datetime.fromtimestamp(int(seconds), UTC))


@dataclass(slots=True)
class TwilioMedia(WhatsAppMedia):
    """A file of the message `parent_sid`."""

    parent_sid: str
    created_at: float


@dataclass(slots=True)
class TextMessage(WhatsAppMessage):
    """A Message resource.

    media_urls: the URLs of its files, before Twilio fetched them.
    content_error: the code with which the message fails because its content breaks a limit.
    """

    from_: str = ""
    to: str = ""
    messaging_service_sid: str | None = None
    media_urls: list[str] = field(default_factory=list)
    status_callback: str = ""
    content_error: int | None = None

    @property
    def shown_media(self) -> tuple[str, ...]:
        """The ids of its files, or their URLs before they were fetched."""
        return tuple(self.media or self.media_urls)


@dataclass(slots=True)
class TwilioSettings(AccountSettings):
    """The account as its owner configured it."""

    account_sid: str
    auth_token: str
    sender: str
    api_keys: dict[str, str] = field(default_factory=dict)
    fallback_url: str = ""
    status_callback: str = ""
    shared_key: tuple[str, str] | None = None
    webhook_timeout_s: float = 15.0
    connect_timeout_s: float = 5.0


@dataclass(slots=True)
class TwilioCore(WhatsAppCore[TwilioSettings, TextMessage, TwilioMedia]):
    """The server-side state of one account. contents: the Content resources by their SIDs."""

    contents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def message_json(self, message: TextMessage) -> dict[str, Any]:
        """The Message resource as the API returns it."""
        uri = f"/{API_VERSION}/Accounts/{self.settings.account_sid}/Messages/{message.id}"
        failed = message.error_code is not None
        return {
            "account_sid": self.settings.account_sid,
            "api_version": API_VERSION,
            "body": message.body,
            "date_created": rfc2822(message.created_at),
            "date_sent": rfc2822(message.sent_at),
            "date_updated": rfc2822(message.updated_at),
            "direction": "inbound" if message.inbound else "outbound-api",
            "error_code": message.error_code,
            # Twilio leaves the text out of the resource for most channel errors.
            "error_message": None if not failed else "",
            "from": message.from_,
            "messaging_service_sid": message.messaging_service_sid,
            "num_media": str(max(len(message.media), len(message.media_urls))),
            "num_segments": "1",
            "price": None,
            "price_unit": None,
            "sid": message.id,
            "status": message.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": message.to,
            "uri": f"{uri}.json",
        }
