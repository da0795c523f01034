"""The sandbox's phones: what the fakes show, as bubbles with the formatting a person would see."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
from markupsafe import Markup, escape

from roost_platform.console.deps import SandboxUrls
from roost_platform.console.errors import Busy

SIM_TIMEOUT_S = 3.0
MESSAGES_SHOWN_MAX = 100
TEXT_LENGTH_MAX = 4096

TAGS = {
    "bold": ("<b>", "</b>"),
    "italic": ("<i>", "</i>"),
    "underline": ("<u>", "</u>"),
    "strikethrough": ("<s>", "</s>"),
    "code": ("<code>", "</code>"),
    "pre": ('<code class="pre">', "</code>"),
    "spoiler": ('<span class="spoiler">', "</span>"),
    "blockquote": ('<span class="blockquote">', "</span>"),
    "expandable_blockquote": ('<span class="blockquote">', "</span>"),
    "text_link": ('<span class="link">', "</span>"),
    "url": ('<span class="link">', "</span>"),
    "mention": ('<span class="link">', "</span>"),
    "bot_command": ('<span class="link">', "</span>"),
    "hashtag": ('<span class="link">', "</span>"),
    "email": ('<span class="link">', "</span>"),
}

# WhatsApp's own marks, longest first; each keeps inside one line except the fence.
WHATSAPP_MARKS = re.compile(
    r"```(?P<pre>.+?)```|`(?P<code>[^`\n]+)`|(?<!\w)\*(?P<b>[^*\n]+)\*(?!\w)"
    r"|(?<!\w)_(?P<i>[^_\n]+)_(?!\w)|(?<!\w)~(?P<s>[^~\n]+)~(?!\w)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class PhoneMessage:
    """One bubble. status: sent | delivered | read | failed for what we sent by WhatsApp."""

    id: str
    mine: bool
    html: Markup
    at: float
    reply_author: str = ""
    reply_text: str = ""
    buttons: tuple[tuple[str, str], ...] = ()
    edited: bool = False
    status: str = ""
    files: tuple[str, ...] = ()
    reactions: str = ""


@dataclass(frozen=True, slots=True)
class PhoneFile:
    """A file that a person picked. data: base64, as the form carried it."""

    name: str
    content_type: str
    data: str

    @property
    def telegram_kind(self) -> str:
        """What Telegram's own client would make of it."""
        if self.content_type in ("image/jpeg", "image/png", "image/webp"):
            return "photo"
        return "voice" if self.content_type == "audio/ogg" else "document"


@dataclass(frozen=True, slots=True)
class Phone:
    """One phone's screen; problem says why it is dark."""

    kind: str
    title: str
    messages: tuple[PhoneMessage, ...] = ()
    typing: bool = False
    problem: str = ""


