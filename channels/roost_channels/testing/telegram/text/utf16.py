"""Lengths and slices in UTF-16 code units, the unit of all Telegram offsets."""


def utf16_length(text: str) -> int:
    """The length in UTF-16 code units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def utf16_slice(text: str, start: int, length: int) -> str:
    """A passage by offset and length; a cut inside a character leaves a lone surrogate."""
    units = text.encode("utf-16-le", "surrogatepass")
    return units[2 * start : 2 * (start + length)].decode("utf-16-le", "surrogatepass")


def utf16_find(text: str, passage: str) -> int | None:
    """The offset of the first occurrence of a passage, None when there is none."""
    at = text.find(passage)
    return None if at < 0 else utf16_length(text[:at])
