"""Markdown of models and people as harmless HTML: rendered, then cleaned by an allow-list."""

import logging
from functools import lru_cache

import nh3
from markdown_it.token import Token
from markupsafe import Markup, escape

from roost_channels.rendering.budget import Budget, OverBudget, bounded, environment
from roost_channels.rendering.dialect import Markdown, faithful
from roost_channels.rendering.layout import printable
from roost_channels.rendering.markup import NESTING_MAX, depth

logger = logging.getLogger(__name__)

TEXT_LENGTH_MAX = 64_000  # longer texts are shown plain: parsing time grows with the text
TEXT_S = 0.4  # processor time for one text; one that takes more is shown plain
CACHED_TEXTS_MAX = 512

TAGS = {
    *("p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "code": {"class"}}
SCHEMES = {"http", "https", "mailto", "tel"}


def _image_as_link(tokens: list[Token]) -> None:
    """Turn images into links, so that reading a transcript asks no other server."""
    for token in tokens:
        if token.type != "inline" or not token.children:
            continue
        children: list[Token] = []
        for child in token.children:
            if child.type != "image":
                children.append(child)
                continue
            start = Token("link_open", "a", 1, attrs={"href": child.attrs.get("src", "")})
            label = Token("text", "", 0, content=f"[image: {child.content or 'no description'}]")
            children += [start, label, Token("link_close", "a", -1)]
        token.children = children


def _lower_headings(tokens: list[Token]) -> None:
    """Let headings of messages start at h3, below the page's own h1 and h2."""
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"


# The library drops what lies deeper than its own limit, so ours is below it.
_options = {"html": False, "breaks": True, "maxNesting": NESTING_MAX + 10}
_parser = faithful(bounded(Markdown("commonmark", _options)))
_parser.enable(["table", "strikethrough"])


@lru_cache(CACHED_TEXTS_MAX)
def markdown(text: str) -> Markup:
    """Clean HTML of a Markdown text; a text beyond the bound is only escaped."""
    if len(text) > TEXT_LENGTH_MAX:
        return plain(text)
    try:
        return _formatted(printable(text), Budget(TEXT_S))
    except (OverBudget, RecursionError) as error:
        logger.info("a text is shown without formatting: %s", error)
        return plain(text)


def plain(text: str) -> Markup:
    """The text as it stands, escaped, with its lines."""
    return Markup('<p class="pre">{}</p>').format(escape(text))


def _formatted(text: str, budget: Budget) -> Markup:
    tokens = _parser.parse(text, environment(budget))
    deepest = max((max(token.level, depth(token.children or ())) for token in tokens), default=0)
    if deepest > NESTING_MAX:
        raise OverBudget("nested too deeply")
    budget.check()
    _image_as_link(tokens)
    _lower_headings(tokens)
    html = _parser.renderer.render(tokens, _parser.options, {})
    budget.check()
    return Markup(
        nh3.clean(
            html,
            tags=TAGS,
            attributes=ATTRIBUTES,
            url_schemes=SCHEMES,
            link_rel="noopener noreferrer nofollow",
        )
    )
