"""What a vCard tells beyond the name and number beside it."""

from roost_channels.vcard import fields_of

# Structure, history, pictures and keys; FN and N repeat the name.
_UNTOLD = frozenset(
    ["BEGIN", "END", "VERSION", "PRODID", "REV", "UID", "FN", "N", "PHOTO", "LOGO", "SOUND", "KEY"]
)
_LABELS = {"TEL": "phone", "EMAIL": "email", "ORG": "company", "ADR": "address", "URL": "website"}


def vcard_words(card: str) -> tuple[str, list[str]]:
    """The name on a vCard, and its other fields as people read them: `phone: +15550001`."""
    fields = [(name, words) for name, _, words in fields_of(card, between=", ")]
    named = [words for wanted in ("FN", "N") for name, words in fields if name == wanted]
    told = [
        f"{_LABELS.get(name, name.lower())}: {words}"
        for name, words in fields
        if name not in _UNTOLD and not name.startswith("X-")
    ]
    return next(iter(named), ""), told
