"""Markdown as people mean it: what departs from CommonMark so that texts survive.

Marks inside of addresses and identifiers are characters: `/_v1_/`, `__init__`, `a*b*c`. A backslash
is an escape only before a mark that would act; elsewhere it is a character, as in `\\d+`. Character
references (`&amp;`) stay as they are written. An address in angle brackets is shown once and
unchanged. Formulas in TeX are words. Beside East Asian letters a style may open and close at
punctuation. `<br>` in a cell of a table is a line break, and a row keeps what it has beyond the
table's columns.
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from roost_channels.rendering.escapes import escape
from roost_channels.rendering.formulas import display, formula
from roost_channels.rendering.styles import strike, style
from roost_channels.rendering.tables import table
from roost_channels.rendering.words import is_ascii_word

_AUTOLINK = re.compile(
    r"<((?:[a-z][a-z0-9+.-]{1,31}://|mailto:|tel:)[^<>\s]+|([^<>\s@:]+@[^<>\s@]+\.[^<>\s@.]+))>",
    re.IGNORECASE,
)
_ADDRESS = re.compile("[:/.#?@]")
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


class Markdown(MarkdownIt):
    """A parser to which a word is no address: `list[i](j)` makes no link."""

    def validateLink(self, url: str) -> bool:
        """Whether a link may lead there."""
        is_address = not url or _ADDRESS.search(url) is not None
        return is_address and super().validateLink(url)


def faithful(parser: MarkdownIt) -> MarkdownIt:
    """The parser with these rules in the place of the library's own."""
    rules = parser.inline.ruler
    rules.at("emphasis", style)
    rules.at("strikethrough", strike)
    rules.at("escape", escape)
    rules.at("autolink", _autolink)
    rules.before("escape", "formula", formula)
    parser.block.ruler.at("table", table, {"alt": ["paragraph", "reference"]})
    chains = ["paragraph", "reference", "blockquote", "list"]
    parser.block.ruler.before("table", "display", display, {"alt": chains})
    parser.disable(["entity", "reference"])
    parser.core.ruler.push("cell_breaks", _break_cells)
    return parser


def _autolink(state: StateInline, silent: bool) -> bool:
    place, text = state.pos, state.src
    if text[place] != "<" or (place and is_ascii_word(text[place - 1])):
        return False  # vector<std::string> is no address
    found = _AUTOLINK.match(text, place, state.posMax)
    if found is None:
        return False
    url = found[1]
    href = state.md.normalizeLink(f"mailto:{url}" if found[2] else url)
    if not state.md.validateLink(href):
        return False
    if not silent:
        opening = state.push("link_open", "a", 1)
        opening.attrs, opening.markup, opening.info = {"href": href}, "autolink", "auto"
        state.push("text", "", 0).content = url
        closing = state.push("link_close", "a", -1)
        closing.markup, closing.info = "autolink", "auto"
    state.pos = found.end()
    return True


def _break_cells(state: StateCore) -> None:
    """Turn `<br>` in the cells of tables into line breaks."""
    previous = ""
    for token in state.tokens:
        is_cell = token.type == "inline" and previous in ("td_open", "th_open")
        if is_cell and token.children and "<" in token.content:
            token.children = [part for child in token.children for part in _broken(child)]
        previous = token.type


def _broken(child: Token) -> list[Token]:
    if child.type != "text" or _BREAK.search(child.content) is None:
        return [child]
    parts: list[Token] = []
    lines = _BREAK.split(child.content)
    for number, line in enumerate(lines):
        if number:
            parts.append(Token("hardbreak", "br", 0, level=child.level))
            line = line.lstrip()
        if number < len(lines) - 1:
            line = line.rstrip()
        if line:
            parts.append(Token("text", "", 0, content=line, level=child.level))
    return parts
