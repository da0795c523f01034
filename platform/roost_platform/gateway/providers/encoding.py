"""Writes the body of a request to a provider, a large one without holding the event loop."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from roost_platform.gateway.encoding import encode

LARGE_BYTES: Final = 128 * 1024
LISTS: Final = frozenset({"messages", "tools", "input"})  # written entry by entry


async def encoded(body: Mapping[str, Any], text_bytes: int) -> bytes:
    """The body as JSON. text_bytes: of the texts in it, as far as they are counted."""
    if text_bytes > LARGE_BYTES:
        return await asyncio.to_thread(encode_in_parts, body)
    return encode(body)


def encode_in_parts(body: Mapping[str, Any]) -> bytes:
    """The body as JSON; between the entries of long lists other threads get their turn."""
    fields = []
    for name, value in body.items():
        if name in LISTS and isinstance(value, list):
            written = b"[" + b",".join([encode(entry) for entry in value]) + b"]"
        else:
            written = encode(value)
        fields.append(encode(name) + b":" + written)
    return b"{" + b",".join(fields) + b"}"
