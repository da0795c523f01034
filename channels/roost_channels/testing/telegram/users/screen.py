"""What a user's phone shows of the chats with the bot."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from roost_channels.testing.telegram.state.core import TelegramCore
from roost_channels.testing.telegram.state.media import KINDS
from roost_channels.testing.telegram.state.records import Chat, Message


@dataclass(frozen=True, slots=True)
class SeenReply:
    """The reply header of a message: the message it replies to, and the quote."""

    message_id: int
    text: str
    quote: str | None


@dataclass(frozen=True, slots=True)
class SeenButton:
    """A button under a message."""

    text: str
    data: str


@dataclass(frozen=True, slots=True)
class SeenMessage:
    """One message on the screen, edits applied."""

    message_id: int
    sender: Literal["user", "bot"]
    text: str
    entities: tuple[dict[str, Any], ...]
    reply_to: SeenReply | None
    buttons: tuple[SeenButton, ...]
    edited: bool
    date: float
    thread: int = 0
    silent: bool = False
    reactions: tuple[str, ...] = ()
    media: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[dict[str, Any]]:
        """The message's files: kind, file_id, size, and the name or an empty text."""
        files = []
        for kind, value in self.media.items():
            file = value[-1] if kind == "photo" else value
            if kind in KINDS and not (kind == "document" and "animation" in self.media):
                files.append(
                    {
                        "kind": kind,
                        "file_id": file["file_id"],
                        "size": file["file_size"],
                        "name": file.get("file_name", ""),
                    }
                )
        return files

    def to_json(self) -> dict[str, Any]:
        """The message as the /sim API shows it."""
        reply = self.reply_to
        return {
            "message_id": self.message_id,
            "from": self.sender,
            "text": self.text,
            "entities": list(self.entities),
            "reply_to": None
            if reply is None
            else {"message_id": reply.message_id, "text": reply.text, "quote": reply.quote},
            "buttons": [{"text": button.text, "data": button.data} for button in self.buttons],
            "edited": self.edited,
            "date": self.date,
            "thread": self.thread,
            "reactions": list(self.reactions),
            "media": sorted(self.media),
            "files": self.files,
        }


class TelegramScreen:
    """Reads the state as a user's phone shows it."""

    def __init__(self, core: TelegramCore) -> None:
        self._core = core

    def chat(self, chat_id: int) -> Chat:
        """The chat with that id."""
        return self._core.world.chats[chat_id]

    def messages(self, chat_id: int, thread: int | None = None) -> list[SeenMessage]:
        """The messages of a chat, oldest first; with `thread` only those of a topic."""
        chat = self._core.world.chats.get(chat_id)
        if chat is None:
            return []
        return [
            self._seen_message(chat, message)
            for message in chat.messages.values()
            if message.exists and thread in (None, message.thread)
        ]

    def _seen_message(self, chat: Chat, message: Message) -> SeenMessage:
        reply = None
        target = chat.messages.get(message.reply_to) if message.reply_to else None
        if target is not None and message.reply_to is not None:
            text = target.formatted.text if target.exists else "Deleted message"
            quote = message.quote["text"] if message.quote else None
            reply = SeenReply(message.reply_to, text, quote)
        return SeenMessage(
            message.message_id,
            "bot" if message.sender.is_bot else "user",
            message.formatted.text,
            tuple(message.formatted.entities),
            reply,
            tuple(
                SeenButton(button["text"], button.get("callback_data", ""))
                for row in message.keyboard
                for button in row
            ),
            message.edited_at is not None,
            message.date,
            message.thread,
            message.silent,
            tuple(
                reaction["emoji"]
                for reactions in (message.reactions, *message.user_reactions.values())
                for reaction in reactions
            ),
            message.media,
        )

    def typing(self, chat_id: int) -> bool:
        """Whether the phone shows that the bot is typing or uploading."""
        chat = self._core.world.chats.get(chat_id)
        now = self._core.now()
        return chat is not None and any(until > now for _, until in chat.typing.values())

    def draft(self, chat_id: int) -> str | None:
        """The text of the draft on the screen, or None."""
        chat = self._core.world.chats.get(chat_id)
        if chat is None or chat.draft is None or chat.draft.until <= self._core.now():
            return None
        return chat.draft.formatted.text

    def _shown_draft(self, chat_id: int) -> dict[str, Any] | None:
        text = self.draft(chat_id)
        draft = self._core.world.chats[chat_id].draft if text is not None else None
        if draft is None:
            return None
        entities = list(draft.formatted.entities)
        return {"text": text, "entities": entities, "can_stop": draft.can_stop}

    def notifications(self, chat_id: int) -> int:
        """How often the phone rang: for each message that was not silent, deleted ones too."""
        chat = self._core.world.chats.get(chat_id)
        sent = chat.messages.values() if chat else ()
        return sum(1 for message in sent if message.sender.is_bot and not message.silent)

    def edit_times(self, chat_id: int) -> list[float]:
        """The times of all edits in a chat, oldest first."""
        chat = self._core.world.chats.get(chat_id)
        return sorted(t for m in (chat.messages.values() if chat else ()) for t in m.edits)

    def highest_edit_rate(self, chat_id: int, window_s: float) -> float:
        """Edits per second in the busiest window of `window_s` seconds."""
        times = self.edit_times(chat_id)
        busiest = max((sum(1 for t in times if s <= t < s + window_s) for s in times), default=0)
        return busiest / window_s

    def shortest_edit_interval(self, chat_id: int) -> float | None:
        """Seconds between the two closest edits; None with fewer than two."""
        times = self.edit_times(chat_id)
        return min((b - a for a, b in pairwise(times)), default=None)

    def to_json(self, chat_id: int) -> dict[str, Any]:
        """The whole screen as the /sim API shows it."""
        return {
            "messages": [message.to_json() for message in self.messages(chat_id)],
            "typing": self.typing(chat_id),
            "draft": self.draft(chat_id),
            "draft_shown": self._shown_draft(chat_id),
            "notifications": self.notifications(chat_id),
        }
