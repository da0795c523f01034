"""What a provider and the phones hold: people, messages, files, and how all of it is set up."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from roost_channels.testing.clock import Clock
from roost_channels.testing.faults import FaultBook
from roost_channels.testing.loopback import CallLog

SESSION_WINDOW_S = 24 * 3600.0
TYPING_S = 25.0
MESSAGES_MAX = 100_000
PREFIX = "whatsapp:"


@dataclass(frozen=True, slots=True)
class StatusPlan:
    """How an outbound message fares after it was accepted; delays in seconds, each after the last.

    read_s: None for a person who shows no read receipts. error_code: it fails instead of being
    sent, as `error_status` where the provider has more words than `failed`. doubled: every status
    comes twice. shuffled: they come in reverse order, after all has happened. silent: none at all.
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
class Person:
    """A WhatsApp user: a phone (`whatsapp:+…`), a business-scoped id (`whatsapp:CC.…`), or both.

    Free text is allowed until `window_until`; has_blocked: nothing of ours reaches them.
    """

    phone: str
    user_id: str = ""
    name: str = "Ada"
    window_until: float = float("-inf")
    typing_until: float = float("-inf")
    has_blocked: bool = False
    pair_tokens: float | None = None
    pair_at: float = 0.0

    @property
    def address(self) -> str:
        return self.phone or self.user_id

    def takes(self, limit: PairLimit | None, now: float) -> bool:
        """Whether the pair limit lets one more message through; counts it if so."""
        if limit is None:
            return True
        tokens = float(limit.burst) if self.pair_tokens is None else self.pair_tokens
        tokens = min(limit.burst, tokens + (now - self.pair_at) / limit.seconds_per_message)
        self.pair_at = now
        self.pair_tokens = tokens if tokens < 1 else tokens - 1
        return tokens >= 1


@dataclass(slots=True)
class Media:
    """A file of a message; filename as phones show it, where it has one."""

    id: str
    content_type: str
    data: bytes
    filename: str = field(default="", kw_only=True)


@dataclass(slots=True)
class Message:
    """A message of either direction with `person`, an address; `body` is its text or caption.

    type: as Meta names types. reply_to: the id of the message replied to. buttons: (id, title) of
    what can be chosen. media: ids of its files.
    """

    id: str
    inbound: bool
    person: str
    body: str
    created_at: float
    status: str
    type: str = "text"
    reply_to: str = ""
    updated_at: float = 0.0
    sent_at: float | None = None
    delivered_at: float | None = None
    error_code: int | None = None
    buttons: list[tuple[str, str]] = field(default_factory=list)
    is_list: bool = False
    is_template: bool = False
    media: list[str] = field(default_factory=list)
    is_read: bool = False
    reactions: dict[str, str] = field(default_factory=dict)

    @property
    def shown_media(self) -> tuple[str, ...]:
        return tuple(self.media)

    def chosen(self, choice: str) -> tuple[str, str]:
        """The (id, title) of a button or an item, by either; ValueError for what is not there."""
        found = [(key, title) for key, title in self.buttons if choice in (key, title)]
        if not found:
            raise ValueError(f"message {self.id} offers no choice {choice!r}")
        return found[0]


@dataclass(slots=True, kw_only=True)
class Settings:
    """What every account has; tests may change it while the server runs. None is for no limit."""

    webhook_url: str = ""
    session_window_s: float | None = SESSION_WINDOW_S
    pair_limit: PairLimit | None = None
    status_plan: StatusPlan = field(default_factory=StatusPlan)


SettingsT = TypeVar("SettingsT", bound=Settings)
MessageT = TypeVar("MessageT", bound=Message)
MediaT = TypeVar("MediaT", bound=Media)


@dataclass(slots=True)
class Core(Generic[SettingsT, MessageT, MediaT]):
    """One account's server side."""

    settings: SettingsT
    clock: Clock
    messages: dict[str, MessageT] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    media: dict[str, MediaT] = field(default_factory=dict)
    plans: deque[StatusPlan] = field(default_factory=deque)
    faults: FaultBook = field(default_factory=FaultBook)
    log: CallLog = field(default_factory=CallLog)
    event: asyncio.Event = field(default_factory=asyncio.Event)
    base_url: str = ""

    def now(self) -> float:
        return self.clock.time()

    def changed(self) -> None:
        self.event.set()
        self.event = asyncio.Event()

    def person(self, address: str) -> Person:
        """The person behind a phone number or a business-scoped id; appears when first named."""
        address = PREFIX + address.removeprefix(PREFIX)
        for person in self.people.values():
            if address in (person.phone, person.user_id):
                return person
        is_phone = address.startswith(f"{PREFIX}+")
        return self.add(Person(address if is_phone else "", "" if is_phone else address))

    def add(self, person: Person) -> Person:
        self.people[person.address] = person
        return person

    def open_window(self, person: Person) -> None:
        """The person did something that allows free text."""
        if self.settings.session_window_s is not None:
            person.window_until = self.now() + self.settings.session_window_s

    def is_open(self, person: Person) -> bool:
        return self.settings.session_window_s is None or self.now() <= person.window_until

    def store(self, message: MessageT) -> None:
        if len(self.messages) >= MESSAGES_MAX:
            raise RuntimeError(f"more than {MESSAGES_MAX} messages")
        message.updated_at = message.created_at
        self.messages[message.id] = message
        self.changed()
