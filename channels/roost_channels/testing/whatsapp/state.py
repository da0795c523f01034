"""The state of a WhatsApp account: its settings, users, messages and files."""

from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from roost_channels.testing.state import FakeState

SESSION_WINDOW_S = 24 * 3600.0
TYPING_S = 25.0
MESSAGES_MAX = 100_000
ADDRESS_PREFIX = "whatsapp:"


@dataclass(frozen=True, slots=True)
class StatusPlan:
    """Which statuses an outbound message reaches after it was accepted, and when.

    sent_s, delivered_s, read_s: seconds after the status before; read_s is None for a user who
        shows no read receipts.
    error_code: the message fails with this code instead of being sent.
    error_status: the status of that failure, where the provider has others beside `failed`.
    doubled: each status is reported twice. shuffled: the statuses are reported at the end, in
        reverse order. silent: no status is reported.
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
    """One user may get `burst` messages at once, then one more every `seconds_per_message`."""

    burst: int = 45
    seconds_per_message: float = 6.0


@dataclass(slots=True)
class WhatsAppUser:
    """A WhatsApp user: a phone (`whatsapp:+…`), a business-scoped id (`whatsapp:CC.…`), or both.

    window_until: the business may send free text until then (seconds since the epoch).
    typing_until: the phone shows the business typing until then.
    has_blocked: the user blocked the business; no message reaches them.
    pair_tokens, pair_at: the token bucket of the pair limit, and when it was last filled.
    """

    phone: str
    user_id: str = ""
    name: str = "Ada"
    window_until: float = float("-inf")
    typing_until: float = float("-inf")
    has_blocked: bool = False
    pair_tokens: float | None = None
    pair_at: float = 0.0
    # A window that never was open ends at minus infinity.
    __pydantic_config__: ClassVar = {"ser_json_inf_nan": "constants"}

    @property
    def address(self) -> str:
        """The phone, or the business-scoped id of a user without one."""
        return self.phone or self.user_id

    def take_pair_token(self, limit: PairLimit | None, now: float) -> bool:
        """Count one message against the pair limit; False when the limit refuses it."""
        if limit is None:
            return True
        tokens = float(limit.burst) if self.pair_tokens is None else self.pair_tokens
        tokens = min(limit.burst, tokens + (now - self.pair_at) / limit.seconds_per_message)
        self.pair_at = now
        self.pair_tokens = tokens if tokens < 1 else tokens - 1
        return tokens >= 1


@dataclass(slots=True)
class WhatsAppMedia:
    """A file of a message. filename: the name that phones show; empty for a file without one."""

    id: str
    content_type: str
    data: bytes
    filename: str = field(default="", kw_only=True)
    __pydantic_config__: ClassVar = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}


@dataclass(slots=True)
class WhatsAppMessage:
    """A message from or to a user.

    user: the user's address. body: the text or caption. type: one of Meta's message types.
    reply_to: the id of the quoted message. buttons: (id, title) of each button or list item.
    media: the ids of its files. reactions: the emoji by who set it.
    """

    id: str
    inbound: bool
    user: str
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
        """The ids or URLs of its files, as the screen shows them."""
        return tuple(self.media)

    def find_choice(self, choice: str) -> tuple[str, str]:
        """The (id, title) of a button or list item; ValueError when the message has none such.

        choice: the id or the title.
        """
        for key, title in self.buttons:
            if choice in (key, title):
                return key, title
        raise ValueError(f"message {self.id} offers no choice {choice!r}")


@dataclass(slots=True, kw_only=True)
class AccountSettings:
    """Settings of every account; tests may change them while the server runs. None: no limit."""

    webhook_url: str = ""
    session_window_s: float | None = SESSION_WINDOW_S
    pair_limit: PairLimit | None = None
    status_plan: StatusPlan = field(default_factory=StatusPlan)


SettingsT = TypeVar("SettingsT", bound=AccountSettings)
MessageT = TypeVar("MessageT", bound=WhatsAppMessage)
MediaT = TypeVar("MediaT", bound=WhatsAppMedia)


@dataclass(slots=True)
class WhatsAppCore(FakeState, Generic[SettingsT, MessageT, MediaT]):
    """The server-side state of one account; plans are for the next outbound messages."""

    settings: SettingsT
    messages: dict[str, MessageT] = field(default_factory=dict)
    users: dict[str, WhatsAppUser] = field(default_factory=dict)
    media: dict[str, MediaT] = field(default_factory=dict)
    plans: deque[StatusPlan] = field(default_factory=deque)
    base_url: str = ""

    def user(self, address: str) -> WhatsAppUser:
        """The user with that phone number or business-scoped id; created when not known yet."""
        address = ADDRESS_PREFIX + address.removeprefix(ADDRESS_PREFIX)
        for user in self.users.values():
            if address in (user.phone, user.user_id):
                return user
        is_phone = address.startswith(f"{ADDRESS_PREFIX}+")
        return self.add_user(WhatsAppUser(address if is_phone else "", "" if is_phone else address))

    def add_user(self, user: WhatsAppUser) -> WhatsAppUser:
        """Keep a user under their address; replaces the one who had it."""
        self.users[user.address] = user
        return user

    def open_window(self, user: WhatsAppUser) -> None:
        """Start the service window: the user wrote, so free text is allowed for a while."""
        if self.settings.session_window_s is not None:
            user.window_until = self.now() + self.settings.session_window_s

    def is_open(self, user: WhatsAppUser) -> bool:
        """Whether the business may send free text to the user now."""
        return self.settings.session_window_s is None or self.now() <= user.window_until

    def mark_read(self, message: MessageT, *, typing: bool) -> None:
        """The business read an inbound message; with `typing` its user sees it typing."""
        message.is_read = True
        if typing:
            self.user(message.user).typing_until = self.now() + TYPING_S
        self.changed()

    def store(self, message: MessageT) -> None:
        """Keep a new message; RuntimeError when MESSAGES_MAX are kept."""
        if len(self.messages) >= MESSAGES_MAX:
            raise RuntimeError(f"more than {MESSAGES_MAX} messages")
        message.updated_at = message.created_at
        self.messages[message.id] = message
        self.changed()
