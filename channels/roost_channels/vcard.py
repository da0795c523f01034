"""The fields of a vCard: https://www.rfc-editor.org/rfc/rfc6350"""

import re
from collections.abc import Iterator

LINES_MAX = 200
_FOLD = re.compile(r"\r?\n[ \t]")
_ESCAPED = re.compile(r"\\([\\,;:nN])")


def fields_of(card: str, *, between: str) -> Iterator[tuple[str, str, str]]:
    """Each field with a value as (NAME, what stands before the colon, value).

    The value is without its escapes; the parts of a name or an address are joined by `between`.
    """
    for line in _FOLD.sub("", card).splitlines()[:LINES_MAX]:
        head, separator, value = line.partition(":")
        name = head.partition(";")[0].rpartition(".")[2].strip().upper()
        words = _words(value, between)
        if separator and words:
            yield name, head, words


def _words(value: str, between: str) -> str:
    parts = (part.strip() for part in re.split(r"(?<!\\);", value))
    joined = between.join(part for part in parts if part)
    return _ESCAPED.sub(lambda hit: " " if hit[1] in "nN" else hit[1], joined).strip()
