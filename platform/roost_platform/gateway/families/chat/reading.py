"""Reads a chat completions request: what the gateway acts on is checked, the rest goes on."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from roost_inference.errors import InvalidRequest
from roost_platform.gateway.request import HINTS, ModelRequest, NativeCall
from roost_platform.gateway.sizes import text_bytes

N_MAX: Final = 16
MESSAGES_MAX: Final = 16_384
TOOLS_MAX: Final = 512
ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
# The gateway's own: the provider gets them from its request.
TAKEN: Final = HINTS | {"model", "stream", "stream_options", "n"}
SESSION_HEADERS: Final = ("x-session-id", "x-session-affinity", "x-claude-code-session-id")


def read_chat(body: Mapping[str, Any], headers: Mapping[str, str]) -> ModelRequest:
    """The request of this body. Raises InvalidRequest, which names the field."""
    model = text_field(body, "model")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages has to be a list that is not empty", param="messages")
    if len(messages) > MESSAGES_MAX:
        raise InvalidRequest(f"messages has more than {MESSAGES_MAX} entries", param="messages")
    for index, message in enumerate(messages):
        check_message(message, f"messages[{index}]")
    tools = body.get("tools") or ()
    if not isinstance(tools, Sequence) or isinstance(tools, str) or len(tools) > TOOLS_MAX:
        raise InvalidRequest(f"tools has to be a list of at most {TOOLS_MAX}", param="tools")
    n = whole_number(body, "n", 1, N_MAX)
    most = whole_number(body, "max_completion_tokens", 1) or whole_number(body, "max_tokens", 1)
    kept = {name: value for name, value in body.items() if name not in TAKEN and value is not None}
    return ModelRequest(
        family="chat",
        model=model,
        body=kept,
        stream=flag(body, "stream"),
        n=n or 1,
        max_tokens=most,
        prompt_bytes=text_bytes(messages) + text_bytes(tools),
        session=session_of(body, headers),
        person=text_field(body, "user"),
        native=NativeCall("openai", kept),
    )


def check_message(message: Any, where: str) -> None:
    """Raise InvalidRequest for what no provider could read."""
    if not isinstance(message, dict):
        raise InvalidRequest(f"{where} has to be an object", param=where)
    if message.get("role") not in ROLES:
        roles = ", ".join(sorted(ROLES))
        raise InvalidRequest(f"{where}.role has to be one of {roles}", param=f"{where}.role")
    content = message.get("content")
    if content is not None and not isinstance(content, str | list):
        raise InvalidRequest(f"{where}.content has to be text or a list", param=f"{where}.content")


def session_of(body: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """The client's name of its conversation, by any of the names that clients use."""
    for name in SESSION_HEADERS:
        if value := headers.get(name):
            return str(value)[:256]
    for name in ("session_id", "prompt_cache_key"):
        if isinstance(body.get(name), str) and body[name]:
            return str(body[name])[:256]
    return ""


def text_field(body: Mapping[str, Any], name: str) -> str:
    """A text, empty where it is absent or null."""
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} has to be a text", param=name)
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    """A truth value, False where it is absent or null."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"{name} has to be true or false", param=name)
    return bool(value)


def whole_number(
    body: Mapping[str, Any], name: str, least: int, most: int | None = None
) -> int | None:
    """A whole number between these bounds, None where it is absent or null."""
    value = body.get(name)
    if value is None:
        return None
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        span = f"at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidRequest(f"{name} has to be a whole number, {span}", param=name)
    return int(value)
