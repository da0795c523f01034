"""People's cards, as WhatsApp passes contacts on: https://www.rfc-editor.org/rfc/rfc6350"""

import re

from roost_channels.whatsapp.described import plain

CARD_BYTES_MAX = 64 * 1024
CARDS_MAX = 10
WORDS_MAX = 600
_LINES_MAX = 200
_FOLD = re.compile(r"\r?\n[ \t]")
_ESCAPED = re.compile(r"\\([\\,;:nN])")
_TYPE = re.compile(r"\btype=([A-Za-z]+)", re.IGNORECASE)
# What is told of a card after the name, in this order.
_TOLD = ("TEL", "EMAIL", "ORG", "TITLE", "ADR", "URL", "BDAY", "NOTE")


def contacts_of(data: bytes) -> list[str]:
    """`Ben Ng, +1 555 123 (CELL), ben@x.example` for each person in a file of vCards."""
    text = _FOLD.sub("", data[:CARD_BYTES_MAX].decode("utf-8", "replace"))
    cards = re.split(r"BEGIN:VCARD", text, flags=re.IGNORECASE)[1:]
    shown = [contact for card in cards[:CARDS_MAX] if (contact := _contact(card))]
    return [*shown, f"and {len(cards) - CARDS_MAX} more"] if len(cards) > CARDS_MAX else shown


def _contact(card: str) -> str:
    fields: dict[str, list[str]] = {}
    for line in card.splitlines()[:_LINES_MAX]:
        head, separator, value = line.partition(":")
        name = head.partition(";")[0].rpartition(".")[2].strip().upper()
        words = _words(value)
        if separator and words:
            kind = _TYPE.search(head) if name in ("TEL", "EMAIL") else None
            fields.setdefault(name, []).append(f"{words} ({kind[1]})" if kind else words)
    names = fields.get("FN") or fields.get("N") or []
    told = [*names[:1], *(words for name in _TOLD for words in fields.get(name, []))]
    return plain(", ".join(told), WORDS_MAX)


def _words(value: str) -> str:
    """A value without its escapes; the parts of a name or an address stand behind one another."""
    parts = (part.strip() for part in re.split(r"(?<!\\);", value))
    joined = " ".join(part for part in parts if part)
    return _ESCAPED.sub(lambda hit: " " if hit[1] in "nN" else hit[1], joined).strip()
