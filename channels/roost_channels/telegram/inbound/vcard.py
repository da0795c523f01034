"""What a vCard tells beyond the name and number beside it."""

from roost_channels.vcard import fields_of

# Structure, history, pictures and keys; FN and N repeat the name.
_UNTOLD = frozenset(
    ["BEGIN", "END", "VERSION", "PRODID", "REV", "UID", "FN", "N", "PHOTO", "LOGO", "SOUND", "KEY"]
)
_LABELS = {"TEL": "phone", "EMAIL": "email", "ORG": "company", "ADR": "address", "URL": "website"}


def vcard_words(card: str) -> list[str]:
    """The fields of a vCard as people read them, such as `phone: +15550001`."""
    return [
        f"{_LABELS.get(name, name.lower())}: {words}"
        for name, _, words in fields_of(card, between=", ")
        if name not in _UNTOLD and not name.startswith("X-")
    ]
