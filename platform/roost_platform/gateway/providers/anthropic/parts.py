"""Parts of a chat message as blocks of Anthropic's API."""

import re
from collections.abc import Mapping
from typing import Any, Final

Block = dict[str, Any]

_DATA: Final = re.compile(
    r"data:(?P<media>[\w.+-]+/[\w.+-]+)(?:;[\w=.-]+)*;base64,(?P<data>.*)", re.S | re.I
)
# By the names that clients use, of which Anthropic knows the others alone.
PICTURES: Final = {
    "image/jpg": "image/jpeg",
    **{name: name for name in ("image/jpeg", "image/png", "image/gif", "image/webp")},
}


def blocks_of(content: Any) -> list[Block]:
    """The blocks of a content: text, or parts. Anthropic refuses empty text, so it has none."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    blocks = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            part = {"type": "text", "text": part}
        block = _block(part) if isinstance(part, dict) else None
        if block is None:
            continue
        if cache := part.get("cache_control"):
            block["cache_control"] = cache
        blocks.append(block)
    return blocks


def _block(part: Mapping[str, Any]) -> Block | None:
    match part.get("type"):
        case "image_url" | "input_image":
            picture = part.get("image_url")
            url = picture.get("url") if isinstance(picture, dict) else picture
            return _image(url) if isinstance(url, str) else None
        case "file" | "input_file":
            return _file(part)
        case "input_audio":
            return _text("[Sound, which this model can't hear.]")
        case "refusal":
            return _text(part.get("refusal"))
        case _:
            return _text(part.get("text"))


def _text(text: Any) -> Block | None:
    return {"type": "text", "text": text} if isinstance(text, str) and text.strip() else None


def _image(url: str) -> Block | None:
    found = _DATA.fullmatch(url)
    if found is None:
        if not url.lower().startswith(("http://", "https://")):
            return _text("[A picture at an address that can't be read.]")
        return {"type": "image", "source": {"type": "url", "url": url}}
    media = PICTURES.get(found["media"].lower())
    if media is None:
        return _text(f"[A picture of the kind {found['media']}, which this model can't see.]")
    source = {"type": "base64", "media_type": media, "data": found["data"]}
    return {"type": "image", "source": source}


def _file(part: Mapping[str, Any]) -> Block | None:
    inner = part.get("file")
    file: Mapping[str, Any] = inner if isinstance(inner, dict) else part
    name, address = file.get("filename"), file.get("file_data")
    found = _DATA.fullmatch(address) if isinstance(address, str) else None
    if found is None or found["media"].lower() != "application/pdf":
        return _text(f"[A file named {name or 'without a name'}, which this model can't read.]")
    source = {"type": "base64", "media_type": "application/pdf", "data": found["data"]}
    block: Block = {"type": "document", "source": source}
    if isinstance(name, str) and name:
        block["title"] = name
    return block
