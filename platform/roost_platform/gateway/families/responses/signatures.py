"""Reasoning that a provider has signed: a client gets it as `encrypted_content`, and sends it back
with the conversation, for the provider. It is opaque, not secret.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

PREFIX: Final = "roost1."


def sealed(value: Mapping[str, Any]) -> str:
    """A value as one opaque text."""
    return PREFIX + base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def unsealed(text: str) -> dict[str, Any] | None:
    """The value in such a text; None for a text of another server."""
    if not text.startswith(PREFIX):
        return None
    try:
        encoded = text.removeprefix(PREFIX).encode()
        value = json.loads(base64.b64decode(encoded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def signed(text: str, signature: str) -> str:
    """A block of reasoning with its signature."""
    return sealed({"type": "reasoning.text", "text": text, "signature": signature})


def redacted(data: str) -> str:
    """A block that is ciphertext of the provider."""
    return sealed({"type": "reasoning.encrypted", "data": data})


def detail_of(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """A reasoning item as an entry of OpenRouter's `reasoning_details`, which providers of
    Anthropic's wire read; None where nothing was signed here.
    """
    content = item.get("encrypted_content")
    value = unsealed(content) if isinstance(content, str) else None
    texts = {"reasoning.text": ("text", "signature"), "reasoning.encrypted": ("data",)}
    names = texts.get(str(value.get("type"))) if value is not None else None
    if value is None or names is None:
        return None
    return value if all(isinstance(value.get(name), str) for name in names) else None
