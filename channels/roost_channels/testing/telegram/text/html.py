"""parse_mode HTML: the Bot API's tags, and its errors for all others."""

import html
import re
from dataclasses import dataclass
from typing import Any

from roost_channels.testing.telegram.text.utf16 import utf16_length

_STYLES = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
}
_TAGS = {*_STYLES, "a", "tg-emoji", "tg-time", "pre", "code", "blockquote"}
_REFERENCE = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|lt|gt|amp|quot);?")
_SPACE = " \t\r\n\v\f\0"


@dataclass(slots=True)
class _OpenTag:
    tag: str
    attributes: dict[str, str]
    offset: int
    start: int


def parse_html(source: str) -> tuple[str, list[dict[str, Any]]]:
    """Plain text and entities; ValueError with the server's text."""
    return _Parser(source).run()


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.out: list[str] = []
        self.units = 0
        self.open: list[_OpenTag] = []
        self.entities: list[dict[str, Any]] = []

    def run(self) -> tuple[str, list[dict[str, Any]]]:
        while self.at < len(self.source):
            character = self.source[self.at]
            if character == "<":
                if self.source.startswith("</", self.at):
                    self._end_tag()
                else:
                    self._start_tag()
                continue
            reference = _REFERENCE.match(self.source, self.at) if character == "&" else None
            piece = html.unescape(reference.group().rstrip(";") + ";") if reference else character
            self.at += len(reference.group()) if reference else 1
            self.out.append(piece)
            self.units += utf16_length(piece)
        if self.open:
            raise ValueError(
                f'Can\'t find end tag corresponding to start tag "{self.open[-1].tag}"'
            )
        for entity in self.entities:
            if entity["type"] == "code":
                entity.pop("language", None)  # only a block keeps its language
        self.entities.sort(key=lambda e: (e["offset"], -e["length"]))
        return "".join(self.out), self.entities

    def _byte(self, index: int) -> int:
        return len(self.source[:index].encode("utf-8", "surrogatepass"))

    def _skip_until(self, stops: str) -> str:
        start = self.at
        while self.at < len(self.source) and self.source[self.at] not in stops:
            self.at += 1
        return self.source[start : self.at]

    def _skip_spaces(self) -> None:
        while self.at < len(self.source) and self.source[self.at] in _SPACE:
            self.at += 1

    def _start_tag(self) -> None:
        begin = self._byte(self.at)
        self.at += 1
        tag = self._skip_until(_SPACE + ">").lower()
        if self.at >= len(self.source):
            raise ValueError(f"Unclosed start tag at byte offset {begin}")
        if tag not in _TAGS:
            raise ValueError(f'Unsupported start tag "{tag}" at byte offset {begin}')
        attributes: dict[str, str] = {}
        while True:
            self._skip_spaces()
            if self.at < len(self.source) and self.source[self.at] == ">":
                self.at += 1
                break
            name = self._skip_until(_SPACE + "=>/\"'")
            if not name:
                raise ValueError(f'Empty attribute name in the tag "{tag}" at byte offset {begin}')
            self._skip_spaces()
            if self.at >= len(self.source):
                raise ValueError(f'Unclosed start tag "{tag}" at byte offset {begin}')
            attributes[name] = self._attribute_value(begin) if self.source[self.at] == "=" else ""
        if tag == "span" and attributes.get("class") != "tg-spoiler":
            raise ValueError(f'Tag "span" must have class "tg-spoiler" at byte offset {begin}')
        self.open.append(_OpenTag(tag, attributes, self.units, len(self.out)))

    def _attribute_value(self, begin: int) -> str:
        self.at += 1
        self._skip_spaces()
        if self.at < len(self.source) and self.source[self.at] in "\"'":
            mark = self.source[self.at]
            self.at += 1
            value = html.unescape(self._skip_until(mark))
            self.at += 1
        else:
            token = self.at
            while self.at < len(self.source) and (
                self.source[self.at].isalnum() or self.source[self.at] in ".-"
            ):
                self.at += 1
            value = self.source[token : self.at].lower()
            if self.at < len(self.source) and self.source[self.at] not in _SPACE + ">":
                raise ValueError(f"Unexpected end of name token at byte offset {self._byte(token)}")
        if self.at >= len(self.source):
            raise ValueError(f"Unclosed start tag at byte offset {begin}")
        return value

    def _end_tag(self) -> None:
        begin = self._byte(self.at)
        if not self.open:
            raise ValueError(f"Unexpected end tag at byte offset {begin}")
        self.at += 2
        name = self._skip_until(_SPACE + ">").lower()
        self._skip_spaces()
        if self.at >= len(self.source) or self.source[self.at] != ">":
            raise ValueError(f"Unclosed end tag at byte offset {begin}")
        self.at += 1
        opened = self.open.pop()
        if name and name != opened.tag:
            raise ValueError(
                f'Unmatched end tag at byte offset {begin}, expected "</{opened.tag}>", '
                f'found "</{name}>"'
            )
        if self.units > opened.offset:
            self._emit(opened)

    def _emit(self, opened: _OpenTag) -> None:
        tag, attributes = opened.tag, opened.attributes
        entity: dict[str, Any] = {"offset": opened.offset, "length": self.units - opened.offset}
        if tag in _STYLES:
            self.entities.append({"type": _STYLES[tag], **entity})
        elif tag == "blockquote":
            kind = "expandable_blockquote" if "expandable" in attributes else "blockquote"
            self.entities.append({"type": kind, **entity})
        elif tag == "a":
            url = attributes.get("href") or "".join(self.out[opened.start :])
            if "." in url or url.startswith("tg:"):
                self.entities.append({"type": "text_link", **entity, "url": url})
        elif tag == "tg-emoji":
            number = attributes.get("emoji-id", "")
            if not number.isdigit() or int(number) == 0:
                raise ValueError("Invalid custom emoji identifier specified")
            self.entities.append({"type": "custom_emoji", **entity, "custom_emoji_id": number})
        elif tag == "tg-time":
            when = int(attributes.get("unix", "0") or 0)
            if when > 0:
                self.entities.append({"type": "date_time", **entity, "unix_time": when})
        else:
            self._emit_code(tag, attributes.get("class", ""), entity)

    def _emit_code(self, tag: str, css_class: str, entity: dict[str, Any]) -> None:
        """`<pre><code class="language-x">` becomes one block with a language."""
        language = css_class.removeprefix("language-") if css_class.startswith("language-") else ""
        last = self.entities[-1] if self.entities else {}
        same = (last.get("offset"), last.get("length")) == (entity["offset"], entity["length"])
        if tag == "pre" and same and last.get("type") == "code" and "language" in last:
            last["type"] = "pre"
        elif tag == "code" and same and last.get("type") == "pre" and language:
            last["language"] = language
        else:
            self.entities.append({"type": tag, **entity})
            if tag == "code" and language:
                self.entities[-1]["language"] = language
