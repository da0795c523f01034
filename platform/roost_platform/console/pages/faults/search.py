"""Search in what was said, over all sessions."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from roost_platform.console.console import Visit
from roost_platform.console.page import Page, ReadAs
from roost_platform.identity.roles import Role
from roost_platform.views.faults.search import (
    TEXT_CHARS_MAX,
    TEXT_CHARS_MIN,
    SearchResult,
    search,
)


@dataclass(frozen=True, slots=True)
class SearchContext:
    """The Search page."""

    text: Annotated[str, "What was searched for"]
    is_short: Annotated[bool, "Whether that is too little to search for"]
    result: Annotated[SearchResult, "Messages that have it, the newest first"]
    older: Annotated[str, "The link to older ones, empty at the end"]


async def load(visit: Visit) -> SearchContext:
    """What the query string asks for."""
    text = visit.query("q", length_max=TEXT_CHARS_MAX).strip()
    async with visit.deps.stores.database.read() as session:
        result = await search(session, text, visit.query("before", length_max=64))
    older = f"/search?{urlencode({'q': text, 'before': result.older})}" if result.older else ""
    return SearchContext(text, 0 < len("".join(text.split())) < TEXT_CHARS_MIN, result, older)


async def on_read(visit: Visit, data: SearchContext, read_as: ReadAs) -> None:
    """Record that somebody read texts, but not what for: that may be a text of a person."""
    if data.result.found:
        found = {"characters": len(data.text), "found": len(data.result.found)}
        await visit.audit("transcript.search", "", {**found, "as": read_as})


PAGE = Page(
    path="/search",
    template="faults/search.html",
    load=load,
    role=Role.operator,
    has_json=True,
    on_read=on_read,
)
