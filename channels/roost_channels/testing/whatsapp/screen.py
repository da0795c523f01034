"""What a user's phone shows of the WhatsApp chat with the business."""

from dataclasses import dataclass
from typing import Any, Literal

from roost_channels.testing.whatsapp.state import WhatsAppCore, WhatsAppMessage

ON_THE_PHONE = ("delivered", "read")
# Messages that the phone does not show as bubbles of their own.
EVENT_TYPES = ("reaction", "revoke", "edit")


@dataclass(frozen=True, slots=True)
class SeenText:
    """One message on the phone; the business's messages appear once delivered.

    reply_to: (id, body) of the message it quotes, or None. buttons: (id, title).
    files: (id, content type, name). date: seconds since the epoch.
    is_read: the business said that it read the user's message.
    """

    id: str
    sender: Literal["user", "bot"]
    body: str
    status: str
    reply_to: tuple[str, str] | None
    date: float
    buttons: tuple[tuple[str, str], ...] = ()
    media: tuple[str, ...] = ()
    is_list: bool = False
    files: tuple[tuple[str, str, str], ...] = ()
    reactions: tuple[str, ...] = ()
    is_read: bool = False

    def to_json(self) -> dict[str, Any]:
        """The message as the /sim API shows it."""
        reply = self.reply_to
        return {
            "sid": self.id,
            "from": self.sender,
            "body": self.body,
            "status": self.status,
            "reply_to": None if reply is None else {"sid": reply[0], "body": reply[1]},
            "buttons": [{"id": key, "title": title} for key, title in self.buttons],
            "media": list(self.media),
            "is_list": self.is_list,
            "files": [
                {"sid": id, "content_type": kind, "name": name} for id, kind, name in self.files
            ],
            "reactions": list(self.reactions),
            "date": self.date,
            "read": self.is_read,
        }


class WhatsAppScreen:
    """Reads the state as the user's phone shows it."""

    def __init__(self, core: WhatsAppCore[Any, Any, Any]) -> None:
        self._core = core

    def messages(self, address: str) -> list[SeenText]:
        """The messages on the phone, oldest first."""
        user = self._core.user(address)
        visible = [
            self._seen_text(message)
            for message in self._core.messages.values()
            if self._core.user(message.user) is user
            and message.type not in EVENT_TYPES
            and (message.inbound or message.status in ON_THE_PHONE)
        ]
        return sorted(visible, key=lambda message: message.date)

    def _seen_text(self, message: WhatsAppMessage) -> SeenText:
        target = self._core.messages.get(message.reply_to)
        arrived = message.created_at if message.inbound else message.delivered_at
        media = self._core.media
        return SeenText(
            message.id,
            "user" if message.inbound else "bot",
            message.body,
            message.status,
            None if target is None else (target.id, target.body),
            arrived if arrived is not None else message.created_at,
            tuple(message.buttons),
            message.shown_media,
            message.is_list,
            tuple(
                (id, media[id].content_type, media[id].filename)
                for id in message.media
                if id in media
            ),
            tuple(message.reactions.values()),
            message.is_read,
        )

    def typing(self, address: str) -> bool:
        """Whether the phone shows that the business is typing."""
        return self._core.user(address).typing_until > self._core.now()

    def to_json(self, address: str) -> dict[str, Any]:
        """The whole screen as the /sim API shows it."""
        return {
            "messages": [message.to_json() for message in self.messages(address)],
            "typing": self.typing(address),
        }
