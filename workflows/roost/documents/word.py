"""The text of a Word file, with its line breaks, lists, tables, notes and addresses of links."""

import io
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any, Final

from roost.documents.word_margins import margin_lines
from roost.documents.word_parts import with_plain_parts

_BLOCKS: Final = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "dt", "dd"})
# Figures above and below the line, without which 10⁶ would be 106.
_RAISED: Final = str.maketrans("0123456789+-=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿ")
_LOWERED: Final = str.maketrans("0123456789+-=()", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎")
_PLACED: Final = {"sup": _RAISED, "sub": _LOWERED}
_STRUCK: Final = "~~"
_COMMENTS: Final = "comment-reference => sup"  # kept, where the usual rules drop them


def word_text(data: bytes) -> str:
    """The text of a .docx file. Raises anything on a broken one."""
    import mammoth

    html = mammoth.convert_to_html(
        io.BytesIO(with_plain_parts(data)),
        style_map=_COMMENTS,
        convert_image=mammoth.images.img_element(_no_picture),
    ).value
    reader = _Reader()
    reader.feed(html)
    reader.close()
    text = "".join(reader.text).strip()
    return "\n\n".join(filter(None, (text, "\n".join(margin_lines(data)))))


def _no_picture(image: Any) -> Mapping[str, str]:
    """Pictures would come as text of their bytes."""
    return {}


class _Reader(HTMLParser):
    """Reads the few elements that the converter writes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self._lists: list[int] = []  # the number of the last item, -1 where items have none
        self._links: list[str] = []
        self._cells = 0  # of the row that is read
        self._tables = 0
        self._is_start = True  # of a block: the next break is not wanted
        self._place = ""  # sup or sub

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.text.append("\n")
        elif tag in ("ul", "ol"):
            self._block()
            self._lists.append(0 if tag == "ol" else -1)
        elif tag == "li":
            self._item()
        elif tag == "table":
            self._block()
            self._tables += 1
        elif tag == "tr":
            self._line()
            self._cells = 0
        elif tag in ("td", "th"):
            self.text.append(" | " if self._cells else "")
            self._cells += 1
            self._is_start = True
        elif tag in _BLOCKS:
            self._block()
        elif tag == "s":
            self.text.append(_STRUCK)
        elif tag in _PLACED:
            self._place = tag
        elif tag == "input":  # a box of a form
            self.text.append("[x]" if "checked" in dict(attrs) else "[ ]")
            self._is_start = False
        elif tag == "a":
            self._links.append(dict(attrs).get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("ul", "ol") and self._lists:
            self._lists.pop()
        elif tag == "table":
            self._tables = max(self._tables - 1, 0)
            self._is_start = False  # an empty cell ends it as well
        elif tag == "s":
            self.text.append(_STRUCK)
        elif tag in _PLACED:
            self._place = ""
        elif tag == "a" and self._links:
            address = self._links.pop()
            if address and not address.startswith("#") and self.text[-1:] != [address]:
                self.text.append(f" ({address})")

    def handle_data(self, data: str) -> None:
        if self._links and self._links[-1].startswith("#") and "-ref-" in self._links[-1]:
            return  # the arrow back from a note
        if self._place and not self._links:
            placed = data.translate(_PLACED[self._place])
            is_all = not any(one in data for one in placed if not one.isspace())
            data = placed if is_all else data
        if data:
            self.text.append(data)
            self._is_start = False

    def _block(self) -> None:
        """Begin a paragraph; within a cell paragraphs stand in one line."""
        if not self._is_start:
            self.text.append(" " if self._tables else "\n\n")
            self._is_start = True

    def _line(self) -> None:
        if not self._is_start:
            self.text.append("\n")
            self._is_start = True

    def _item(self) -> None:
        self._line()
        number = self._lists[-1] + 1 if self._lists and self._lists[-1] >= 0 else 0
        if self._lists and number:
            self._lists[-1] = number
        indent = "  " * max(len(self._lists) - 1, 0)
        self.text.append(f"{indent}{number}. " if number else f"{indent}- ")
        self._is_start = True
