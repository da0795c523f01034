"""What Meta and the phones hold: messages, people, media, and the number's settings."""

import asyncio
import base64
import itertools
import os
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from roost_channels.testing.clock import Clock
from roost_channels.testing.faults import FaultBook
from roost_channels.testing.loopback import CallLog

SESSION_WINDOW_S = 24 * 3600.0
MESSAGES_MAX = 100_000


def new_wamid() -> str:
    return "wamid." + base64.b64encode(os.urandom(32)).decode()


@dataclass(frozen=True, slots=True)
class CloudPlan:
    """How an outbound message fares after it was accepted; delays in seconds, each after the last.

    read_s: None for a person who shows no read receipts. error_code: it fails instead. doubled:
    every status comes twice. shuffled: they come in reverse order, after all has happened.
    silent: no status at all.
    """

    sent_s: float = 0.02
    delivered_s: float = 0.02
    read_s: float | None = 0.02
    error_code: int | None = None
    doubled: bool = False
    shuffled: bool = False
    silent: bool = False


@dataclass(slots=True)
class CloudMedia:
    """A file; its link is good only with the access token."""

    id: str
    mime_type: str
    data: bytes
    filename: str = ""


@dataclass(slots=True)
class CloudMessage:
    """A message of either direction; `body` is its text or caption.

    buttons: (id, title) of what can be chosen. context: the id of the message replied to.
    """

    id: str
    inbound: bool
    person: str
    body: str
    created_at: float
    status: str
    type: str = "text"
    context: str = ""
    buttons: list[tuple[str, str]] = field(default_factory=list)
    is_list: bool = False
    is_template: bool = False
    media_id: str = ""
    callback_data: str = ""
    delivered_at: float | None = None
    error_code: int | None = None
    read_by_business: bool = False
    reactions: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class CloudPerson:
    """A WhatsApp user: digits of a phone, a business-scoped id, or both."""

    wa_id: str
    user_id: str = ""
    name: str = "Ada"
    window_until: float = float("-inf")
    typing_until: float = float("-inf")
    has_blocked: bool = False
    pair_tokens: float | None = None
    pair_at: float = 0.0

    @property
    def address(self) -> str:
        """As our own addresses name them."""
        return f"whatsapp:+{self.wa_id}" if self.wa_id else f"whatsapp:{self.user_id}"


@dataclass(slots=True)
class CloudSettings:
    """The number as its owner configured it; tests may change it while the server runs.

    pair_limit: (burst, seconds per message after it), None for no limit. templates: names of the
    approved ones.
    """

    phone_number_id: str
    display_phone_number: str
    access_token: str
    app_secret: str
    webhook_url: str = ""
    templates: dict[str, str] = field(default_factory=dict)
    session_window_s: float | None = SESSION_WINDOW_S
    pair_limit: tuple[int, float] | None = None
    plan: CloudPlan = field(default_factory=CloudPlan)


@dataclass(slots=True)
class CloudCore:
    """One number's server side."""

    settings: CloudSettings
    clock: Clock
    messages: dict[str, CloudMessage] = field(default_factory=dict)
    people: dict[str, CloudPerson] = field(default_factory=dict)
    media: dict[str, CloudMedia] = field(default_factory=dict)
    plans: deque[CloudPlan] = field(default_factory=deque)
    faults: FaultBook = field(default_factory=FaultBook)
    log: CallLog = field(default_factory=CallLog)
    waits: dict[str, float] = field(default_factory=dict)
    event: asyncio.Event = field(default_factory=asyncio.Event)
    base_url: str = ""
    media_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(10**15))

    def now(self) -> float:
        return self.clock.time()

    def changed(self) -> None:
        self.event.set()
        self.event = asyncio.Event()

    def person(self, address: str) -> CloudPerson:
        """By `whatsapp:+…`, digits, or a business-scoped id; appears when first named."""
        name = address.removeprefix("whatsapp:").removeprefix("+")
        for person in self.people.values():
            if name in (person.wa_id, person.user_id):
                return person
        person = CloudPerson(name) if name.isdigit() else CloudPerson("", name)
        self.people[name] = person
        return person

    def store(self, message: CloudMessage) -> None:
        if len(self.messages) >= MESSAGES_MAX:
            raise RuntimeError(f"more than {MESSAGES_MAX} messages")
        self.messages[message.id] = message
        self.changed()

    def keep(self, data: bytes, mime_type: str, filename: str = "") -> CloudMedia:
        media = CloudMedia(str(next(self.media_ids)), mime_type, data, filename)
        self.media[media.id] = media
        return media

    def metadata(self) -> dict[str, Any]:
        return {
            "display_phone_number": self.settings.display_phone_number,
            "phone_number_id": self.settings.phone_number_id,
        }
