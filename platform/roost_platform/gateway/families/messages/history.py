"""Anthropic's system text and messages as chat messages in OpenAI's form."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from roost_platform.gateway.families.messages.fields import (
    invalid,
    object_of,
    objects_of,
    text_of,
)
from roost_platform.gateway.families.messages.parts import parts_of

MESSAGES_MAX: Final = 16_384
BLOCKS_MAX: Final = 16_384  # of one message
ROLES: Final = ("user", "assistant", "system")
# Claude Code's first line changes with each request, which no prefix would survive.
BILLING_LINE: Final = "x-anthropic-billing-header:"


def chat_messages(system: Any, messages: Any) -> list[dict[str, Any]]:
    """The conversation in OpenAI's form. Raises InvalidRequest, which names the field."""
    entries = objects_of(messages, "messages", MESSAGES_MAX)
    if messages is None:
        raise invalid("messages", "Field required")
    if not entries:
        raise invalid("messages", "at least one message is required")
    chat: list[dict[str, Any]] = []
    if text := _system_text(_blocks(system, "system"), "system"):
        chat.append({"role": "system", "content": text})
    for index, message in enumerate(entries):
        path = f"messages.{index}"
        role = message.get("role")
        if role not in ROLES:
            raise invalid(f"{path}.role", f"Input should be one of {', '.join(ROLES)}")
        if message.get("content") is None:
            raise invalid(f"{path}.content", "Field required")
        blocks = _blocks(message["content"], f"{path}.content")
        if role == "assistant":
            chat += _assistant(blocks, f"{path}.content")
        elif role == "system":
            text = _system_text(blocks, f"{path}.content")
            chat += [{"role": "system", "content": text}] if text else []
        else:
            chat += _user(blocks, f"{path}.content")
    if not chat:
        raise invalid("messages", "at least one message needs content")
    return chat


def _blocks(content: Any, path: str) -> Sequence[Mapping[str, Any]]:
    """The blocks of a content, which may be plain text."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    blocks = objects_of(content, path, BLOCKS_MAX)
    for index, block in enumerate(blocks):
        if not isinstance(block.get("type"), str):
            raise invalid(f"{path}.{index}.type", "Field required")
    return blocks


def _system_text(blocks: Sequence[Mapping[str, Any]], path: str) -> str:
    texts = [
        text_of(block.get("text"), f"{path}.{index}.text") for index, block in enumerate(blocks)
    ]
    return "\n\n".join(text for text in texts if text and not text.startswith(BILLING_LINE))


def _user(blocks: Sequence[Mapping[str, Any]], path: str) -> Iterator[dict[str, Any]]:
    """The results of tools, then what the person says. OpenAI's results are text alone, so their
    pictures come with the person's message.
    """
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        where = f"{path}.{index}"
        if block["type"] != "tool_result":
            parts += parts_of(block, where)
            continue
        id = text_of(block.get("tool_use_id"), f"{where}.tool_use_id")
        if not id:
            raise invalid(f"{where}.tool_use_id", "Field required")
        found = [
            part
            for number, inner in enumerate(_blocks(block.get("content"), f"{where}.content"))
            for part in parts_of(inner, f"{where}.content.{number}")
        ]
        text = "\n".join(part["text"] for part in found if part["type"] == "text")
        others = [part for part in found if part["type"] != "text"]
        if others and not text:
            text = "The result is in the next message."
        if block.get("is_error") is True and not text.casefold().startswith("error"):
            text = f"Error: {text}"
        parts += others
        yield {"role": "tool", "tool_call_id": id, "content": text}
    if parts:
        yield {"role": "user", "content": _content(parts)}


def _assistant(blocks: Sequence[Mapping[str, Any]], path: str) -> Iterator[dict[str, Any]]:
    """Text and calls. Reasoning stays with providers of Anthropic's wire, as do the blocks of tools
    that run on their servers.
    """
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        where = f"{path}.{index}"
        if block["type"] == "text":
            texts.append(text_of(block.get("text"), f"{where}.text"))
        elif block["type"] == "tool_use":
            calls.append(_call(block, where))
    text = "".join(texts)
    if text or calls:
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = calls
        yield message


def _call(block: Mapping[str, Any], path: str) -> dict[str, Any]:
    for name in ("id", "name"):
        if not text_of(block.get(name), f"{path}.{name}"):
            raise invalid(f"{path}.{name}", "Field required")
    arguments = object_of(block.get("input"), f"{path}.input")
    return {
        "id": block["id"],
        "type": "function",
        "function": {
            "name": block["name"],
            "arguments": json.dumps(arguments, ensure_ascii=False),
        },
    }


def _content(parts: Sequence[dict[str, Any]]) -> Any:
    """Plain text where there is nothing else: every engine reads it."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return list(parts)
