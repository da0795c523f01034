"""The body of a request to a provider with OpenAI's wire: what each kind of provider can read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from roost_platform.gateway.config import BUNDLED
from roost_platform.gateway.request import ModelRequest

# The API that names the bound of the output max_completion_tokens, and refuses the older name.
NEWER_NAMES: Final = (".openai.com", ".openai.azure.com")
BOUNDS: Final = ("max_tokens", "max_completion_tokens")
REASONING: Final = ("reasoning", "reasoning_content", "reasoning_details")
TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})


@dataclass(frozen=True, slots=True)
class WireHabits:
    """What is special about a provider with OpenAI's wire.

    has_newer_names: it is OpenAI's own API. reads_text_only: it refuses pictures.
    keeps_reasoning: it wants to see the reasoning of earlier answers. takes_hints: about sessions
    and tenants.
    """

    has_newer_names: bool = False
    reads_text_only: bool = False
    keeps_reasoning: bool = False
    takes_hints: bool = False


def habits_of(name: str, host: str, *, keep_reasoning: bool) -> WireHabits:
    """The habits of the provider of this name in the settings, at this host."""
    is_bundled = name == BUNDLED
    return WireHabits(
        has_newer_names=f".{host}".endswith(NEWER_NAMES),
        reads_text_only=is_bundled,
        keeps_reasoning=keep_reasoning,
        takes_hints=is_bundled,
    )


def chat_body(
    request: ModelRequest, model: str, hints: Mapping[str, Any], habits: WireHabits
) -> dict[str, Any]:
    """The request as this provider reads it; always a stream, always with its usage."""
    body = {name: value for name, value in request.body.items() if name not in BOUNDS}
    if request.max_tokens is not None:
        # An engine that doesn't know the name would write without a bound.
        newer = habits.has_newer_names
        body["max_completion_tokens" if newer else "max_tokens"] = request.max_tokens
    body["messages"] = [_message(message, habits) for message in request.messages]
    if habits.takes_hints:
        body |= hints
    if request.n > 1:
        body["n"] = request.n
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    if model:
        body["model"] = model
    return body


def _message(message: Mapping[str, Any], habits: WireHabits) -> Mapping[str, Any]:
    changed: dict[str, Any] = {}
    if message.get("role") == "developer" and not habits.has_newer_names:
        changed["role"] = "system"  # what templates of models know
    content = message.get("content")
    if habits.reads_text_only and isinstance(content, list):
        changed["content"] = _texts(content)
    drops = not habits.keeps_reasoning and any(name in message for name in REASONING)
    if not changed and not drops:
        return message
    left_out = REASONING if drops else ()
    return {**{k: v for k, v in message.items() if k not in left_out}, **changed}


def _texts(content: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The parts, with a note instead of each one that is no text."""
    return [
        part
        if isinstance(part, Mapping) and part.get("type") in TEXT_PARTS
        else {"type": "text", "text": _note(part)}
        for part in content
    ]


def _note(part: Any) -> str:
    kind = str(part.get("type") or "") if isinstance(part, Mapping) else ""
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return str(part["refusal"])
    what = {"image_url": "A picture", "input_image": "A picture", "input_audio": "A sound"}
    return f"[{what.get(kind, 'A file')} that this model can't read]"
