"""What a page says, for tests that compare it: the text of elements with an id, and its rows."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})


@dataclass(slots=True)
class Element:
    """An open element: what its text goes to, and where it leads."""

    tag: str
    id: str = ""
    parts: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table or a list: its text with single spaces, and its links."""

    text: str
    links: tuple[str, ...]


class PageText(HTMLParser):
    """Reads a page once. by_id: texts by id; rows: those of all tables and lists, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.by_id: dict[str, str] = {}
        self.rows: list[Row] = []
        self.title = ""
        self._open: list[Element] = []
        self.feed(html)
        self.text = self.by_id["main"]

    def row_of(self, href: str) -> Row:
        """The row that leads to this address; KeyError without one."""
        for row in self.rows:
            if href in row.links:
                return row
        raise KeyError(href)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        values = dict(attrs)
        for element in self._open:
            if tag == "a" and values.get("href"):
                element.links.append(str(values["href"]))
        if tag not in VOID:
            self._open.append(Element(tag, values.get("id") or ""))

    def handle_endtag(self, tag: str) -> None:
        """Close an element and keep its text."""
        while self._open:
            element = self._open.pop()
            text = " ".join("".join(element.parts).split())
            if element.id:
                self.by_id[element.id] = text
            if element.tag in ("tr", "li"):
                self.rows.append(Row(text, tuple(element.links)))
            if element.tag == tag:
                return

    def handle_data(self, data: str) -> None:
        """Add text to every open element."""
        for element in self._open:
            element.parts.append(f"{data} " if data.strip() else " ")
