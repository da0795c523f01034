"""What Twilio and WhatsApp hold: messages, people, media, contents, and the account's settings."""

import asyncio
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from roost_channels.testing.clock import Clock
from roost_channels.testing.faults import FaultBook
from roost_channels.testing.loopback import CallLog

API_VERSION = "2010-04-01"
SESSION_WINDOW_S = 24 * 3600.0
MESSAGES_MAX = 100_000


def new_sid(prefix: str) -> str:
    return prefix + uuid.uuid4().hex


def rfc2822(seconds: float | None) -> str | None:
    """Mon, 23 Nov 2026 23:05:37 +0000"""
    if seconds is None:
        return None
    return format_datetime(datetime.fromtimestamp(int(seconds), UTC))


@dataclass(frozen=True, slots=True)
class StatusPlan:
    """How an outbound message fares after it was accepted; delays in seconds, each after the last.

    read_s: None for a person who shows no read receipts. error_code: it fails with `error_status`
    instead of being sent. doubled: every callback comes twice. shuffled: the callbacks come in
    reverse order, after all has happened. silent: no callback at all.
    """

    sent_s: float = 0.02
    delivered_s: float = 0.02
    read_s: float | None = 0.02
    error_code: int | None = None
    error_status: str = "undelivered"
    doubled: bool = False
    shuffled: bool = False
    silent: bool = False


@dataclass(frozen=True, slots=True)
class PairLimit:
    """One person gets at most `burst` messages at once, and one more each `seconds_per_message`."""

    burst: int = 45
    seconds_per_message: float = 6.0


@dataclass(slots=True)
class Media:
    sid: str
    parent_sid: str
    content_type: str
    data: bytes
    created_at: float


@dataclass(slots=True)
class TextMessage:
    """A message of either direction; `buttons` are (id, title) of its quick replies or items."""

    sid: str
    inbound: bool
    from_: str
    to: str
    body: str
    created_at: float
    status: str
    updated_at: float = 0.0
    sent_at: float | None = None
    delivered_at: float | None = None
    error_code: int | None = None
    messaging_service_sid: str | None = None
    media_urls: list[str] = field(default_factory=list)
    media_sids: list[str] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)
    is_list: bool = False
    is_template: bool = False
    status_callback: str = ""
    reply_to: str | None = None
    read_by_bot: bool = False
    refused: int | None = None


@dataclass(slots=True)
class Person:
    """A WhatsApp user: a phone, a business-scoped id, or both; free text until `window_until`."""

    phone: str
    bsuid: str = ""
    name: str = "Ada"
    window_until: float = float("-inf")
    typing_until: float = float("-inf")
    opted_out: bool = False
    pair_tokens: float | None = None
    pair_at: float = 0.0

    @property
    def address(self) -> str:
        return self.phone or self.bsuid


@dataclass(slots=True)
class Settings:
    """The account as its owner configured it; tests may change it while the server runs."""

    account_sid: str
    auth_token: str
    sender: str
    api_keys: dict[str, str] = field(default_factory=dict)
    webhook_url: str = ""
    fallback_url: str = ""
    status_callback: str = ""
    shared_key: tuple[str, str] | None = None
    session_window_s: float | None = SESSION_WINDOW_S
    pair_limit: PairLimit | None = None
    status_plan: StatusPlan = field(default_factory=StatusPlan)
    webhook_timeout_s: float = 15.0
    connect_timeout_s: float = 5.0


@dataclass(slots=True)
class Core:
    """One account's server side."""

    settings: Settings
    clock: Clock
    messages: dict[str, TextMessage] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    media: dict[str, Media] = field(default_factory=dict)
    contents: dict[str, dict[str, Any]] = field(default_factory=dict)
    plans: deque[StatusPlan] = field(default_factory=deque)
    faults: FaultBook = field(default_factory=FaultBook)
    log: CallLog = field(default_factory=CallLog)
    waits: dict[str, float] = field(default_factory=dict)
    event: asyncio.Event = field(default_factory=asyncio.Event)
    base_url: str = ""

    def now(self) -> float:
        return self.clock.time()

    def changed(self) -> None:
        self.event.set()
        self.event = asyncio.Event()

    def person(self, address: str) -> Person:
        """The person behind a phone number or a business-scoped id; appears when first named."""
        for person in self.people.values():
            if address in (person.phone, person.bsuid):
                return person
        is_phone = address.startswith("whatsapp:+")
        person = Person(address if is_phone else "", "" if is_phone else address)
        self.people[address] = person
        return person

    def store(self, message: TextMessage) -> None:
        if len(self.messages) >= MESSAGES_MAX:
            raise RuntimeError(f"more than {MESSAGES_MAX} messages")
        message.updated_at = message.created_at
        self.messages[message.sid] = message
        self.changed()

    def message_json(self, message: TextMessage) -> dict[str, Any]:
        """The Message resource."""
        uri = f"/{API_VERSION}/Accounts/{self.settings.account_sid}/Messages/{message.sid}"
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
            "num_media": str(max(len(message.media_sids), len(message.media_urls))),
            "num_segments": "1",
            "price": None,
            "price_unit": None,
            "sid": message.sid,
            "status": message.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": message.to,
            "uri": f"{uri}.json",
        }