def entities_html(text: str, entities: Sequence[Mapping[str, Any]]) -> Markup:
    """Text with Telegram entities (UTF-16 offsets) as HTML; its text content is the text."""
    units = text.encode("utf-16-le")
    opens: dict[int, list[tuple[int, str]]] = {}
    closes: dict[int, list[tuple[int, str]]] = {}
    cuts = {0, len(units) // 2}
    for number, entity in enumerate(entities):
        tag = TAGS.get(str(entity.get("type")))
        start, length = int(entity.get("offset", 0)), int(entity.get("length", 0))
        if tag is None or length <= 0 or start + length > len(units) // 2:
            continue
        opens.setdefault(start, []).append((-length, tag[0]))
        # The one that began last ends first; of two that began together, the shorter.
        closes.setdefault(start + length, []).append((-start * 1000 + length + number, tag[1]))
        cuts |= {start, start + length}
    html, previous = [], 0
    for cut in sorted(cuts):
        html.append(escape(units[previous * 2 : cut * 2].decode("utf-16-le", "replace")))
        html += [Markup(tag) for _, tag in sorted(closes.get(cut, []))]
        html += [Markup(tag) for _, tag in sorted(opens.get(cut, []), key=lambda pair: pair[0])]
        previous = cut
    return Markup("").join(html)


def whatsapp_html(text: str) -> Markup:
    """Text with WhatsApp's marks as HTML; the marks themselves disappear, as on the phone."""
    html, previous = [], 0
    for match in WHATSAPP_MARKS.finditer(text):
        html.append(escape(text[previous : match.start()]))
        name = str(match.lastgroup)
        if name == "pre":
            html.append(Markup('<code class="pre">{}</code>').format(match[name]))
        else:
            html.append(Markup(f"<{name}>{{}}</{name}>").format(match[name]))
        previous = match.end()
    html.append(escape(text[previous:]))
    return Markup("").join(html)


def telegram_phone(title: str, screen: Mapping[str, Any]) -> Phone:
    by_id = {m["message_id"]: m for m in screen["messages"]}
    messages = []
    for m in screen["messages"][-MESSAGES_SHOWN_MAX:]:
        reply = m.get("reply_to") or {}
        target = by_id.get(reply.get("message_id"), {})
        messages.append(
            PhoneMessage(
                id=str(m["message_id"]),
                mine=m["from"] == "user",
                html=entities_html(m["text"], m.get("entities") or ()),
                at=float(m["date"]),
                reply_author=("You" if target.get("from") == "user" else "Roost") if reply else "",
                reply_text=str(reply.get("quote") or reply.get("text") or ""),
                buttons=tuple((b["text"], b["data"]) for b in m.get("buttons") or ()),
                edited=bool(m.get("edited")),
                files=tuple(f["name"] or f["kind"].capitalize() for f in m.get("files") or ()),
                reactions=" ".join(m.get("reactions") or ()),
            )
        )
    return Phone("telegram", title, tuple(messages), bool(screen.get("typing")))


def whatsapp_phone(title: str, screen: Mapping[str, Any]) -> Phone:
    by_id = {m["sid"]: m for m in screen["messages"]}
    messages = []
    for m in screen["messages"][-MESSAGES_SHOWN_MAX:]:
        reply = m.get("reply_to") or {}
        target = by_id.get(reply.get("sid"), {})
        messages.append(
            PhoneMessage(
                id=str(m["sid"]),
                mine=m["from"] == "user",
                html=whatsapp_html(m["body"]),
                at=float(m["date"]),
                reply_author=("You" if target.get("from") == "user" else "Roost") if reply else "",
                reply_text=str(whatsapp_html(str(reply.get("body") or "")).striptags()),
                buttons=tuple((b["title"], b["id"]) for b in m.get("buttons") or ()),
                status=str(m.get("status") or ""),
                files=tuple(f["content_type"] for f in m.get("files") or ()),
            )
        )
    return Phone("whatsapp", title, tuple(messages), bool(screen.get("typing")))


class Phones:
    """Both phones, driven through the fakes' /sim API."""

    def __init__(self, urls: SandboxUrls) -> None:
        self.urls = urls
        self._client = httpx2.AsyncClient(timeout=SIM_TIMEOUT_S, trust_env=False)

    async def telegram(self) -> Phone:
        path = f"{self.urls.telegram}/sim/chats/{self.urls.telegram_chat}"
        screen = await self._get(path)
        if screen is None:
            return Phone("telegram", "Roost", problem="The Telegram sandbox does not answer.")
        return telegram_phone("Roost", screen)

    async def whatsapp(self) -> Phone:
        path = f"{self.urls.twilio}/sim/users/{self.urls.whatsapp_user}"
        screen = await self._get(path)
        if screen is None:
            return Phone("whatsapp", "Roost", problem="The WhatsApp sandbox does not answer.")
        return whatsapp_phone("Roost", screen)

    async def telegram_says(
        self,
        text: str,
        reply_to: str = "",
        quote: str = "",
        position: int | None = None,
        file: PhoneFile | None = None,
    ) -> None:
        body: dict[str, Any] = {"text": text, "first_name": self.urls.telegram_name}
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
        await self._telegram("messages", body)

    async def telegram_presses(self, message_id: int, data: str) -> None:
        await self._telegram("press", {"message_id": message_id, "data": data})

    async def telegram_edits(self, message_id: int, text: str) -> None:
        await self._telegram("edit", {"message_id": message_id, "text": text})

    async def telegram_reacts(self, message_id: int, *emoji: str) -> None:
        await self._telegram("react", {"message_id": message_id, "emoji": list(emoji)})

    async def _telegram(self, action: str, body: Mapping[str, Any]) -> None:
        path = f"{self.urls.telegram}/sim/chats/{self.urls.telegram_chat}/{action}"
        await self._post(path, body)

    async def whatsapp_says(
        self, text: str, reply_to: str = "", file: PhoneFile | None = None
    ) -> None:
        body: dict[str, Any] = {"text": text, "profile_name": self.urls.whatsapp_name}
        if reply_to:
            body["reply_to_sid"] = reply_to
        if file:
            body["media"] = [{"content_type": file.content_type, "data": file.data}]
        await self._whatsapp("messages", body)

    async def whatsapp_chooses(self, sid: str, choice: str) -> None:
        await self._whatsapp("press", {"sid": sid, "id": choice})

    async def _whatsapp(self, action: str, body: Mapping[str, Any]) -> None:
        path = f"{self.urls.twilio}/sim/users/{self.urls.whatsapp_user}/{action}"
        await self._post(path, body)

    async def _get(self, url: str) -> Mapping[str, Any] | None:
        try:
            response = await self._client.get(url)
        except httpx2.HTTPError:
            return None
        if response.status_code == 404:
            return {"messages": [], "typing": False}
        return dict(response.json()) if response.status_code == 200 else None

    async def _post(self, url: str, body: Mapping[str, Any]) -> None:
        try:
            response = await self._client.post(url, json=dict(body))
        except httpx2.HTTPError as problem:
            raise Busy("The sandbox does not answer; is it running?") from problem
        if response.status_code >= 400:
            raise Busy(f"The sandbox refused: {response.text[:200]}")

    async def close(self) -> None:
        await self._client.aclose()
