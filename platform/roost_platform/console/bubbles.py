"""The messages on the fakes' screens, with the formatting that a person would see."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

MESSAGES_SHOWN_MAX = 100
QUOTE_DEPTH_MAX = 8  # quotes in quotes; what is deeper shows its marks

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

# What WhatsApp shows for files of these kinds; others show their names.
FILE_WORDS = {"image": "Photo", "video": "Video", "audio": "Audio"}
# WhatsApp's own marks, longest first; each stays within one line except the fence.
WHATSAPP_MARKS = re.compile(
    r"^> (?P<quote>[^\n]*)\n?|```(?P<pre>.+?)```|`(?P<code>[^`\n]+)`"
    r"|(?<!\w)\*(?P<b>[^*\n]+)\*(?!\w)|(?<!\w)_(?P<i>[^_\n]+)_(?!\w)|(?<!\w)~(?P<s>[^~\n]+)~(?!\w)",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class PhoneMessage:
    """One message. status: sent | delivered | read | failed, for ours on WhatsApp."""

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
class Phone:
    """One phone's screen.

    name: the phone in addresses and ids. kind: how it looks. label: the network, for people.
    problem: why the screen is dark; empty if it is not.
    """

    name: str
    kind: str
    label: str
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
        # The tag that began last ends first; of two that began together, the shorter one.
        closes.setdefault(start + length, []).append((-start * 1000 + length + number, tag[1]))
        cuts |= {start, start + length}
    html, previous = [], 0
    for cut in sorted(cuts):
        html.append(escape(units[previous * 2 : cut * 2].decode("utf-16-le", "replace")))
        html += [Markup(tag) for _, tag in sorted(closes.get(cut, []))]
        html += [Markup(tag) for _, tag in sorted(opens.get(cut, []), key=lambda pair: pair[0])]
        previous = cut
    return Markup("").join(html)


def whatsapp_html(text: str, depth: int = 0) -> Markup:
    """Text with WhatsApp's marks as HTML; the marks are removed, as on the phone."""
    html, previous = [], 0
    for match in WHATSAPP_MARKS.finditer(text):
        html.append(escape(text[previous : match.start()]))
        name = str(match.lastgroup)
        if name == "quote":
            inner, below = match[name], depth + 1
            quoted = whatsapp_html(inner, below) if below < QUOTE_DEPTH_MAX else escape(inner)
            html.append(Markup('<span class="blockquote">{}</span>').format(quoted))
        elif name == "pre":
            html.append(Markup('<code class="pre">{}</code>').format(match[name]))
        else:
            html.append(Markup(f"<{name}>{{}}</{name}>").format(match[name]))
        previous = match.end()
    html.append(escape(text[previous:]))
    return Markup("").join(html)


def telegram_messages(screen: Mapping[str, Any]) -> tuple[PhoneMessage, ...]:
    """The messages of the Telegram fake's screen, oldest first, the last MESSAGES_SHOWN_MAX."""
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
    return tuple(messages)


def whatsapp_messages(screen: Mapping[str, Any]) -> tuple[PhoneMessage, ...]:
    """The messages of a WhatsApp fake's screen, oldest first, the last MESSAGES_SHOWN_MAX."""
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
                files=tuple(_file_name(f) for f in m.get("files") or ()),
                reactions=" ".join(m.get("reactions") or ()),
            )
        )
    return tuple(messages)


def _file_name(file: Mapping[str, Any]) -> str:
    kind = str(file["content_type"]).partition("/")[0]
    return FILE_WORDS.get(kind) or str(file.get("name") or "") or "Document"
