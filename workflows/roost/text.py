"""What a tool returns as bounded text for the model."""

from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json

# A larger result would crowd out the conversation. People, too, look at the head and the tail.
RESULT_BYTES_MAX: Final = 16 * 1024


def result_text(value: Any) -> str:
    """A text as it is, None as `done`, anything else as JSON, also dataclasses and models.

    What JSON can't hold (half a character, a list in itself) is told as Python writes it: the call
    took effect all the same.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return "done"
    try:
        return to_json(value, fallback=str, indent=None).decode()
    except PydanticSerializationError:
        return repr(value)


def cap(text: str, limit: int = RESULT_BYTES_MAX) -> str:
    """Keep the head and the tail within `limit` bytes of UTF-8 and say how much is left out."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode("utf-8")  # without lone surrogates, which have no encoding
    marker = f"\n… [{len(raw) - limit} bytes left out] …\n"
    room = max(0, limit - len(marker.encode()))
    head = raw[: room * 3 // 4].decode("utf-8", "ignore")
    tail = raw[len(raw) - room // 4 :].decode("utf-8", "ignore")
    return f"{head}{marker}{tail}"
