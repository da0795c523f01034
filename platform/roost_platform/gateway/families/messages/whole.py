"""Writes a whole answer as a message of Anthropic's API."""

import json
from collections.abc import Mapping
from typing import Any, Final

from roost_platform.gateway.answer import Answer, AnsweredCall, AnsweredText, Block, ReasoningBlock
from roost_platform.gateway.events import Finish, FinishReason, NativePart, Usage
from roost_platform.gateway.request import ModelRequest

STOP_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "error": "end_turn",
}


def message_id(call_id: str) -> str:
    """The id of the message that this call answers with."""
    return f"msg_{call_id.replace('-', '')}"


def message(
    request: ModelRequest, call_id: str, answer: Answer, *, shows_reasoning: bool
) -> dict[str, Any]:
    """A whole answer. Blocks stand in the order in which the model began them."""
    choice = answer.choices[0]
    content = [
        block
        for one in choice.blocks
        if (block := _block(one, shows_reasoning=shows_reasoning)) is not None
    ]
    if choice.refusal:
        content.append(text_block(choice.refusal))
    finish = Finish(
        choice.finish or "stop",
        stop_sequence=choice.stop_sequence,
        native=choice.native_finish,
    )
    is_refusal = bool(choice.refusal)
    return {
        **message_head(message_id(call_id), request.model),
        "content": content,
        **stop_fields(finish, has_calls=bool(choice.calls), is_refusal=is_refusal),
        "usage": usage_object(answer.usage),
    }


def message_head(id: str, model: str) -> dict[str, Any]:
    """The fields of a message that are known before its content."""
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
    }


def stop_fields(finish: Finish, *, has_calls: bool, is_refusal: bool) -> dict[str, Any]:
    """Why the answer ended. Some engines say `stop` for an answer that calls a tool."""
    if finish.native:
        return dict(finish.native)
    reason = STOP_REASONS[finish.reason]
    if reason == "end_turn" and is_refusal:
        reason = "refusal"
    elif reason == "end_turn" and has_calls:
        reason = "tool_use"
    elif reason == "end_turn" and finish.stop_sequence is not None:
        reason = "stop_sequence"
    sequence = finish.stop_sequence if reason == "stop_sequence" else None
    return {"stop_reason": reason, "stop_sequence": sequence}


def usage_object(usage: Usage) -> dict[str, Any]:
    """Usage in Anthropic's form, where cached tokens are not among the input tokens."""
    fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    thought = usage.reasoning_tokens
    return {
        "cache_creation": None,
        "inference_geo": None,
        "server_tool_use": None,
        "service_tier": None,
        "output_tokens_details": {"thinking_tokens": thought} if thought else None,
        **usage.native,
        "input_tokens": max(fresh, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }


def text_block(text: str) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": text, "citations": None}


def call_block(id: str, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A block that calls a tool."""
    return {
        "type": "tool_use",
        "id": id,
        "name": name,
        "input": arguments,
        "caller": {"type": "direct"},
    }


def _block(block: Block, *, shows_reasoning: bool) -> dict[str, Any] | None:
    match block:
        case AnsweredText():
            text = "".join(block.texts)
            cited = [one["citation"] for one in block.additions if "citation" in one] or None
            return {**text_block(text), "citations": cited} if text or cited else None
        case ReasoningBlock(is_redacted=True):
            return {"type": "redacted_thinking", "data": block.text}
        case ReasoningBlock():
            if not shows_reasoning and not block.signature:
                return None
            text = block.text if shows_reasoning else ""
            return {"type": "thinking", "thinking": text, "signature": block.signature}
        case AnsweredCall():
            return call_block(block.id, block.name, _arguments(block.arguments))
        case NativePart():
            return dict(block.value)


def _arguments(text: str) -> dict[str, Any]:
    """Arguments have to be an object here; what is none is kept as a text in one."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    return value if isinstance(value, dict) else {"arguments": value}
