"""Addresses in a text, and the characters beside a mark: what renderers must not break."""

import re
import unicodedata
from collections.abc import Iterator

# Characters that style words in Markdown and on WhatsApp.
DELIMITERS = "*_~"
# How far a mark looks over brackets and quotation marks for the border of its word.
BORDER_MAX = 8
_OPENING = frozenset("([{<")
_CLOSING = frozenset(")]}>\"'.,;:!?")
# An address ends at blanks, brackets of its own, quotes and punctuation of East Asian texts.
_RUN = re.compile(
    r"""[^\s<>"`\u3000-\u3020\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff65\u2018-\u201f\xab\xbb]+"""
)
_SCHEME = re.compile(r"[A-Za-z0-9+.-]*\Z")
_PATHS = ("/", "~/", "./", "../", "www.")
_TAIL = ".,;:!?'"
_BRACKETS = {")": "(", "]": "[", "}": "{"}


def addresses(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Ranges of a text that are an address or a path, in order: with a scheme, `www.`, or rooted.

    Marks and punctuation at the end count as part of it: see `address_end`.
    """
    for run in _RUN.finditer(text, start, len(text) if end is None else end):
        word = run.group()
        place = word.find("://")
        if place > 0:
            scheme = _SCHEME.search(word[max(0, place - 32) : place])
            begin = place - (len(scheme.group()) if scheme else 0)
            if begin < place:
                yield run.start() + begin, run.end()
                continue
        bare = word.lstrip("*_([{'")
        bare = bare if bare.startswith("~/") else bare.lstrip("*_~([{'")
        if bare.startswith(_PATHS):
            yield run.end() - len(bare), run.end()


def address_end(text: str, start: int, end: int) -> int:
    """Where the address [start, end) ends for a reader: before punctuation of the sentence."""
    while end > start:
        last = text[end - 1]
        opener = _BRACKETS.get(last)
        if opener is not None and text.count(opener, start, end) >= text.count(last, start, end):
            break
        if opener is None and last not in _TAIL:
            break
        end -= 1
    return end


def is_ascii_word(character: str) -> bool:
    """Whether it is a letter or digit of ASCII."""
    return character.isascii() and character.isalnum()


def is_wide(character: str) -> bool:
    """Whether it belongs to a script that is written without blanks between words."""
    return unicodedata.east_asian_width(character) in "WF" if character else False


def is_punctuation(character: str) -> bool:
    """Whether it is punctuation or a symbol."""
    return unicodedata.category(character)[0] in "PS" if character else False


def starts_word(text: str, place: int) -> bool:
    """Whether a word begins at `place`, with no more than brackets before."""
    for index in range(place - 1, max(-1, place - 1 - BORDER_MAX), -1):
        if text[index].isspace() or not text[index].isascii():
            return True
        if text[index] not in _OPENING:
            return False
    return place <= BORDER_MAX


def ends_word(text: str, place: int, end: int) -> bool:
    """Whether a word ends at `place`, with no more than punctuation of its sentence behind."""
    for index in range(place, min(end, place + BORDER_MAX)):
        if text[index].isspace() or not text[index].isascii():
            return True
        if text[index] not in _CLOSING:
            return False
    return end - place <= BORDER_MAX
