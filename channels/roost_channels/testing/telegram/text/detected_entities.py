"""Entities that the server detects in plain text: commands, mentions and links."""

import re
from typing import Any

from roost_channels.testing.telegram.text.utf16 import utf16_length

_PATTERNS = (
    ("bot_command", re.compile(r"(?<![\w/])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?\b")),
    ("mention", re.compile(r"(?<![\w@])@[A-Za-z0-9_]{3,32}\b")),
    ("url", re.compile(r"https?://[^\s<>\"]*[^\s<>\".,;:!?)]")),
)


def detect_entities(text: str) -> list[dict[str, Any]]:
    """The entities in a text, in order of their UTF-16 offsets."""
    entities: list[dict[str, Any]] = []
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            entities.append(
                {
                    "type": kind,
                    "offset": utf16_length(text[: match.start()]),
                    "length": utf16_length(match.group()),
                }
            )
    return sorted(entities, key=lambda e: (e["offset"], -e["length"]))
