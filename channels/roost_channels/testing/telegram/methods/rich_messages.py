"""Rich messages: their limits, and the blocks that the server returns."""

import re
from collections.abc import Iterator
from typing import Any

from roost_channels.testing.telegram.errors import bad_request
from roost_channels.testing.telegram.methods.drafts import put_draft
from roost_channels.testing.telegram.methods.messages import MessageContent, deliver
from roost_channels.testing.telegram.parameters import Parameters
from roost_channels.testing.telegram.state.core import TelegramCore, method
from roost_channels.testing.telegram.text.formatted import Formatted

RICH_CODEPOINTS_MAX = 32_768
BLOCKS_MAX = 500
DEPTH_MAX = 16
MEDIA_MAX = 50
SOURCES = ("html", "markdown", "blocks")


def read_rich(parameters: Parameters, *, draft: bool = False) -> MessageContent | None:
    """The rich message of a call as plain text and blocks; None when it has none."""
    rich = parameters.json("rich_message", "Can't parse rich message JSON object")
    if rich is None:
        return None
    if not isinstance(rich, dict):
        raise bad_request("Object expected as rich message")
    sources = [name for name in SOURCES if rich.get(name)]
    # The published sources have only the code 400 of these errors, not their texts.
    if len(sources) != 1:
        raise bad_request("RICH_MESSAGE_INVALID")
    source = rich[sources[0]]
    blocks = source if sources == ["blocks"] else _paragraphs(str(source))
    if not draft and ("<tg-thinking" in str(source) or "thinking" in _types(blocks)):
        raise bad_request("RICH_MESSAGE_THINKING_INVALID")
    text = "\n\n".join(filter(None, (_plain(block) for block in blocks)))
    if len(text) > RICH_CODEPOINTS_MAX:
        raise bad_request("RICH_MESSAGE_TOO_LONG")
    if sum(1 for _ in _types(blocks)) > BLOCKS_MAX or _depth(blocks) > DEPTH_MAX:
        raise bad_request("RICH_MESSAGE_BLOCKS_TOO_MUCH")
    if len(rich.get("media") or []) > MEDIA_MAX:
        raise bad_request("RICH_MESSAGE_MEDIA_TOO_MUCH")
    if not text.strip():
        raise bad_request("RICH_MESSAGE_EMPTY")
    return MessageContent(Formatted(text), {"rich_message": {"blocks": blocks}})


def _paragraphs(source: str) -> list[dict[str, Any]]:
    """One block for each paragraph; the fake reads no other markup."""
    pieces = re.split(r"\n\s*\n|</(?:p|h\d|li|pre|blockquote)>", source)
    texts = [re.sub(r"<[^>]*>", "", piece).strip() for piece in pieces]
    return [{"type": "paragraph", "text": text} for text in texts if text]


def _types(blocks: Any) -> Iterator[str]:
    """The types of the blocks at any depth."""
    if isinstance(blocks, dict):
        if isinstance(blocks.get("type"), str):
            yield blocks["type"]
        for name in ("blocks", "items"):
            yield from _types(blocks.get(name))
    elif isinstance(blocks, list):
        for block in blocks:
            yield from _types(block)


def _depth(block: Any) -> int:
    if isinstance(block, dict):
        return 1 + max((_depth(block.get(name)) for name in ("blocks", "items")), default=0)
    return max((_depth(inner) for inner in block), default=0) if isinstance(block, list) else 0


def _plain(block: Any) -> str:
    """All text of a block, in order."""
    if isinstance(block, str):
        return block
    if isinstance(block, list):
        return "".join(_plain(inner) for inner in block)
    if not isinstance(block, dict):
        return ""
    names = ("text", "blocks", "items", "cells", "caption", "summary")
    return "".join(_plain(block.get(name)) for name in names)


@method("sendRichMessage")
async def send_rich_message(core: TelegramCore, parameters: Parameters) -> dict[str, Any]:
    """Send a rich message."""
    content = read_rich(parameters)
    if content is None:
        raise bad_request("RICH_MESSAGE_EMPTY")
    return deliver(core, parameters, content)


@method("sendRichMessageDraft")
async def send_rich_message_draft(core: TelegramCore, parameters: Parameters) -> bool:
    """Show a rich message as a draft."""
    content = read_rich(parameters, draft=True)
    if content is None:
        raise bad_request("RICH_MESSAGE_EMPTY")
    return put_draft(core, parameters, content.formatted)
