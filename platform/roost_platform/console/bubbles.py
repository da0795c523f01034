"""What phones show, as bubbles with the formatting that a person would see."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from roost_channels.rendering.parts import Entity
from roost_channels.sandbox.phone import PhoneLook, PhoneScreen, ShownDraft, ShownMessage

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

# Marks around words, longest first; each keeps inside one line except the fence.
MARKS = re.compile(
    r"^> (?P<quote>[^\n]*)\n?|```(?P<pre>.+?)```|`(?P<code>[^`\n]+)`"
    r"|(?<!\w)\*(?P<b>[^*\n]+)\*(?!\w)|(?<!\w)_(?P<i>[^_\n]+)_(?!\w)|(?<!\w)~(?P<s>[^~\n]+)~(?!\w)",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class PhoneMessage:
    """One bubble. status: sent | delivered | read | failed, for what we sent where apps show it."""

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
    pictures: tuple[str, ...] = ()
    is_read: bool = False


@dataclass(frozen=True, slots=True)
class PhoneDraft:
    """An answer that is being written."""

    html: Markup
    can_stop: bool


@dataclass(frozen=True, slots=True)
class Phone:
    """One phone's screen; problem says why it is dark. tone: its colours."""

    look: PhoneLook
    tone: str
    title: str
    messages: tuple[PhoneMessage, ...] = ()
    typing: bool = False
    problem: str = ""
    draft: PhoneDraft | None = None


def entities_html(text: str, entities: Sequence[Entity]) -> Markup:
    """Text with entities (UTF-16 offsets) as HTML; its text content is the text."""
    units = text.encode("utf-16-le")
    opens: dict[int, list[tuple[int, str]]] = {}
    closes: dict[int, list[tuple[int, str]]] = {}
    cuts = {0, len(units) // 2}
    for number, entity in enumerate(entities):
        tag = TAGS.get(entity.type)
        start, length = entity.offset, entity.length
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


def marks_html(text: str, depth: int = 0) -> Markup:
    """Text with marks as HTML; the marks themselves disappear, as on the phone."""
    html, previous = [], 0
    for match in MARKS.finditer(text):
        html.append(escape(text[previous : match.start()]))
        name = str(match.lastgroup)
        if name == "quote":
            inner, below = match[name], depth + 1
            quoted = marks_html(inner, below) if below < QUOTE_DEPTH_MAX else escape(inner)
            html.append(Markup('<span class="blockquote">{}</span>').format(quoted))
        elif name == "pre":
            html.append(Markup('<code class="pre">{}</code>').format(match[name]))
        else:
            html.append(Markup(f"<{name}>{{}}</{name}>").format(match[name]))
        previous = match.end()
    html.append(escape(text[previous:]))
    return Markup("").join(html)


def bubbles(screen: PhoneScreen, look: PhoneLook) -> tuple[PhoneMessage, ...]:
    """The newest MESSAGES_SHOWN_MAX messages of a screen, formatted."""
    return tuple(_bubble(message, look) for message in screen.messages[-MESSAGES_SHOWN_MAX:])


def _bubble(message: ShownMessage, look: PhoneLook) -> PhoneMessage:
    reply_author = "You" if message.reply_is_mine else "Roost"
    reply_text = message.reply_text
    if look.markup == "marks":
        reply_text = marks_html(reply_text).striptags()
    return PhoneMessage(
        id=message.id,
        mine=message.is_mine,
        html=_html(message.text, message.entities, look),
        at=message.at,
        reply_author=reply_author if reply_text else "",
        reply_text=reply_text,
        buttons=message.buttons,
        edited=message.is_edited,
        status=message.status if look.shows_status else "",
        files=message.files,
        reactions=message.reactions,
        pictures=message.pictures,
        is_read=message.is_read,
    )


def draft_bubble(draft: ShownDraft, look: PhoneLook) -> PhoneDraft:
    """A draft, formatted."""
    return PhoneDraft(_html(draft.text, draft.entities, look), draft.can_stop)


def _html(text: str, entities: Sequence[Entity], look: PhoneLook) -> Markup:
    if look.markup == "entities":
        return entities_html(text, entities)
    if look.markup == "marks":
        return marks_html(text)
    return escape(text)
