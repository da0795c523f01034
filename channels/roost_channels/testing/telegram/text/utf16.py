"""Lengths and cuts in UTF-16 code units, the unit of every Telegram offset."""


def utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def utf16_slice(text: str, start: int, length: int) -> str:
    """The passage, with lone surrogates where a cut falls inside a character."""
    units = text.encode("utf-16-le", "surrogatepass")
    return units[2 * start : 2 * (start + length)].decode("utf-16-le", "surrogatepass")


def utf16_find(text: str, passage: str) -> int | None:
    """The first place of a passage in UTF-16 units, None when it is not there."""
    at = text.find(passage)
    return None if at < 0 else utf16_length(text[:at])
