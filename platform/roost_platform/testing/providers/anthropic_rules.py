"""The rules by which Anthropic's API refuses a request, as far as a translation may break them."""

import re
from collections.abc import Mapping
from typing import Any

FIELDS = frozenset(
    {
        "cache_control",
        "container",
        "context_management",
        "inference_geo",
        "max_tokens",
        "mcp_servers",
        "messages",
        "metadata",
        "model",
        "output_config",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
NOT_COUNTED = frozenset({"max_tokens", "metadata", "stop_sequences", "stream", "temperature"})
ID = re.compile(r"[a-zA-Z0-9_-]+")


def broken_rule(body: Mapping[str, Any], *, is_count: bool = False) -> str:
    """The first rule that this request breaks, in Anthropic's words; empty if it keeps them."""
    known = FIELDS - NOT_COUNTED if is_count else FIELDS
    for name in body:
        if name not in known:
            return f"{name}: Extra inputs are not permitted"
    if not is_count and not isinstance(body.get("max_tokens"), int):
        return "max_tokens: Field required"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages: at least one message is required"
    if messages[0]["role"] != "user":
        return "messages: first message must use the user role"
    if any(not stop.strip() for stop in body.get("stop_sequences", ())):
        return "stop_sequences: each stop sequence must contain non-whitespace"
    return _thinking_rule(body) or _message_rule(messages)


def _thinking_rule(body: Mapping[str, Any]) -> str:
    thinking = body.get("thinking") or {}
    if thinking.get("type") != "enabled":
        return ""
    if not 1024 <= thinking["budget_tokens"] < body.get("max_tokens", 2**31):
        return "max_tokens must be greater than thinking.budget_tokens"
    if body.get("temperature", 1) != 1:
        return "temperature may only be set to 1 when thinking is enabled"
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        return "Thinking may not be enabled when tool_choice forces tool use."
    return ""


def _message_rule(messages: list[dict[str, Any]]) -> str:
    wanted: set[str] = set()
    for index, message in enumerate(messages):
        blocks = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if wanted - results:
            return f"messages.{index}: `tool_use` ids were found without `tool_result` blocks"
        if results - wanted:
            return f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks"
        for number, block in enumerate(blocks):
            path = f"messages.{index}.content.{number}"
            if block["type"] == "text" and not block["text"].strip():
                return "messages: text content blocks must be non-empty"
            if block["type"] == "tool_use" and not ID.fullmatch(block["id"]):
                return f"{path}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
            if block["type"] == "thinking" and not block["signature"]:
                return f"{path}: Invalid `signature` in `thinking` block"
        wanted = {block["id"] for block in blocks if block["type"] == "tool_use"}
    return "messages: `tool_use` ids were found without `tool_result` blocks" if wanted else ""
