"""Captions instead of pictures and files, for models that read text alone."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

KINDS: Final = {
    "image_url": "picture",
    "input_image": "picture",
    "input_audio": "sound",
    "file": "file",
    "input_file": "file",
}


def has_pictures(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a message has a part that is not text."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                if isinstance(part, dict) and part.get("type") in KINDS:
                    return True
    return False


def with_captions(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages, with a line of text in the place of each part that is not text."""
    return [_captioned(message) for message in messages]


def _captioned(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_caption(part) for part in content]}


def _caption(part: Any) -> Any:
    kind = KINDS.get(str(part.get("type"))) if isinstance(part, dict) else None
    if kind is None:
        return part
    return {"type": "text", "text": f"[A {kind}{_named(part)}, which this model can't read.]"}


def _named(part: Mapping[str, Any]) -> str:
    """What is known of it: the name of a file, the address or the kind of a picture."""
    picture = part.get("image_url")
    url = picture.get("url") if isinstance(picture, dict) else picture
    if isinstance(url, str):
        if url.startswith("data:"):
            return f" of the kind {url[5:].split(';')[0][:64]}"
        return f" at {url[:500]}"
    file = part.get("file")
    name = file.get("filename") if isinstance(file, dict) else part.get("filename")
    return f" named {str(name)[:200]}" if name else ""
