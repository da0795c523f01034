"""The sandbox's phones: their screens, and what people do on them, by the fakes' /sim API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from roost_platform.console.bubbles import (
    Phone,
    PhoneMessage,
    telegram_messages,
    whatsapp_messages,
)
from roost_platform.console.dependencies import SandboxUrls
from roost_platform.errors import Busy

SIM_TIMEOUT_S = 3.0
TEXT_LENGTH_MAX = 4096
TITLE = "Roost"


@dataclass(frozen=True, slots=True)
class PhoneFile:
    """A file that a person picked. data: base64, as in the form."""

    name: str
    content_type: str
    data: str

    @property
    def telegram_kind(self) -> str:
        """The kind of message that Telegram's own client would send it as."""
        if self.content_type in ("image/jpeg", "image/png", "image/webp"):
            return "photo"
        return "voice" if self.content_type == "audio/ogg" else "document"


class Line:
    """The connection to one phone; `path` is its address at the fake."""

    def __init__(self, client: httpx2.AsyncClient, path: str) -> None:
        self._client = client
        self._path = path

    async def screen(
        self,
        name: str,
        kind: str,
        label: str,
        read: Callable[[Mapping[str, Any]], tuple[PhoneMessage, ...]],
    ) -> Phone:
        """What the phone shows; a fake that does not answer makes it dark."""
        try:
            response = await self._client.get(self._path)
        except httpx2.HTTPError:
            return self._dark(name, kind, label)
        if response.status_code == 404:  # nobody wrote yet
            return Phone(name, kind, label, TITLE)
        if response.status_code != 200:
            return self._dark(name, kind, label)
        shown = response.json()
        return Phone(name, kind, label, TITLE, read(shown), bool(shown.get("typing")))

    async def act(self, action: str, body: Mapping[str, Any]) -> None:
        """Do something on the phone; raises Busy when the fake refuses or does not answer."""
        try:
            response = await self._client.post(f"{self._path}/{action}", json=dict(body))
        except httpx2.HTTPError as problem:
            raise Busy("The sandbox does not answer; is it running?") from problem
        if response.status_code >= 400:
            raise Busy(f"The sandbox refused: {response.text[:200]}")

    def _dark(self, name: str, kind: str, label: str) -> Phone:
        return Phone(name, kind, label, TITLE, problem=f"The {label} sandbox does not answer.")


class TelegramPhone:
    """The phone with Telegram."""

    def __init__(self, client: httpx2.AsyncClient, base: str, user: tuple[str, str]) -> None:
        chat, self._person = user
        self._line = Line(client, f"{base}/sim/chats/{chat}")

    async def screen(self) -> Phone:
        """What the phone shows."""
        return await self._line.screen("telegram", "telegram", "Telegram", telegram_messages)

    async def says(
        self,
        text: str,
        reply_to: str = "",
        quote: str = "",
        position: int | None = None,
        file: PhoneFile | None = None,
    ) -> None:
        """Send a message, perhaps as a reply, with a quoted passage, or with a file."""
        body: dict[str, Any] = {"text": text, "first_name": self._person}
        if reply_to:
            body["reply_to_message_id"] = int(reply_to)
        if quote:
            body |= {"quote": quote, "quote_position": position}
        if file:
            body["media"] = {
                "kind": file.telegram_kind,
                "name": file.name,
                "content_type": file.content_type,
                "data": file.data,
            }
        await self._line.act("messages", body)

    async def presses(self, message_id: int, data: str) -> None:
        """Press a button of a message."""
        await self._line.act("press", {"message_id": message_id, "data": data})

    async def edits(self, message_id: int, text: str) -> None:
        """Change a message that the person sent."""
        await self._line.act("edit", {"message_id": message_id, "text": text})

    async def reacts(self, message_id: int, *emoji: str) -> None:
        """Set the person's reactions on a message."""
        await self._line.act("react", {"message_id": message_id, "emoji": list(emoji)})


class WhatsAppPhone:
    """A phone with WhatsApp, whichever provider is behind it."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        base: str,
        user: tuple[str, str],
        name: str,
        label: str,
    ) -> None:
        person, self._profile = user
        self._name, self._label = name, label
        self._line = Line(client, f"{base}/sim/users/{person}")

    async def screen(self) -> Phone:
        """What the phone shows."""
        return await self._line.screen(self._name, "whatsapp", self._label, whatsapp_messages)

    async def says(self, text: str, reply_to: str = "", file: PhoneFile | None = None) -> None:
        """Send a message, perhaps as a reply or with a file."""
        body: dict[str, Any] = {"text": text, "profile_name": self._profile}
        if reply_to:
            body["reply_to_sid"] = reply_to
        if file:
            body["media"] = [{"content_type": file.content_type, "data": file.data}]
            body["file_name"] = file.name
        await self._line.act("messages", body)

    async def presses(self, sid: str, choice: str) -> None:
        """Press a button of a message."""
        await self._line.act("press", {"sid": sid, "id": choice})


class Phones:
    """One phone for each network of the sandbox."""

    def __init__(self, urls: SandboxUrls) -> None:
        self._client = httpx2.AsyncClient(timeout=SIM_TIMEOUT_S, trust_env=False)
        self.telegram = TelegramPhone(self._client, urls.telegram, urls.telegram_user)
        self.twilio = WhatsAppPhone(
            self._client, urls.twilio, urls.twilio_user, "whatsapp", "WhatsApp"
        )
        self.cloud = WhatsAppPhone(
            self._client, urls.cloud, urls.cloud_user, "cloud", "WhatsApp by Meta"
        )

    async def close(self) -> None:
        """Release the connections to the fakes."""
        await self._client.aclose()
