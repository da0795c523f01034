"""The state of a phone number at Meta: its settings, ids and names."""

import base64
import itertools
import os
from dataclasses import dataclass, field
from typing import Any

from roost_channels.testing.whatsapp.state import (
    ADDRESS_PREFIX,
    AccountSettings,
    WhatsAppCore,
    WhatsAppMedia,
    WhatsAppMessage,
    WhatsAppUser,
)


def new_wamid() -> str:
    """A new message id as Meta makes them: `wamid.` and base64."""
    return "wamid." + base64.b64encode(os.urandom(32)).decode()


@dataclass(slots=True)
class CloudMedia(WhatsAppMedia):
    """A file; its URL works only with the access token."""


@dataclass(slots=True)
class CloudMessage(WhatsAppMessage):
    """A message. callback_data: the `biz_opaque_callback_data` that its statuses repeat."""

    callback_data: str = ""


@dataclass(slots=True)
class CloudSettings(AccountSettings):
    """The number as its owner configured it. templates: the approved templates' texts by name."""

    phone_number_id: str
    display_phone_number: str
    access_token: str
    app_secret: str
    templates: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class CloudCore(WhatsAppCore[CloudSettings, CloudMessage, CloudMedia]):
    """The server-side state of one phone number."""

    media_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(10**15))

    def add_file(self, data: bytes, content_type: str, filename: str = "") -> CloudMedia:
        """Store a file under a new id."""
        media = CloudMedia(str(next(self.media_ids)), content_type, data, filename=filename)
        self.media[media.id] = media
        return media

    def metadata(self) -> dict[str, Any]:
        """The `metadata` object of webhooks, which names the phone number."""
        return {
            "display_phone_number": self.settings.display_phone_number,
            "phone_number_id": self.settings.phone_number_id,
        }


def wa_id(user: WhatsAppUser) -> str:
    """The user's phone number as Meta writes it: digits only."""
    return user.phone.removeprefix(f"{ADDRESS_PREFIX}+")


def business_scoped_id(user: WhatsAppUser) -> str:
    """The user's business-scoped id as Meta writes it: without the prefix."""
    return user.user_id.removeprefix(ADDRESS_PREFIX)
