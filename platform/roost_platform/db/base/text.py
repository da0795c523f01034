"""Text that every database accepts, and words of others between our quotation marks."""

import re
from collections.abc import Mapping
from typing import Any

# Those of ours and what looks like them: wide, heavy, reversed and pointed ones, double primes.
_QUOTATION_MARKS = re.compile(
    "[\u201c-\u201f\xab\xbb\u2033\u2036\u275d\u275e\u2760\u276e\u276f\u2e42\u301d-\u301f\uff02"
    "\U0001f676-\U0001f678]"
)
# Controls, marks of direction, fillers and tags: who decides about a text would not see them, or
# would see it in another order. Joiners stay where they shape letters or emoji.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
    "|(?<=[\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?=[\x00-\x7f])"
)


def clean(value: Any) -> Any:
    """The value without what databases refuse in text: NUL and lone surrogates, at any depth."""
    if isinstance(value, str):
        if value.isascii() and "\x00" not in value:
            return value
        return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def visible(text: str) -> str:
    """The text as somebody who decides about it must see it: with the number, as in JSON, of each
    character that hides or reorders others.
    """
    return _UNSEEN.sub(lambda found: _number_of(ord(found[0])), text)


def _number_of(code: int) -> str:
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def quoted(text: str) -> str:
    """The text in one line between quotation marks that it can't close itself."""
    line = _QUOTATION_MARKS.sub('"', "\\n".join(text.splitlines()))
    return f"\u201c{line}\u201d"
