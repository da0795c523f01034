"""What a vCard tells beyond the name and number beside it. https://www.rfc-editor.org/rfc/rfc6350"""

import re

LINES_MAX = 100
# Structure, history, pictures and keys; FN and N repeat the name.
_UNTOLD = frozenset(
    ["BEGIN", "END", "VERSION", "PRODID", "REV", "UID", "FN", "N", "PHOTO", "LOGO", "SOUND", "KEY"]
)
_LABELS = {"TEL": "phone", "EMAIL": "email", "ORG": "company", "ADR": "address", "URL": "website"}
_FOLD = re.compile(r"\r?\n[ \t]")
_ESCAPED = re.compile(r"\\([\\,;nN])")


def vcard_words(card: str) -> list[str]:
    """The fields of a vCard as people read them, such as `phone: +15550001`."""
    words = []
    for line in _FOLD.sub("", card).splitlines()[:LINES_MAX]:
        field, separator, value = line.partition(":")
        name = field.partition(";")[0].rpartition(".")[2].upper()
        if not separator or name in _UNTOLD or name.startswith("X-"):
            continue
        plain = _plain(value)
        if plain:
            words.append(f"{_LABELS.get(name, name.lower())}: {plain}")
    return words


def _plain(value: str) -> str:
    """A value without its escapes; the parts of an address stand behind one another."""
    parts = [part.strip() for part in re.split(r"(?<!\\);", value)]
    joined = ", ".join(part for part in parts if part)
    return _ESCAPED.sub(lambda hit: " " if hit[1] in "nN" else hit[1], joined).strip()
