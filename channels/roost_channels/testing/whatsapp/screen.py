"""What a person sees on WhatsApp now."""

from dataclasses import dataclass
from typing import Any, Literal

from roost_channels.testing.whatsapp.state import Core, Message

ON_THE_PHONE = ("delivered", "read")
# Messages to a server that are no bubbles of their own.
ACTS = ("reaction", "revoke", "edit")


@dataclass(frozen=True, slots=True)
class SeenText:
    """One message on the phone; ours are there once delivered.

    reply_to: (id, body) of the bubble it quotes, None without one. files: (id, content type, name).
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

    def to_json(self) -> dict[str, Any]:
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
        }


class Screen:
    """The phone's view of the chat with the business."""

    def __init__(self, core: Core[Any, Any, Any]) -> None:
        self._core = core

    def messages(self, address: str) -> list[SeenText]:
        person = self._core.person(address)
        seen = [
            self._seen(message)
            for message in self._core.messages.values()
            if self._core.person(message.person) is person
            and message.type not in ACTS
            and (message.inbound or message.status in ON_THE_PHONE)
        ]
        return sorted(seen, key=lambda message: message.date)

    def _seen(self, message: Message) -> SeenText:
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
        )

    def typing(self, address: str) -> bool:
        return self._core.person(address).typing_until > self._core.now()

    def to_json(self, address: str) -> dict[str, Any]:
        return {
            "messages": [message.to_json() for message in self.messages(address)],
            "typing": self.typing(address),
        }
