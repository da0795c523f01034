"""What stands in place of a text that was left out: a stub, or its beginning and end.

Both are made of the text alone, so that the same text has the same stub in every turn.
"""

import hashlib
import re
from typing import Final

ORIGINAL: Final = -1  # forms of a row: as it is, a stub, or so many characters of it
STUB: Final = 0
HEAD_SHARE: Final = 0.7  # of what is kept of a text
PREVIEW_CHARACTERS: Final = 60
REFERENCE: Final = re.compile(r"r-[0-9a-f]{16}")


def reference_of(key_id: str, text: str) -> str:
    """The name of a text among those of its key."""
    named = hashlib.blake2b(f"{key_id}\0{text}".encode(errors="replace"), digest_size=8)
    return f"r-{named.hexdigest()}"


def shown(text: str, reference: str, form: int) -> str:
    """The text in this form."""
    if form == ORIGINAL:
        return text
    return stub(text, reference) if form == STUB else cut(text, reference, form)


def stub(text: str, reference: str) -> str:
    """One line in place of the whole text."""
    beginning = " ".join(text[: 4 * PREVIEW_CHARACTERS].split())[:PREVIEW_CHARACTERS]
    lines = text.count("\n") + 1
    return (
        f"[Left out: reference {reference}, {lines} lines, {len(text)} characters, "
        f'beginning with "{beginning}"]'
    )


def cut(text: str, reference: str, characters: int) -> str:
    """The first and last lines, about `characters` in all, and a note between them."""
    head = _lines_within(text, int(characters * HEAD_SHARE))
    rest = text[head:]
    tail = _lines_within(rest[::-1], characters - int(characters * HEAD_SHARE))
    middle = rest[: len(rest) - tail]
    if not middle:
        return text
    note = f"[Left out: reference {reference}, {len(middle)} characters from character {head} on]"
    return f"{text[:head]}\n{note}\n{rest[len(rest) - tail :]}"


def _lines_within(text: str, characters: int) -> int:
    """How many characters of whole lines fit; of a line that alone is too long, what fits."""
    if len(text) <= characters:
        return len(text)
    end = text.rfind("\n", 0, characters) + 1
    return end or characters
