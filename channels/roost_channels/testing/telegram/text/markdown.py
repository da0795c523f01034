"""parse_mode MarkdownV2 and the old Markdown: entities, and the server's errors."""

from dataclasses import dataclass
from typing import Any

from roost_channels.testing.telegram.text.utf16 import utf16_length

_RESERVED = "_*[]()~`>#+-=|{}.!\n"
_NAMES = {
    "bold": "Bold",
    "italic": "Italic",
    "underline": "Underline",
    "strikethrough": "Strikethrough",
    "spoiler": "Spoiler",
    "code": "Code",
    "pre": "Pre",
    "pre_code": "PreCode",
    "text_link": "TextUrl",
    "custom_emoji": "CustomEmoji",
    "blockquote": "BlockQuote",
}
_ENDS = {
    "bold": "*",
    "code": "`",
    "pre": "```",
    "pre_code": "```",
    "text_link": "]",
    "custom_emoji": "]",
    "underline": "__",
    "strikethrough": "~",
    "spoiler": "||",
}


@dataclass(slots=True)
class _OpenEntity:
    kind: str
    language: str
    offset: int
    at: int
    start: int


def parse_markdown_v2(source: str) -> tuple[str, list[dict[str, Any]]]:
    """Plain text and entities; ValueError with the server's text."""
    return _Parser(source).run()


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.out: list[str] = []
        self.units = 0
        self.open: list[_OpenEntity] = []
        self.entities: list[dict[str, Any]] = []
        self.in_quote = False
        self.line_start = True

    def run(self) -> tuple[str, list[dict[str, Any]]]:
        while self.at < len(self.source):
            self._step()
        if self.in_quote and self.open:
            kind = "blockquote"
            if self.open[-1].kind == "spoiler" and self.open[-1].at == len(self.source) - 2:
                self.open.pop()
                kind = "expandable_blockquote"
            if self.open[-1].kind == "blockquote":
                self._close(kind)
        if self.open:
            raise ValueError(self._unfinished(self.open[-1]))
        self.entities.sort(key=lambda e: (e["offset"], -e["length"]))
        return "".join(self.out), self.entities

    def _byte(self, index: int) -> int:
        return len(self.source[:index].encode("utf-8", "surrogatepass"))

    def _unfinished(self, opened: _OpenEntity) -> str:
        name = _NAMES[opened.kind]
        return f"Can't find end of {name} entity at byte offset {self._byte(opened.at)}"

    def _put(self, text: str) -> None:
        self.out.append(text)
        self.units += utf16_length(text)
        if text != "\r":
            self.line_start = text == "\n"

    def _step(self) -> None:
        character = self.source[self.at]
        following = self.source[self.at + 1 : self.at + 2]
        if character == "\\" and following and 0 < ord(following) <= 126:
            self._put(following)
            self.at += 2
            return
        inside = self.open[-1].kind if self.open else ""
        reserved = "`" if inside in ("code", "pre", "pre_code") else _RESERVED
        if character not in reserved:
            self._put(character)
            self.at += 1
        elif self._ends(inside, character, following):
            self._end(inside, character)
        else:
            self._begin(character, following)

    def _ends(self, inside: str, character: str, following: str) -> bool:
        if not inside:
            return False
        if self.in_quote and character == "\n" and following != ">":
            return True
        if inside == "italic":
            return character == "_" and following != "_"
        mark = _ENDS.get(inside, "")
        return bool(mark) and self.source.startswith(mark, self.at)

    def _escape_needed(self, character: str) -> ValueError:
        return ValueError(
            f"Character '{character}' is reserved and must be escaped with the preceding '\\'"
        )

    def _begin(self, character: str, following: str) -> None:
        start, kind, language = self.at, "", ""
        if character == "_":
            kind = "underline" if following == "_" else "italic"
            self.at += len("__" if following == "_" else "_")
        elif character in "*~[":
            kind = {"*": "bold", "~": "strikethrough", "[": "text_link"}[character]
            self.at += 1
        elif character + following in ("||", "!["):
            kind = "spoiler" if character == "|" else "custom_emoji"
            self.at += 2
        elif character == "`":
            kind, language = self._begin_code()
        elif character == "\n":
            self._put("\n")
            self.at += 1
            return
        elif character == ">" and self.line_start:
            self.at += 1
            if self.in_quote:
                return
            self.in_quote, kind = True, "blockquote"
        else:
            raise self._escape_needed(character)
        self.open.append(_OpenEntity(kind, language, self.units, start, len(self.out)))

    def _begin_code(self) -> tuple[str, str]:
        if not self.source.startswith("```", self.at):
            self.at += 1
            return "code", ""
        self.at += 3
        end = self.at
        while end < len(self.source) and not self.source[end].isspace() and self.source[end] != "`":
            end += 1
        kind, language = "pre", ""
        if end > self.at and end < len(self.source) and self.source[end] != "`":
            kind, language = "pre_code", self.source[self.at : end]
            self.at = end
        for newline in ("\r\n", "\n\r", "\n", "\r"):
            if self.source.startswith(newline, self.at):
                self.at += len(newline)
                break
        return kind, language

    def _end(self, inside: str, character: str) -> None:
        if character == "\n" and inside != "blockquote":
            # `||` at the end of a quote's last line makes it expandable; others are unfinished.
            opened = self.open[-1]
            if inside != "spoiler" or opened.at != self.at - 2 or len(self.open) < 2:
                raise ValueError(self._unfinished(opened))
            self.open.pop()
            if self.open[-1].kind != "blockquote":
                raise ValueError(self._unfinished(self.open[-1]))
            self._put("\n")
            self.at += 1
            self._close("expandable_blockquote")
            return
        if character == "\n":
            self._put("\n")
            self.at += 1
            self._close("blockquote")
            return
        self.at += len(_ENDS.get(inside, "_"))
        if inside in ("text_link", "custom_emoji"):
            self._end_link(inside)
        else:
            self._close("pre" if inside == "pre_code" else inside)

    def _end_link(self, inside: str) -> None:
        opened = self.open[-1]
        if not self.source.startswith("(", self.at):
            if inside == "custom_emoji":
                raise ValueError("The entity must contain a tg://emoji or tg://time URL")
            url = "".join(self.out[opened.start :])
        else:
            begin = self.at + 1
            self.at = begin
            url = ""
            while self.at < len(self.source) and self.source[self.at] != ")":
                if self.source[self.at] == "\\" and self.at + 1 < len(self.source):
                    self.at += 1
                url += self.source[self.at]
                self.at += 1
            if self.at >= len(self.source):
                raise ValueError(f"Can't find end of a URL at byte offset {self._byte(begin)}")
            self.at += 1
        if inside == "custom_emoji":
            if not url.startswith("tg://emoji?id="):
                raise ValueError("Invalid tg://emoji or tg://time URL specified")
            self._close(inside, custom_emoji_id=url.removeprefix("tg://emoji?id="))
        elif "." in url or url.startswith("tg:"):
            self._close(inside, url=url)
        else:
            self.open.pop()

    def _close(self, kind: str, **extra: str) -> None:
        opened = self.open.pop()
        if opened.kind == "blockquote":
            self.in_quote = False
        length = self.units - opened.offset
        if length <= 0:
            return
        entity: dict[str, Any] = {"type": kind, "offset": opened.offset, "length": length, **extra}
        if opened.language:
            entity["language"] = opened.language
        self.entities.append(entity)


