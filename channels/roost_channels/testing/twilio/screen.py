"""What a person sees on WhatsApp now."""

from dataclasses import dataclass
from typing import Any, Literal

from roost_channels.testing.twilio.state import Core, TextMessage

ON_THE_PHONE = ("delivered", "read")


@dataclass(frozen=True, slots=True)
class SeenText:
    """One message on the phone; the bot's are there once delivered. `reply_to` is (sid, body)."""

    sid: str
    sender: Literal["user", "bot"]
    body: str
    status: str
    reply_to: tuple[str, str] | None
    date: float
    buttons: tuple[tuple[str, str], ...] = ()
    media: tuple[str, ...] = ()
    is_list: bool = False
    files: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        reply = self.reply_to
        return {
            "sid": self.sid,
            "from": self.sender,
            "body": self.body,
            "status": self.status,
            "reply_to": None if reply is None else {"sid": reply[0], "body": reply[1]},
            "buttons": [{"id": key, "title": title} for key, title in self.buttons],
            "media": list(self.media),
            "is_list": self.is_list,
            "files": [{"sid": sid, "content_type": kind} for sid, kind in self.files],
            "date": self.date,
        }


class Screen:
    """The phone's view of the chat with the business."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def messages(self, address: str) -> list[SeenText]:
        person = self._core.person(address)
        names = {person.phone, person.bsuid} - {""}
        seen = [
            self._seen(message)
            for message in self._core.messages.values()
            if (message.inbound and message.from_ in names)
            or (message.to in names and message.status in ON_THE_PHONE)
        ]
        return sorted(seen, key=lambda message: message.date)

    def _seen(self, message: TextMessage) -> SeenText:
        target = self._core.messages.get(message.reply_to or "")
        arrived = message.created_at if message.inbound else message.delivered_at
        return SeenText(
            message.sid,
            "user" if message.inbound else "bot",
            message.body,
            message.status,
            None if message.reply_to is None else (message.reply_to, target.body if target else ""),
            arrived if arrived is not None else message.created_at,
            tuple(message.buttons),
            tuple(message.media_sids or message.media_urls),
            message.is_list,
            tuple((sid, self._core.media[sid].content_type) for sid in message.media_sids),
        )

    def typing(self, address: str) -> bool:
        return self._core.person(address).typing_until > self._core.now()

    def to_json(self, address: str) -> dict[str, Any]:
        return {
            "messages": [message.to_json() for message in self.messages(address)],
            "typing": self.typing(address),
        }
