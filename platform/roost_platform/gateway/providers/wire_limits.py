"""What a provider's wire has no words for: refused where it decides the answer, else told.

A client learns by the header `x-roost-ignored` which of its fields did nothing.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from roost_platform.gateway.errors import FieldNotSupported
from roost_platform.gateway.request import ModelRequest, Wire

IGNORED: Final = "x-roost-ignored"
NAMES_MAX: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
# Fields of a chat that a body of Anthropic's is made from.
TRANSLATED: Final = frozenset(
    {
        *("messages", "tools", "tool_choice", "parallel_tool_calls", "response_format"),
        *("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop"),
        *("reasoning_effort", "user", "thinking", "output_config", "cache_control"),
    }
)
# They decide what an answer has or may have in it.
DECIDES: Final = ("logprobs", "logit_bias", "min_tokens", "ignore_eos")
# Fields of Anthropic's requests that are read for other providers.
READ: Final = frozenset(
    {
        *("model", "messages", "system", "max_tokens", "stream", "stop_sequences", "temperature"),
        *("top_p", "top_k", "tools", "tool_choice", "thinking", "output_config", "output_format"),
        *("metadata", "cache_control"),
    }
)


def check_wire(request: ModelRequest, wire: Wire, name: str) -> None:
    """Raise FieldNotSupported for a field that the provider of this name can't obey."""
    if request.family == "embeddings" or _is_native(request, wire):
        return
    field = request.native_only if wire == "openai" else _undecided(request.body)
    if field:
        raise FieldNotSupported(f"{field} can't be obeyed by the provider {name!r}", param=field)


def ignored_fields(request: ModelRequest, wire: Wire) -> Mapping[str, str]:
    """The header that names the fields which do nothing at a provider with this wire."""
    names = list(request.unread)
    if not _is_native(request, wire) and (wire != "openai" or request.native is not None):
        given, known = (
            (request.body, TRANSLATED)
            if wire == "anthropic" or request.native is None
            else (request.native.body, READ)
        )
        names += [
            name
            for name, value in given.items()
            if name not in known and value not in (None, 0, [], {})
        ]
    if not names:
        return {}
    shown = sorted(name for name in names if _NAME.fullmatch(name))[:NAMES_MAX]
    return {IGNORED: ", ".join(shown)} if shown else {}


def _is_native(request: ModelRequest, wire: Wire) -> bool:
    return request.native is not None and request.native.wire == wire


def _undecided(body: Mapping[str, Any]) -> str:
    """The first field of a chat that Anthropic's API has no words for and that decides the answer;
    empty for none.
    """
    for name in DECIDES:
        if body.get(name):
            return name
    form = body.get("response_format")
    if isinstance(form, Mapping) and form.get("type") == "structural_tag":
        return "response_format"
    stops = body.get("stop")
    stops = [stops] if isinstance(stops, str) else stops or ()
    if any(isinstance(stop, str) and not stop.strip() for stop in stops):
        return "stop"  # it takes none of blanks alone
    return "" if _is_choice_kept(body) else "tool_choice"


def _is_choice_kept(body: Mapping[str, Any]) -> bool:
    """Whether a tool that has to be called is one that can be told: a function."""
    choice = body.get("tool_choice")
    if choice in (None, "auto", "none"):
        return True
    tools = [tool for tool in body.get("tools") or () if isinstance(tool, Mapping)]
    if isinstance(choice, Mapping):
        return isinstance(choice.get("function"), Mapping)
    return any(isinstance(tool.get("function"), Mapping) for tool in tools)
