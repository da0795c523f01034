"""People's cards, as WhatsApp passes contacts on."""

import re

from roost_channels.vcard import fields_of
from roost_channels.whatsapp.described import plain

CARD_BYTES_MAX = 64 * 1024
CARDS_MAX = 10
WORDS_MAX = 600
_TYPE = re.compile(r"\btype=([A-Za-z]+)", re.IGNORECASE)
# What is told of a card after the name, in this order.
_TOLD = ("TEL", "EMAIL", "ORG", "TITLE", "ADR", "URL", "BDAY", "NOTE")


def contacts_of(data: bytes) -> list[str]:
    """`Ben Ng, +1 555 123 (CELL), ben@x.example` for each person in a file of vCards."""
    text = data[:CARD_BYTES_MAX].decode("utf-8", "replace")
    cards = re.split(r"BEGIN:VCARD", text, flags=re.IGNORECASE)[1:]
    shown = [contact for card in cards[:CARDS_MAX] if (contact := _contact(card))]
    return [*shown, f"and {len(cards) - CARDS_MAX} more"] if len(cards) > CARDS_MAX else shown


def _contact(card: str) -> str:
    fields: dict[str, list[str]] = {}
    for name, head, words in fields_of(card, between=" "):
        kind = _TYPE.search(head) if name in ("TEL", "EMAIL") else None
        fields.setdefault(name, []).append(f"{words} ({kind[1]})" if kind else words)
    names = fields.get("FN") or fields.get("N") or []
    told = [*names[:1], *(words for name in _TOLD for words in fields.get(name, []))]
    return plain(", ".join(told), WORDS_MAX)