def parse_markdown_v1(source: str) -> tuple[str, list[dict[str, Any]]]:
    """Plain text and entities in the old mode, which has no nesting; ValueError as above."""
    out: list[str] = []
    entities: list[dict[str, Any]] = []
    at = 0
    while at < len(source):
        character = source[at]
        if character == "\\" and source[at + 1 : at + 2] in ("_", "*", "`", "["):
            out.append(source[at + 1])
            at += 2
            continue
        if character not in "_*`[":
            out.append(character)
            at += 1
            continue
        mark = "```" if source.startswith("```", at) else ("]" if character == "[" else character)
        begin = at + (3 if mark == "```" else 1)
        end = source.find(mark, begin)
        if end < 0:
            byte = len(source[:at].encode("utf-8", "surrogatepass"))
            raise ValueError(f"Can't find end of the entity starting at byte offset {byte}")
        kind = {"_": "italic", "*": "bold", "`": "code", "```": "pre", "]": "text_link"}[mark]
        inner = source[begin:end]
        entity: dict[str, Any] = {
            "type": kind,
            "offset": utf16_length("".join(out)),
            "length": utf16_length(inner),
        }
        at = end + len(mark)
        if kind == "text_link":
            close = source.find(")", at) if source.startswith("(", at) else -1
            entity["url"] = source[at + 1 : close] if close > 0 else inner
            at = close + 1 if close > 0 else at
        out.append(inner)
        if entity["length"] > 0:
            entities.append(entity)
    return "".join(out), entities
