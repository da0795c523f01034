"""Pictures as engines take them: a data URL of a kind that all of them know, within a size."""

from base64 import b64encode
from typing import Final

PICTURE_BYTES_MAX: Final = 5 * 1024 * 1024
_KINDS: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def picture_type(data: bytes) -> str:
    """The MIME type by the picture's first bytes, since senders may say anything; "" if unknown."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _KINDS if data.startswith(start)), "")


def data_url(data: bytes) -> str:
    """The picture in a URL. `picture_type` must know it."""
    return f"data:{picture_type(data)};base64,{b64encode(data).decode('ascii')}"
