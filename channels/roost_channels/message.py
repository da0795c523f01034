"""The one message model that every channel, the workflow and the console share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Author = Literal["user", "bot", "other"]
InboundKind = Literal[
    "message",
    "edited",
    "revoked",
    "callback",
    "stop",
    "receipt",
    "migrated",
    "membership",
    "other",
]
MediaKind = Literal["photo", "document", "voice", "audio", "video"]

BUTTON_DATA_BYTES_MAX = 64
# Attachments that are files: these become artifacts, the others (a place, a poll) are words.
FILE_KINDS = frozenset(
    {
        "photo",
        "image",
        "voice",
        "audio",
        "video",
        "video_note",
        "animation",
        "document",
        "sticker",
    }
)
# Attachments that say what a person was asked for, as words do: where they are, whom to call.
TELLING_KINDS = frozenset(
    {
        "location",
        "venue",
        "contact",
        "contacts",
        "users_shared",
        "chat_shared",
        "web_app_data",
        "form",
        "order",
    }
)

# How the data of a Stop button begins; the turn's id and its nonce follow.
STOP_BUTTON = "stop:"
# How the data of a card's buttons begins; the card's nonce and the choice follow.
CARD_BUTTON = "ap:"
# How the data of a schedule's buttons begins; the schedule's id and the choice follow.
SCHEDULE_BUTTON = "sc:"
# Data of our own buttons, whose presses are no words to the agent.
OWN_BUTTONS = (STOP_BUTTON, CARD_BUTTON, SCHEDULE_BUTTON)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a conversation lives: one chat (and thread) of one account on one channel.

    channel: the name that the adapter's `ChannelKind` gives.
    account, chat: ids as the network gives them; `local` and the session's name in the console.
    thread: the topic within the chat, the empty string where there is none.
    is_group: more than one person writes there. It goes along with the address and is no part of
        its identity.
    """

    channel: str
    account: str
    chat: str
    thread: str = ""
    is_group: bool = field(default=False, compare=False)

    @property
    def key(self) -> str:
        """The session key: unique per conversation, stable for ever, shown to operators."""
        base = f"{self.channel}:{self.account}:{self.chat}"
        return f"{base}:{self.thread}" if self.thread else base


@dataclass(frozen=True, slots=True)
class Sender:
    """Who wrote a message: `address` is the channel's own id for the person.

    aliases: further ids the channel gives for the same person (a BSUID beside a phone number).
    """

    address: str
    display_name: str = ""
    username: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quote:
    """What a message refers to: context for the reader, never a reply target.

    ref: the provider's message id of what is quoted, None where the provider gives none.
    text: the whole quoted message as a snapshot; excerpt: the passage meant.
    utf16_start: where the excerpt starts in `text`, in UTF-16 units; None when unknown.
    is_manual: the person selected the passage themselves.
    resolved: False when the quoted text could not be had; the agent is told so.
    files: the files of what is quoted, to be fetched where we do not have them.
    """

    ref: str | None
    author: Author
    text: str
    excerpt: str
    utf16_start: int | None = None
    is_manual: bool = False
    resolved: bool = True
    files: tuple["Attachment", ...] = ()


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message, by reference; size in bytes when the provider tells it.

    artifact_id: where storage keeps the file, given when the message is accepted.
    """

    kind: str
    provider_id: str
    name: str = ""
    mime_type: str = ""
    size: int | None = None
    url: str = ""
    artifact_id: str = ""

    @property
    def is_file(self) -> bool:
        """Whether there are bytes to fetch."""
        return self.kind in FILE_KINDS and bool(self.provider_id or self.url)


@dataclass(frozen=True, slots=True)
class Media:
    """A stored file on its way out; `kind` is how people are to see it, size is in bytes."""

    artifact_id: str
    kind: MediaKind
    name: str
    mime_type: str
    size: int


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """One event from a channel, ready for the inbox.

    event_id: unique per (channel, account) for ever; a redelivery carries the same one.
    message_id: the provider's id of the message itself, which replies and quotes use.
    kind: `message` starts or steers a turn; `edited` is a message as it reads now; `revoked`
        is one that its writer deleted; `callback` is a pressed button with its data in `text`;
        `stop` is a native stop; `migrated` says that the chat of this address has the id `text`
        now; `membership` that we are `in` the chat or `out`; the others are kept and not answered.
    raw: the provider's payload as it came.
    sent_at: seconds since the epoch, by the provider's clock.
    album: what messages have in common that people sent as one.
    forwarded_from: whose words these are where the sender passed them on ("Anna", "the channel
        News", "somebody" where the network hides the name); empty for the sender's own words.
    payload: what came along for the agent and is no word of the person: of a start link, an
        advertisement, a form's hidden fields.
    problem: why the event could not be read; it is kept as a dead letter.
    answered_in_chat: the network has no other answer to a pressed button than a message.
    former_names: goes with `migrated` where a person moved, who is the sender under the new names:
        the names that are not theirs any more.
    """

    address: Address
    event_id: str
    message_id: str
    sender: Sender
    text: str
    sent_at: float
    kind: InboundKind = "message"
    quote: Quote | None = None
    attachments: tuple[Attachment, ...] = ()
    is_addressed: bool = True
    album: str = ""
    forwarded_from: str = ""
    payload: str = ""
    problem: str = ""
    answered_in_chat: bool = False
    former_names: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_group(self) -> bool:
        """Whether more than one person writes in the chat."""
        return self.address.is_group


@dataclass(frozen=True, slots=True)
class Button:
    """A button under a message: what it says and the data its press returns.

    word: what a person writes instead where a chat shows no buttons; empty for none.
    """

    label: str
    data: str
    word: str = ""

    def __post_init__(self) -> None:
        # Networks take no more, and would refuse the whole message.
        if len(self.data.encode()) > BUTTON_DATA_BYTES_MAX:
            raise ValueError(f"a button's data has at most {BUTTON_DATA_BYTES_MAX} bytes")


def choices_in_words(buttons: Sequence[Button]) -> str:
    """How to choose without buttons: `Reply 1 for Approve, 2 for Deny.`; empty without words."""
    listed = [
        button.word if button.word == button.label else f"{button.word} for {button.label}"
        for button in buttons
        if button.word
    ]
    return f"Reply {', '.join(listed)}." if listed else ""


def with_choices(body: str, buttons: Sequence[Button]) -> str:
    """The text with the words by which its choices can be made, if there are any.

    Other buttons, such as Stop, have a command of their own.
    """
    words = choices_in_words(buttons)
    return f"{body}\n\n{words}" if words else body


@dataclass(frozen=True, slots=True)
class ReplyTarget:
    """The message an answer replies to; kept apart from quoted context.

    quote: an exact excerpt of the target to show in the reply, empty for none; utf16_start as in
        Quote.
    author, excerpt: for channels without native replies, which render `> author: excerpt`.
    is_latest: no newer inbound message had arrived when the reply was decided.
    is_reply: the message is a reply itself, so that the answer is one, too.
    """

    message_id: str
    quote: str = ""
    utf16_start: int | None = None
    author: str = ""
    excerpt: str = ""
    is_latest: bool = True
    is_reply: bool = False

    def helps(self, *, is_group: bool) -> bool:
        """Whether a native reply tells something that the place of the answer does not.

        In a private chat an answer right below its question needs none.
        """
        return is_group or not self.is_latest or self.is_reply or bool(self.quote)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of a physical send: the provider's message id."""

    message_id: str
