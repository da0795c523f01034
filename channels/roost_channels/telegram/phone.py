"""A phone with Telegram, on the fake's `/sim` API."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2

from roost_channels.rendering.parts import Entity
from roost_channels.sandbox.phone import (
    HttpPhone,
    PhoneFile,
    PhoneLook,
    PhoneRefused,
    PhoneScreen,
    Picture,
    ShownDraft,
    ShownMessage,
    TypedMessage,
)

_PHOTOS = ("image/jpeg", "image/png", "image/webp")


class TelegramPhone(HttpPhone):
    """One person's private chat with the bot."""

    look = PhoneLook(
        name="telegram",
        label="Telegram",
        caption="bot",
        markup="entities",
        can_edit=True,
        can_react=True,
        quotes_passages=True,
    )

    def __init__(self, client: httpx2.AsyncClient, base: str, chat: str, person: str) -> None:
        super().__init__(client, f"{base}/sim/chats/{chat}")
        self._base = base
        self._person = person

    async def screen(self) -> PhoneScreen:
        """The chat as it reads now."""
        shown = await self.read()
        return PhoneScreen() if shown is None else _screen(shown)

    async def says(self, message: TypedMessage) -> None:
        """Send a message, perhaps a reply, a quote or a file."""
        body: dict[str, Any] = {"text": message.text, "first_name": self._person}
        if message.reply_to:
            body["reply_to_message_id"] = _number(message.reply_to)
        if message.quote:
            body |= {"quote": message.quote, "quote_position": message.quote_position}
        if message.file:
            body["media"] = {
                "kind": _kind(message.file),
                "name": message.file.name,
                "content_type": message.file.content_type,
                "data": message.file.data,
            }
        await self.act("messages", body)

    async def presses(self, message_id: str, data: str) -> None:
        """Press a button."""
        await self.act("press", {"message_id": _number(message_id), "data": data})

    async def stops(self) -> None:
        """Press Stop below the draft."""
        await self.act("stop_draft", {})

    async def picture(self, id: str) -> Picture | None:
        """A photo of the chat."""
        return await self.fetch(f"{self._base}/sim/files/{quote(id, safe='')}")

    async def edits(self, message_id: str, text: str) -> None:
        """Change a message of the person's own."""
        await self.act("edit", {"message_id": _number(message_id), "text": text})

    async def reacts(self, message_id: str, emoji: str) -> None:
        """Put one emoji under a message."""
        await self.act("react", {"message_id": _number(message_id), "emoji": [emoji]})


def _number(message_id: str) -> int:
    if not message_id.isdecimal():
        raise PhoneRefused("There is no such message.")
    return int(message_id)


def _kind(file: PhoneFile) -> str:
    """What Telegram's own app would make of a file."""
    if file.content_type in _PHOTOS:
        return "photo"
    return "voice" if file.content_type == "audio/ogg" else "document"


def _screen(shown: Mapping[str, Any]) -> PhoneScreen:
    by_id = {message["message_id"]: message for message in shown["messages"]}
    messages = []
    for message in shown["messages"]:
        reply = message.get("reply_to") or {}
        target = by_id.get(reply.get("message_id"), {})
        files = message.get("files") or ()
        messages.append(
            ShownMessage(
                id=str(message["message_id"]),
                is_mine=message["from"] == "user",
                text=message["text"],
                at=float(message["date"]),
                entities=tuple(_entity(one) for one in message.get("entities") or ()),
                reply_text=str(reply.get("quote") or reply.get("text") or ""),
                reply_is_mine=target.get("from") == "user",
                buttons=tuple((b["text"], b["data"]) for b in message.get("buttons") or ()),
                is_edited=bool(message.get("edited")),
                files=tuple(
                    f["name"] or f["kind"].capitalize() for f in files if f["kind"] != "photo"
                ),
                pictures=tuple(f["file_id"] for f in files if f["kind"] == "photo"),
                reactions=" ".join(message.get("reactions") or ()),
            )
        )
    draft = shown.get("draft_shown")
    return PhoneScreen(
        tuple(messages),
        bool(shown.get("typing")),
        None
        if not draft
        else ShownDraft(
            draft["text"], tuple(_entity(one) for one in draft["entities"]), draft["can_stop"]
        ),
    )


def _entity(entity: Mapping[str, Any]) -> Entity:
    return Entity(
        str(entity.get("type")), int(entity.get("offset", 0)), int(entity.get("length", 0))
    )
