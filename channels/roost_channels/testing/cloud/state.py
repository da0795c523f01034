"""What Meta holds beside what WhatsApp does: ids, names, and the number's settings."""

import base64
import itertools
import os
from dataclasses import dataclass, field
from typing import Any

from roost_channels.testing.whatsapp.state import PREFIX, Core, Media, Message, Person, Settings


def new_wamid() -> str:
    return "wamid." + base64.b64encode(os.urandom(32)).decode()


@dataclass(slots=True)
class CloudMedia(Media):
    """A file; its link is good only with the access token."""


@dataclass(slots=True)
class CloudMessage(Message):
    """A message; callback_data: what we sent along, which its statuses repeat."""

    callback_data: str = ""


@dataclass(slots=True)
class CloudSettings(Settings):
    """The number as its owner configured it. templates: what the approved ones say, by name."""

    phone_number_id: str
    display_phone_number: str
    access_token: str
    app_secret: str
    templates: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class CloudCore(Core[CloudSettings, CloudMessage, CloudMedia]):
    """One number's server side."""

    media_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(10**15))

    def keep(self, data: bytes, content_type: str, filename: str = "") -> CloudMedia:
        media = CloudMedia(str(next(self.media_ids)), content_type, data, filename=filename)
        self.media[media.id] = media
        return media

    def metadata(self) -> dict[str, Any]:
        return {
            "display_phone_number": self.settings.display_phone_number,
            "phone_number_id": self.settings.phone_number_id,
        }


def wa_id(person: Person) -> str:
    """A phone number as Meta writes it: digits alone."""
    return person.phone.removeprefix(f"{PREFIX}+")


def user_id(person: Person) -> str:
    """A business-scoped id as Meta writes it."""
    return person.user_id.removeprefix(PREFIX)
