"""Anthropic's blocks of text, pictures and documents as parts of a chat message."""

from collections.abc import Mapping
from typing import Any

from roost_platform.gateway.families.messages.fields import (
    invalid,
    object_of,
    objects_of,
    text_of,
)

BLOCKS_MAX = 1024  # of one document


def parts_of(block: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """The parts of a block, none for a block that means nothing to another engine."""
    match block["type"]:
        case "text":
            if block.get("text") is None:
                raise invalid(f"{path}.text", "Field required")
            text = text_of(block["text"], f"{path}.text")
            return [_text(text)] if text else []
        case "image":
            return [_image(object_of(block.get("source"), f"{path}.source"), f"{path}.source")]
        case "document":
            return _document(block, path)
        case "search_result":
            return _search_result(block, path)
        case _:
            other = block.get("text")
            return [_text(other)] if isinstance(other, str) and other else []


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _image(source: Mapping[str, Any], path: str) -> dict[str, Any]:
    kind = source.get("type")
    if kind == "base64":
        media = text_of(source.get("media_type"), f"{path}.media_type")
        data = text_of(source.get("data"), f"{path}.data")
        if not media or not data:
            raise invalid(path, "media_type and data are required")
        return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}}
    if kind == "url":
        url = text_of(source.get("url"), f"{path}.url")
        if not url:
            raise invalid(f"{path}.url", "Field required")
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "file":
        return _text("[A picture that is kept at Anthropic, which this model can't see.]")
    raise invalid(f"{path}.type", "Input should be one of base64, url, file")


def _document(block: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """A document, below its title and what is said of it."""
    source = object_of(block.get("source"), f"{path}.source")
    head = [
        text
        for name in ("title", "context")
        if (text := text_of(block.get(name), f"{path}.{name}"))
    ]
    parts = [_text("\n".join(head))] if head else []
    match source.get("type"):
        case "text":
            parts.append(_text(text_of(source.get("data"), f"{path}.source.data")))
        case "content" if isinstance(source.get("content"), str):
            parts.append(_text(source["content"]))
        case "content":
            where = f"{path}.source.content"
            for index, inner in enumerate(objects_of(source.get("content"), where, BLOCKS_MAX)):
                if inner.get("type") in ("text", "image"):
                    parts += parts_of(inner, f"{where}.{index}")
        case "base64":
            media = text_of(source.get("media_type"), f"{path}.source.media_type")
            data = text_of(source.get("data"), f"{path}.source.data")
            name = text_of(block.get("title"), f"{path}.title") or "document.pdf"
            address = f"data:{media or 'application/pdf'};base64,{data}"
            parts.append({"type": "file", "file": {"filename": name, "file_data": address}})
        case "url":
            url = text_of(source.get("url"), f"{path}.source.url")
            parts.append(_text(f"[A document at {url}, which this model can't read.]"))
        case "file":
            parts.append(_text("[A document that is kept at Anthropic; this model can't read it.]"))
        case _:
            raise invalid(
                f"{path}.source.type", "Input should be one of text, content, base64, url, file"
            )
    return parts


def _search_result(block: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    texts = [
        text_of(block.get("title"), f"{path}.title"),
        text_of(block.get("source"), f"{path}.source"),
        *(
            text_of(inner.get("text"), f"{path}.content.{index}.text")
            for index, inner in enumerate(
                objects_of(block.get("content"), f"{path}.content", BLOCKS_MAX)
            )
        ),
    ]
    return [_text("\n".join(text for text in texts if text))]
