"""Text that every database accepts, and words of others between our quotation marks."""

import re
from collections.abc import Mapping
from typing import Any

# Those of ours and what looks like them: wide, heavy, reversed and pointed ones, double primes.
_QUOTATION_MARKS = re.compile(
    "[\u201c-\u201f\xab\xbb\u2033\u2036\u275d\u275e\u2760\u276e\u276f\u2e42\u301d-\u301f\uff02"
    "\U0001f676-\U0001f678]"
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


def quoted(text: str) -> str:
    """The text in one line between quotation marks that it can't close itself."""
    line = _QUOTATION_MARKS.sub('"', "\\n".join(text.splitlines()))
    return f"\u201c{line}\u201d"
