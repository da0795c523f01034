"""Writes a request in OpenAI's form as a body of Anthropic's Messages API."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from roost_platform.gateway.providers.anthropic.history import Conversation
from roost_platform.gateway.providers.anthropic.schema import closed_schema
from roost_platform.gateway.request import ModelRequest

MAX_TOKENS: Final = 4096  # of an answer, where the request gives no bound: Anthropic needs one
BUDGET_MIN: Final = 1024
BUDGETS: Final = {"low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 32_768}
CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}
JSON_ONLY: Final = "Answer with one JSON object and nothing else."
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
OWN_FIELDS: Final = ("thinking", "output_config", "cache_control", "top_k")


def native_body(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A client's own body for this model. Reasoning of other engines, which bears no signature, is
    left out: Anthropic refuses it.
    """
    messages = body.get("messages")
    kept = [_signed(message) for message in messages] if isinstance(messages, list) else messages
    return {**body, "messages": kept, "model": model}


def anthropic_body(request: ModelRequest, model: str) -> dict[str, Any]:
    """A request in OpenAI's form, as far as Anthropic has words for it."""
    given = request.body
    conversation = Conversation()
    for message in request.messages:
        conversation.add(message)
    body: dict[str, Any] = {"model": model, "messages": conversation.messages()}
    body |= {name: given[name] for name in OWN_FIELDS if given.get(name) is not None}
    body |= _tools(given)
    system = conversation.system
    form = given.get("response_format")
    schema = _schema(form)
    if schema is not None:
        output = {"type": "json_schema", "schema": closed_schema(schema)}
        config = body.get("output_config")
        body["output_config"] = {**(config if isinstance(config, dict) else {}), "format": output}
    elif isinstance(form, dict) and form.get("type") == "json_object":
        system = [*system, {"type": "text", "text": JSON_ONLY}]
    if system:
        body["system"] = system
    body |= _bounds(request, may_think=conversation.may_think)
    stops = given.get("stop")
    stops = [stops] if isinstance(stops, str) else stops
    if isinstance(stops, Sequence):
        # Anthropic refuses those without a letter.
        body["stop_sequences"] = [one for one in stops if isinstance(one, str) and one.strip()]
    if isinstance(given.get("user"), str) and given["user"]:
        body["metadata"] = {"user_id": given["user"]}
    _sample(body, given)
    return body


def _schema(form: Any) -> Mapping[str, Any] | None:
    """The schema of a response_format; None where it has none."""
    kind = form.get("type") if isinstance(form, dict) else None
    named = form.get("json_schema") if kind == "json_schema" else form
    schema = named.get("schema") if isinstance(named, dict) else None
    if kind == "json_schema":
        return schema or {"type": "object"}
    return schema if kind == "json_object" and isinstance(schema, dict) and schema else None


def _bounds(request: ModelRequest, *, may_think: bool) -> dict[str, Any]:
    """The bound of the answer, and the budget of thinking in it."""
    given = request.body
    most = request.max_tokens or given.get("max_completion_tokens") or given.get("max_tokens")
    effort = given.get("reasoning_effort")
    wanted = BUDGETS.get(effort) if isinstance(effort, str) else None
    is_forced = given.get("tool_choice") not in (None, "auto", "none") and given.get("tools")
    if wanted is None or given.get("thinking") or is_forced or not may_think:
        return {"max_tokens": most or MAX_TOKENS}
    if not most:
        return {"max_tokens": MAX_TOKENS + wanted, "thinking": _thinking(wanted)}
    budget = min(wanted, most // 2) if most // 2 >= BUDGET_MIN else BUDGET_MIN
    if budget >= most:  # no room for both
        return {"max_tokens": most}
    return {"max_tokens": most, "thinking": _thinking(budget)}


def _thinking(budget: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": budget}


def _sample(body: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Add how tokens are chosen. With thinking Anthropic chooses itself, and newer models take only
    one of temperature and top_p.
    """
    top_k = body.get("top_k")
    if isinstance(top_k, int) and top_k < 1:
        del body["top_k"]  # other engines take all tokens then; Anthropic refuses it
    thinking = body.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive"):
        body.pop("top_k", None)
        return
    if isinstance(given.get("temperature"), int | float):
        body["temperature"] = min(max(given["temperature"], 0), 1)
    elif isinstance(given.get("top_p"), int | float):
        body["top_p"] = given["top_p"]


def _tools(given: Mapping[str, Any]) -> dict[str, Any]:
    """`tools` and `tool_choice`."""
    tools = [
        _tool(tool)
        for tool in given.get("tools") or ()
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    if not tools:
        return {}
    fields: dict[str, Any] = {"tools": tools}
    choice = given.get("tool_choice")
    chosen: dict[str, Any] = {}
    if isinstance(choice, str) and choice in CHOICES:
        chosen = {"type": CHOICES[choice]}
    elif isinstance(choice, dict):
        name = (choice.get("function") or choice).get("name")
        chosen = {"type": "tool", "name": name} if isinstance(name, str) else {}
    if given.get("parallel_tool_calls") is False and chosen.get("type") != "none":
        chosen = {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": True}
    if chosen:
        fields["tool_choice"] = chosen
    return fields


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    schema = function.get("parameters")
    if not isinstance(schema, dict) or not schema:
        schema = {"type": "object", "properties": {}}
    written: dict[str, Any] = {
        "name": str(function.get("name") or ""),
        "input_schema": schema if schema.get("type") else {**schema, "type": "object"},
    }
    if function.get("description"):
        written["description"] = function["description"]
    if cache := tool.get("cache_control") or function.get("cache_control"):
        written["cache_control"] = cache
    return written


def _signed(message: Any) -> Any:
    """A message without reasoning that no provider has signed."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message
    kept = [block for block in content if not _is_unsigned(block)]
    return message if len(kept) == len(content) else {**message, "content": kept}


def _is_unsigned(block: Any) -> bool:
    return (
        isinstance(block, dict) and block.get("type") == "thinking" and not block.get("signature")
    )
