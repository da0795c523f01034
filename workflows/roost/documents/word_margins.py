"""Headers and footers of a Word file, which the converter passes over."""

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from roost.documents.word_parts import WORD

_PART: Final = re.compile(r"word/(header|footer)\d{0,3}\.xml")
_BLANK: Final = frozenset({f"{WORD}tab", f"{WORD}br", f"{WORD}cr"})
_PARTS_MAX: Final = 20


def margin_lines(data: bytes) -> list[str]:
    """`[header: …]` and `[footer: …]`, each text once; a page's number alone is none."""
    lines: dict[str, None] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = [one for one in map(_PART.fullmatch, sorted(archive.namelist())) if one]
        # Headers stand before footers.
        for part in sorted(found[:_PARTS_MAX], key=lambda one: one[1], reverse=True):
            words = "; ".join(_paragraphs(archive.read(part[0])))
            if words and not words.isdecimal():
                lines[f"[{part[1]}: {words}]"] = None
    return list(lines)


def _paragraphs(part: bytes) -> Iterator[str]:
    try:
        root = ElementTree.fromstring(part)
    except ElementTree.ParseError:
        return  # the document itself can be read
    for paragraph in root.iter(f"{WORD}p"):
        words = "".join(_words(paragraph))
        if words.strip():
            yield " ".join(words.split())


def _words(paragraph: Element) -> Iterator[str]:
    for node in paragraph.iter():
        if node.tag == f"{WORD}t":
            yield node.text or ""
        elif node.tag in _BLANK:
            yield " "
