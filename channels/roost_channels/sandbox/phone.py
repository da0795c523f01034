"""A person's phone on the console's Sandbox page: what it shows, and what people do on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2

from roost_channels.capabilities import Markup
from roost_channels.rendering.parts import Entity

PICTURE_BYTES_MAX = 10 * 1024 * 1024  # what is larger is not shown


class PhoneError(Exception):
    """The fake network does not answer, or refuses what was done; says which in words."""


class PhoneRefused(PhoneError):
    """Nobody could do that: there is no such message, or the app has no such thing."""


@dataclass(frozen=True, slots=True)
class PhoneLook:
    """How a phone looks, and what its app can do.

    name: unique among the phones; it stands in addresses and in ids of the page.
    label, caption: the app, and the line below the assistant's name.
    markup: how the texts of its messages are to be read.
    quotes_passages: a selected passage can be quoted, not only a whole message.
    shows_status: our messages bear `sent`, `delivered` or `read`.
    """

    name: str
    label: str
    caption: str = ""
    markup: Markup = "plain"
    can_edit: bool = False
    can_react: bool = False
    quotes_passages: bool = False
    shows_status: bool = False


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """One message on the phone.

    is_mine: the person wrote it. at: seconds since the epoch. entities: for the markup `entities`.
    reply_text: what it replies to, in the phone's markup; reply_is_mine: whose that was.
    buttons: (label, the data a press returns). status: how far a message of ours got.
    pictures: ids, for `picture`, of the files that the app shows in the chat; `files` names the
        others.
    is_read: we told the network that we read a message of the person's, and the app shows it.
    """

    id: str
    is_mine: bool
    text: str
    at: float
    entities: tuple[Entity, ...] = ()
    reply_text: str = ""
    reply_is_mine: bool = False
    buttons: tuple[tuple[str, str], ...] = ()
    is_edited: bool = False
    status: str = ""
    files: tuple[str, ...] = ()
    reactions: str = ""
    pictures: tuple[str, ...] = ()
    is_read: bool = False


@dataclass(frozen=True, slots=True)
class ShownDraft:
    """An answer that is being written, as far as it is.

    can_stop: the app shows a button that stops it.
    """

    text: str
    entities: tuple[Entity, ...] = ()
    can_stop: bool = False


@dataclass(frozen=True, slots=True)
class PhoneScreen:
    """All that the phone shows, oldest message first."""

    messages: tuple[ShownMessage, ...] = ()
    is_typing: bool = False
    draft: ShownDraft | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of a picture. content_type: what its sender said."""

    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class PhoneFile:
    """A file that a person picked. data: base64, as the page's form carried it."""

    name: str
    content_type: str
    data: str


@dataclass(frozen=True, slots=True)
class TypedMessage:
    """What a person sends.

    reply_to: the id of the message it replies to; quote: the passage of that message, where it
    starts in UTF-16 units.
    """

    text: str
    reply_to: str = ""
    quote: str = ""
    quote_position: int | None = None
    file: PhoneFile | None = None


class SandboxPhone(Protocol):
    """One person with the network's app. Every method raises PhoneError."""

    @property
    def look(self) -> PhoneLook:
        """How it looks and what its app can do."""
        ...

    async def screen(self) -> PhoneScreen:
        """What the person sees now."""
        ...

    async def says(self, message: TypedMessage) -> None:
        """Send a message."""
        ...

    async def presses(self, message_id: str, data: str) -> None:
        """Press a button under a message."""
        ...

    async def stops(self) -> None:
        """Press the button of the draft, where the screen has one that can be stopped."""
        ...

    async def picture(self, id: str) -> Picture | None:
        """A picture that the screen shows; None where there is none such."""
        ...

    async def edits(self, message_id: str, text: str) -> None:
        """Change a message of the person's own, where `look.can_edit`."""
        ...

    async def reacts(self, message_id: str, emoji: str) -> None:
        """Put a reaction under a message, where `look.can_react`."""
        ...


class HttpPhone:
    """The common part of phones whose fake has a `/sim` API that speaks JSON.

    url: the person's chat there; GET reads the screen, POST `url/ACTION` acts.
    """

    look: PhoneLook

    def __init__(self, client: httpx2.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def read(self) -> Mapping[str, Any] | None:
        """The screen as JSON; None before anybody has written."""
        try:
            response = await self._client.get(self._url)
        except httpx2.HTTPError as error:
            raise PhoneError(self._silent()) from error
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise PhoneError(self._silent())
        screen: Mapping[str, Any] = response.json()
        return screen

    async def act(self, action: str, body: Mapping[str, Any]) -> None:
        """Do something as the person."""
        try:
            response = await self._client.post(f"{self._url}/{action}", json=dict(body))
        except httpx2.HTTPError as error:
            raise PhoneError("The sandbox does not answer; is it running?") from error
        if response.status_code >= 400:
            raise PhoneError(f"The sandbox refused: {response.text[:200]}")

    async def presses(self, message_id: str, data: str) -> None:
        """Refuse: a network whose messages have buttons overrides this."""
        raise PhoneRefused(f"Messages have no buttons on {self.look.label}.")

    async def stops(self) -> None:
        """Refuse: a network with drafts overrides this."""
        raise PhoneRefused(f"There are no drafts on {self.look.label}.")

    async def picture(self, id: str) -> Picture | None:
        """None: a network whose app shows pictures overrides this."""
        return None

    async def fetch(self, url: str) -> Picture | None:
        """A picture from the fake's own address, at most PICTURE_BYTES_MAX; None without one."""
        try:
            async with self._client.stream("GET", url) as response:
                if response.status_code != 200:
                    return None
                data = b""
                async for piece in response.aiter_bytes():
                    data += piece
                    if len(data) > PICTURE_BYTES_MAX:
                        return None
                return Picture(response.headers.get("content-type", ""), data)
        except httpx2.HTTPError as error:
            raise PhoneError(self._silent()) from error

    async def edits(self, message_id: str, text: str) -> None:
        """Refuse: a network whose messages change overrides this."""
        raise PhoneRefused(f"Messages can't be edited on {self.look.label}.")

    async def reacts(self, message_id: str, emoji: str) -> None:
        """Refuse: a network with reactions overrides this."""
        raise PhoneRefused(f"There are no reactions on {self.look.label}.")

    def _silent(self) -> str:
        return f"The {self.look.label} sandbox does not answer."
