"""Markdown parsed into one document tree that every channel's renderer walks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

from roost_channels.rendering.budget import Budget, bounded, environment
from roost_channels.rendering.dialect import Markdown, faithful

Style = Literal["bold", "italic", "strikethrough", "code"]

# markdown-it drops what lies deeper than its limit; ours refuses instead, so that no text is lost.
NESTING_MAX = 40

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


class MarkupError(ValueError):
    """The text has a shape we do not take apart; it is shown as it stands."""


@dataclass(frozen=True, slots=True)
class Text:
    """A run of plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Styled:
    """Inline content in one style."""

    style: Style
    children: tuple["Inline", ...]


@dataclass(frozen=True, slots=True)
class Link:
    """A link or an image; `children` is what it says (an image's alternative text)."""

    url: str
    children: tuple["Inline", ...]


Inline = Text | Styled | Link


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph."""

    children: tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 1 is the highest."""

    level: int
    children: tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A block of code, with its language if it names one."""

    text: str
    language: str


@dataclass(frozen=True, slots=True)
class QuoteBlock:
    """Blocks that are quoted."""

    blocks: tuple["Block", ...]


@dataclass(frozen=True, slots=True)
class ListBlock:
    """A list; `start` is the first number, None for bullets. Each item is a sequence of blocks."""

    start: int | None
    items: tuple[tuple["Block", ...], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the first row is the header."""

    rows: tuple[tuple[tuple[Inline, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A thematic break."""


Block = Paragraph | Heading | CodeBlock | QuoteBlock | ListBlock | Table | Rule


# Raw HTML and link definitions stay text: what the author wrote must be seen, used or not.
class _Parser(Markdown):
    """Keeps the addresses of links as their author wrote them, since people see them."""

    def normalizeLink(self, url: str) -> str:
        return url


_parser = bounded(_Parser("commonmark", {"html": False, "maxNesting": NESTING_MAX + 10}))
faithful(_parser.enable(["table", "strikethrough"]))

_STYLES: dict[str, Style] = {"strong": "bold", "em": "italic", "s": "strikethrough"}


def parse(markdown: str, budget: Budget | None = None) -> tuple[Block, ...]:
    """The document tree of a Markdown text.

    Raises MarkupError for texts nested too deeply, OverBudget for those that take too long.
    """
    budget = budget or Budget()
    tokens = _parser.parse(markdown, environment(budget))
    if any(token.level > NESTING_MAX for token in tokens):
        raise MarkupError("nested too deeply")
    if any(depth(token.children or ()) > NESTING_MAX for token in tokens):
        raise MarkupError("styles nested too deeply")
    budget.check()
    return _blocks(SyntaxTreeNode(tokens))


def depth(tokens: Sequence[Token]) -> int:
    """How deep the deepest of a line's tokens stands; building a tree of them recurses as deep."""
    return max(accumulate((token.nesting for token in tokens), initial=0))


def plain(children: tuple[Inline, ...]) -> str:
    """The words of inlines without their looks; a link keeps its address."""
    words = []
    for child in children:
        if isinstance(child, Text):
            words.append(child.text)
        elif isinstance(child, Link):
            text = plain(child.children)
            words.append(text if text == child.url else f"{text} ({child.url})".lstrip())
        else:
            words.append(plain(child.children))
    return "".join(words)


def _blocks(parent: SyntaxTreeNode) -> tuple[Block, ...]:
    return tuple(_block(node) for node in parent.children)


def _block(node: SyntaxTreeNode) -> Block:
    match node.type:
        case "paragraph":
            return Paragraph(_inlines(node))
        case "heading":
            return Heading(int(node.tag[1:]), _inlines(node))
        case "fence" | "code_block":
            language = node.info.split()[0] if node.info.split() else ""
            return CodeBlock(node.content.rstrip("\n"), language)
        case "blockquote":
            return QuoteBlock(_blocks(node))
        case "bullet_list" | "ordered_list":
            start = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else None
            return ListBlock(start, tuple(_blocks(item) for item in node.children))
        case "table":
            rows = [row for group in node.children for row in group.children]
            return Table(tuple(tuple(_inlines(cell) for cell in row.children) for row in rows))
        case "hr":
            return Rule()
        case "html_block":
            return Paragraph((Text(node.content.rstrip("\n")),))
    raise MarkupError(f"unknown block {node.type}")


def _inlines(block: SyntaxTreeNode) -> tuple[Inline, ...]:
    """The inlines of a block, whose only child is markdown-it's `inline` token."""
    return tuple(inline for node in block.children for inline in _spans(node))


def _spans(parent: SyntaxTreeNode) -> tuple[Inline, ...]:
    return tuple(_inline(node) for node in parent.children)


def _inline(node: SyntaxTreeNode) -> Inline:
    match node.type:
        case "text" | "html_inline":
            return Text(node.content)
        case "softbreak" | "hardbreak":
            return Text("\n")
        case "code_inline":
            return Styled("code", (Text(node.content),))
        case "strong" | "em" | "s":
            return Styled(_STYLES[node.type], _spans(node))
        case "link" if node.markup == "autolink":
            return Text("".join(child.content for child in node.children))
        case "link":
            return Link(str(node.attrs.get("href", "")), _spans(node))
        case "image":
            return Link(str(node.attrs.get("src", "")), (Text(node.content),))
    raise MarkupError(f"unknown inline {node.type}")


def closed(text: str) -> str:
    """Markdown that was cut off, with its open code block closed: what follows is not code."""
    fence = ""
    for line in text.splitlines():
        match = _FENCE.match(line)
        if match is None:
            continue
        mark, rest = match.groups()
        if not fence:
            fence = "" if mark[0] == "`" and "`" in rest else mark
        elif mark.startswith(fence) and not rest.strip():
            fence = ""
    return f"{text}\n{fence}" if fence else text
