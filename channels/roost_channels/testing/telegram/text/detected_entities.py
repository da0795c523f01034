"""Entities that the server finds in plain text by itself: commands, mentions, links."""

import re
from typing import Any

from roost_channels.testing.telegram.text.utf16 import utf16_length

_PATTERNS = (
    ("bot_command", re.compile(r"(?<![\w/])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?\b")),
    ("mention", re.compile(r"(?<![\w@])@[A-Za-z0-9_]{3,32}\b")),
    ("url", re.compile(r"https?://[^\s<>\"]*[^\s<>\".,;:!?)]")),
)


def find_entities(text: str) -> list[dict[str, Any]]:
    """Entities in order of their UTF-16 offsets."""
    found: list[dict[str, Any]] = []
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            found.append(
                {
                    "type": kind,
                    "offset": utf16_length(text[: match.start()]),
                    "length": utf16_length(match.group()),
                }
            )
    return sorted(found, key=lambda e: (e["offset"], -e["length"]))
