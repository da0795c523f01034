"""Numbered pages of a list: which rows they show, and links to the others."""

from dataclasses import dataclass
from urllib.parse import urlencode

PAGE_SIZE = 25
PAGE_NUMBER_MAX = 10_000  # a larger offset would read many rows for nothing


@dataclass(frozen=True, slots=True)
class Pages:
    """Where we are in a list. `path` and `query` make the links to its other pages."""

    number: int
    count: int
    path: str
    query: tuple[tuple[str, str], ...] = ()
    size: int = PAGE_SIZE

    @property
    def is_narrowed(self) -> bool:
        """Whether a search or a filter leaves rows out."""
        return any(value for _, value in self.query)

    @property
    def first(self) -> int:
        """The number of the first row on this page."""
        return min(self.count, (self.number - 1) * self.size + 1)

    @property
    def last(self) -> int:
        """The number of the last row on this page."""
        return min(self.count, self.number * self.size)

    def link(self, number: int) -> str:
        """The address of another page with the same filter."""
        pairs = [(k, v) for k, v in self.query if v] + [("page", str(number))]
        return f"{self.path}?{urlencode(pairs)}"


def page_number(text: str) -> int:
    """The page number in a query string; 1 for text that is not a number."""
    return min(max(1, int(text)), PAGE_NUMBER_MAX) if text.isdecimal() else 1


def like(text: str) -> str:
    """A LIKE pattern that finds the text literally (escape character `\\`)."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
