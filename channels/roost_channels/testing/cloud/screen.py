"""What a person sees on WhatsApp now."""

from dataclasses import dataclass
from typing import Any, Literal

from roost_channels.testing.cloud.state import CloudCore, CloudMessage

ON_THE_PHONE = ("delivered", "read")


@dataclass(frozen=True, slots=True)
class SeenNote:
    """One message on the phone. reply_to: (id, text) of the bubble it quotes, None without one."""

    id: str
    sender: Literal["user", "bot"]
    body: str
    status: str
    reply_to: tuple[str, str] | None
    date: float
    buttons: tuple[tuple[str, str], ...] = ()
    media: str = ""
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
            "media": [self.media] if self.media else [],
            "reactions": list(self.reactions),
            "date": self.date,
        }


class CloudScreen:
    """The phone's view of the chat with the business."""

    def __init__(self, core: CloudCore) -> None:
        self._core = core

    def messages(self, address: str) -> list[SeenNote]:
        person = self._core.person(address)
        seen = [
            self._seen(message)
            for message in self._core.messages.values()
            if message.person == person.address
            and message.type not in ("reaction", "revoke", "edit")
            and (message.inbound or message.status in ON_THE_PHONE)
        ]
        return sorted(seen, key=lambda message: message.date)

    def _seen(self, message: CloudMessage) -> SeenNote:
        target = self._core.messages.get(message.context)
        arrived = message.created_at if message.inbound else message.delivered_at
        return SeenNote(
            message.id,
            "user" if message.inbound else "bot",
            message.body,
            message.status,
            None if target is None else (target.id, target.body),
            arrived if arrived is not None else message.created_at,
            tuple(message.buttons),
            message.media_id,
            tuple(message.reactions.values()),
        )

    def typing(self, address: str) -> bool:
        return self._core.person(address).typing_until > self._core.now()

    def to_json(self, address: str) -> dict[str, Any]:
        return {
            "messages": [message.to_json() for message in self.messages(address)],
            "typing": self.typing(address),
        }
