"""Messages as templates take them, with placeholders for texts that keep their own tokens."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from roost_inference.prompt.exact_tokens import GeneratedAnswer
from roost_inference.wire.json_body import is_too_deep
from roost_inference.wire.message import FunctionTool, Message

_TAG = re.compile(r"<[^\s<>{}%]{1,40}>")


@dataclass(frozen=True, slots=True)
class TextPart:
    """A part of the rendered text; `special` where it is the template's own."""

    text: str
    special: bool


def pieces_of(
    text: str, hidden: Mapping[str, str | GeneratedAnswer], nonce: str
) -> list[TextPart | GeneratedAnswer]:
    """The rendered text in order, with placeholders replaced by what they stand for."""
    if not hidden:
        return [TextPart(text, special=True)]
    pieces: list[TextPart | GeneratedAnswer] = []
    for part in re.split(f"(\ue000{nonce}:[0-9]+\ue001)", text):
        plain = hidden.get(part)
        if isinstance(plain, GeneratedAnswer):
            pieces.append(plain)
        elif part:
            pieces.append(TextPart(part if plain is None else plain, special=plain is None))
    return pieces


def mark(hidden: dict[str, str | GeneratedAnswer], nonce: str, what: str | GeneratedAnswer) -> str:
    """A placeholder that no text contains: its nonce is made for one request."""
    mark = f"\ue000{nonce}:{len(hidden)}\ue001"
    hidden[mark] = what
    return mark


def marked(
    message: Message,
    answer: GeneratedAnswer | None,
    hidden: dict[str, str | GeneratedAnswer],
    nonce: str,
) -> Message:
    """The message, with a placeholder instead of an answer that keeps its own tokens."""
    if answer is None:
        return message
    return Message(role="assistant", content=mark(hidden, nonce, answer))


def declared_tool(
    function: FunctionTool, mask: Callable[[str], str], levels: int
) -> dict[str, Any]:
    """A tool as templates with tool support expect it; its strings are masked so many levels
    deep."""
    declared = {"description": function.description, "parameters": function.parameters}
    return {
        "type": "function",
        "function": {"name": function.name, **masked(declared, mask, levels)},
    }


def native_message(message: Message) -> dict[str, Any]:
    """A message as templates with tool support expect it: arguments as objects."""
    role = "system" if message.role == "developer" else message.role
    native: dict[str, Any] = {"role": role, "content": message.content or ""}
    if message.name is not None:
        native["name"] = message.name
    if message.role == "tool":
        native["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        native["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": _object(call.function.arguments),
                },
            }
            for call in message.tool_calls
        ]
    return native


def spelled_tokens(
    template: str, tokenize: Callable[[str, bool], Sequence[int]]
) -> re.Pattern[str] | None:
    """Finds the tags of a template that are one token each even in plain text: vocabularies may
    say so of tokens that aren't control tokens by their kind. None where there are none."""
    tags = {tag for tag in _TAG.findall(template) if len(tokenize(tag, False)) == 1}
    if not tags:
        return None
    return re.compile(f"(?={'|'.join(re.escape(tag) for tag in sorted(tags))})")


def broken_up(text: str, tags: re.Pattern[str], hide: Callable[[str], str]) -> str:
    """The text in hidden parts that are tokenised apart, with a cut in each tag, so that none
    becomes its token."""
    cuts = [0, *(tag.start() + 1 for tag in tags.finditer(text)), len(text)]
    return "".join(hide(text[start:end]) for start, end in pairwise(cuts) if start < end)


def masked(value: Any, mask: Callable[[str], str], levels: int) -> Any:
    """The value with its strings as `mask` gives them, so many levels deep."""
    if isinstance(value, str):
        return mask(value)
    if levels and isinstance(value, Mapping):
        return {mask(key): masked(child, mask, levels - 1) for key, child in value.items()}
    if levels and isinstance(value, list):
        return [masked(child, mask, levels - 1) for child in value]
    return value


def masked_message(
    message: Mapping[str, Any],
    mask: Callable[[str], str],
    levels: int,
    mask_own: Callable[[str], str],
) -> dict[str, Any]:
    """A native message with its content masked, that of an answer or of the system with `mask_own`,
    and the strings of its calls' arguments."""
    mask_content = mask_own if message["role"] in ("assistant", "system") else mask
    result = {**message, "content": mask_content(message["content"])}
    if levels and "tool_calls" in message:
        result["tool_calls"] = [
            {
                **call,
                "function": {
                    **call["function"],
                    "arguments": masked(call["function"]["arguments"], mask, levels),
                },
            }
            for call in message["tool_calls"]
        ]
    return result


def with_system_text(messages: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The messages, with the text at the end of the first system message."""
    if messages and messages[0]["role"] == "system":
        system = f"{messages[0]['content']}\n\n{text}"
        return [{**messages[0], "content": system}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _object(arguments: str) -> Any:
    """Arguments as an object; text that is not JSON stays text, as the model wrote it. So does JSON
    that is nested too deeply: templates write it again, level by level."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
    return arguments if is_too_deep(value) else value
