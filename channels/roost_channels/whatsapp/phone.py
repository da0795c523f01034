"""A phone with WhatsApp, on the `/sim` API that the fakes of both providers have."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2

from roost_channels.sandbox.phone import (
    HttpPhone,
    PhoneLook,
    PhoneScreen,
    Picture,
    ShownMessage,
    TypedMessage,
)

# What WhatsApp calls files by; others show their names.
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_FILE_WORDS = {"video": "Video", "audio": "Audio"}


def look(name: str, label: str, caption: str) -> PhoneLook:
    """WhatsApp's look; the provider behind it differs."""
    return PhoneLook(name=name, label=label, caption=caption, markup="marks", shows_status=True)


class WhatsAppPhone(HttpPhone):
    """One person's chat with our number, whichever provider is behind it.

    profile: the name that the person gave in the app.
    """

    def __init__(self, client: httpx2.AsyncClient, url: str, profile: str, look: PhoneLook) -> None:
        super().__init__(client, url)
        self._media = f"{url.partition('/sim/')[0]}/sim/media"
        self.look = look
        self._profile = profile

    async def screen(self) -> PhoneScreen:
        """The chat as it reads now."""
        shown = await self.read()
        return PhoneScreen() if shown is None else _screen(shown)

    async def says(self, message: TypedMessage) -> None:
        """Send a message, perhaps a reply or a file."""
        body: dict[str, Any] = {"text": message.text, "profile_name": self._profile}
        if message.reply_to:
            body["reply_to_sid"] = message.reply_to
        if message.file:
            file = message.file
            body["media"] = [{"content_type": file.content_type, "data": file.data}]
            body["file_name"] = file.name
        await self.act("messages", body)

    async def presses(self, message_id: str, data: str) -> None:
        """Choose a quick reply or an item of a list."""
        await self.act("press", {"sid": message_id, "id": data})

    async def picture(self, id: str) -> Picture | None:
        """A photo of the chat."""
        return await self.fetch(f"{self._media}/{quote(id, safe='')}")


def _screen(shown: Mapping[str, Any]) -> PhoneScreen:
    by_id = {message["sid"]: message for message in shown["messages"]}
    messages = []
    for message in shown["messages"]:
        reply = message.get("reply_to") or {}
        target = by_id.get(reply.get("sid"), {})
        files = message.get("files") or ()
        messages.append(
            ShownMessage(
                id=str(message["sid"]),
                is_mine=message["from"] == "user",
                text=message["body"],
                at=float(message["date"]),
                reply_text=str(reply.get("body") or ""),
                reply_is_mine=target.get("from") == "user",
                buttons=tuple((b["title"], b["id"]) for b in message.get("buttons") or ()),
                status=str(message.get("status") or ""),
                files=tuple(_file_name(file) for file in files if not _is_picture(file)),
                pictures=tuple(str(file["sid"]) for file in files if _is_picture(file)),
                is_read=bool(message.get("read")),
                reactions=" ".join(message.get("reactions") or ()),
            )
        )
    return PhoneScreen(tuple(messages), bool(shown.get("typing")))


def _is_picture(file: Mapping[str, Any]) -> bool:
    return str(file["content_type"]).partition(";")[0] in _PICTURES


def _file_name(file: Mapping[str, Any]) -> str:
    kind = str(file["content_type"]).partition("/")[0]
    return _FILE_WORDS.get(kind) or str(file.get("name") or "") or "Document"
