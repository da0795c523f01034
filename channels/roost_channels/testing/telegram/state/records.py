"""The records of FakeTelegram's world: users, files, messages, topics and chats."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from roost_channels.testing.telegram.text.formatted import Formatted

GENERAL_TOPIC = 1
TOPIC_COLOR = 7322096
ChatType = Literal["private", "group", "supergroup"]


@dataclass(slots=True)
class User:
    """A person or a bot."""

    id: int
    first_name: str
    username: str = ""
    is_bot: bool = False
    deactivated: bool = False

    def to_json(self) -> dict[str, Any]:
        """The User object."""
        body: dict[str, Any] = {
            "id": self.id,
            "is_bot": self.is_bot,
            "first_name": self.first_name,
        }
        if self.username:
            body["username"] = self.username
        if not self.is_bot:
            body["language_code"] = "en"
        return body


@dataclass(slots=True)
class File:
    """A stored file; getFile sets `path`, which works until `path_until`. gone: getFile fails."""

    file_id: str
    unique_id: str
    name: str
    content_type: str
    data: bytes
    size: int
    path: str = ""
    path_until: float = 0.0
    folder: str = "documents"
    gone: bool = False
    __pydantic_config__: ClassVar = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}


@dataclass(slots=True)
class Message:
    """A message of a chat with all later changes; dates are seconds since the epoch."""

    message_id: int
    chat_id: int
    date: float
    sender: User
    formatted: Formatted
    thread: int = 0
    reply_to: int | None = None
    reply_snapshot: dict[str, Any] | None = None
    external_reply: dict[str, Any] | None = None
    quote: dict[str, Any] | None = None
    keyboard: list[list[dict[str, Any]]] = field(default_factory=list)
    media: dict[str, Any] = field(default_factory=dict)
    forward_origin: dict[str, Any] | None = None
    silent: bool = False
    edited_at: float | None = None
    edits: list[float] = field(default_factory=list)
    deleted_at: float | None = None
    editable: bool = True
    reactions: list[dict[str, Any]] = field(default_factory=list)
    user_reactions: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Whether the message was not deleted."""
        return self.deleted_at is None


@dataclass(slots=True)
class Draft:
    """A preview of an answer; it ends after 30 s or with the bot's next message."""

    draft_id: int
    thread: int
    formatted: Formatted
    until: float
    can_stop: bool = False
    keep_on_stop: bool = False


@dataclass(slots=True)
class Topic:
    """A topic of a forum, or of a private chat whose bot has topics."""

    name: str
    icon_color: int = TOPIC_COLOR
    icon_custom_emoji_id: str = ""
    closed: bool = False

    def to_json(self) -> dict[str, Any]:
        """The ForumTopic object without its id."""
        body: dict[str, Any] = {"name": self.name, "icon_color": self.icon_color}
        if self.icon_custom_emoji_id:
            body["icon_custom_emoji_id"] = self.icon_custom_emoji_id
        return body


@dataclass(slots=True)
class Chat:
    """A private chat, basic group or supergroup.

    topics: by their ids. bot_is_admin: the bot may manage topics, delete users' messages, and gets
    reactions. blocked: the user blocked the bot. kicked: the bot was removed from the group.
    migrated_to: the supergroup that replaced this group. typing: (action, end) by topic.
    """

    id: int
    type: ChatType
    title: str
    username: str = ""
    is_forum: bool = False
    topics: dict[int, Topic] = field(default_factory=dict)
    general: Topic = field(default_factory=lambda: Topic("General"))
    bot_is_admin: bool = True
    blocked: bool = False
    kicked: bool = False
    migrated_to: int | None = None
    messages: dict[int, Message] = field(default_factory=dict)
    typing: dict[int, tuple[str, float]] = field(default_factory=dict)
    typings: list[float] = field(default_factory=list)
    draft: Draft | None = None
    last_message_id: int = 0

    @property
    def is_private(self) -> bool:
        """Whether it is a private chat."""
        return self.type == "private"

    def to_json(self) -> dict[str, Any]:
        """The Chat object."""
        name = "first_name" if self.is_private else "title"
        body: dict[str, Any] = {"id": self.id, "type": self.type, name: self.title}
        if self.username:
            body["username"] = self.username
        if self.is_forum:
            body["is_forum"] = True
        return body
