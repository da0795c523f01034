"""The fields of a vCard: https://www.rfc-editor.org/rfc/rfc6350

Phones still write version 2.1, in which other letters than English ones are quoted-printable.
"""

import quopri
import re
from collections.abc import Iterator

LINES_MAX = 200
_QUOTED = "QUOTED-PRINTABLE"
_CHARSET = re.compile(r"charset=([\w.-]{1,40})", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([\\,;:nN])")


def fields_of(card: str, *, between: str) -> Iterator[tuple[str, str, str]]:
    """Each field with a value as (NAME, what stands before the colon, value).

    The value is without its escapes; the parts of a name or an address are joined by `between`.
    """
    for line in _whole_lines(card):
        head, separator, value = line.partition(":")
        if _QUOTED in head.upper():
            value = _unquoted(head, value)
        name = head.partition(";")[0].rpartition(".")[2].strip().upper()
        words = _words(value, between)
        if separator and words:
            yield name, head, words


def _whole_lines(card: str) -> list[str]:
    """The first LINES_MAX lines, each with the lines that continue it."""
    lines: list[list[str]] = []
    is_quoted = is_open = False
    for line in card.splitlines():
        if lines and is_open:
            lines[-1].append(line)
        elif lines and line[:1] in (" ", "\t"):
            lines[-1].append(line[1:])
        elif len(lines) == LINES_MAX:
            break
        else:
            lines.append([line])
            is_quoted = _QUOTED in line.partition(":")[0].upper()
        is_open = is_quoted and line.endswith("=")
        if is_open:
            lines[-1][-1] = lines[-1][-1][:-1]
    return ["".join(parts) for parts in lines]


def _unquoted(head: str, value: str) -> str:
    charset = _CHARSET.search(head)
    raw = quopri.decodestring(value.encode("utf-8", "surrogatepass"))
    try:
        text = raw.decode(charset[1] if charset else "utf-8", "replace")
    except LookupError:
        text = raw.decode("utf-8", "replace")
    return " ".join(text.split())


def _words(value: str, between: str) -> str:
    parts = (part.strip() for part in re.split(r"(?<!\\);", value))
    joined = between.join(part for part in parts if part)
    return _ESCAPED.sub(lambda hit: " " if hit[1] in "nN" else hit[1], joined).strip()
