"""Reads a chat completions request: what is known here is checked, the rest goes on."""

from collections.abc import Mapping
from typing import Any, Final

from roost_platform.gateway.families.chat.legacy import modern
from roost_platform.gateway.families.chat.messages import check_message, read_messages
from roost_platform.gateway.families.chat.sampling import (
    check_chat_fields,
    output_bound,
    stream_options,
)
from roost_platform.gateway.families.chat.tools import check_format, read_tools
from roost_platform.gateway.families.fields import (
    flag,
    model_field,
    plain_name,
    session_of,
    text_field,
    whole_number,
)
from roost_platform.gateway.request import HINTS, ModelRequest
from roost_platform.gateway.sizes import text_bytes

__all__ = ["check_message", "flag", "read_chat", "session_of", "text_field", "whole_number"]

N_MAX: Final = 16
# The gateway's own: the provider gets them from its request.
TAKEN: Final = HINTS | {"model", "stream", "stream_options", "n"}
# Read below: what they become stands for what the client has sent.
READ: Final = TAKEN | {"messages", "tools", "tool_choice", "parallel_tool_calls"}


def read_chat(body: Mapping[str, Any], headers: Mapping[str, str]) -> ModelRequest:
    """The request of this body. Raises InvalidRequest, which names the field."""
    body = modern(body)
    model = model_field(body)
    messages = read_messages(body.get("messages"))
    tools = read_tools(body)
    check_format(body)
    check_chat_fields(body)
    is_stream = flag(body, "stream")
    stream_options(body, is_stream=is_stream)
    kept = {name: value for name, value in body.items() if name not in READ and value is not None}
    kept |= {"messages": messages, **tools}
    if kept.get("stop") == []:
        del kept["stop"]
    if not kept.get("logprobs"):
        kept.pop("top_logprobs", None)  # 0, which some engines refuse here
    return ModelRequest(
        family="chat",
        model=model,
        body=kept,
        stream=is_stream,
        n=whole_number(body, "n", 1, N_MAX) or 1,
        max_tokens=output_bound(body),
        prompt_bytes=text_bytes(messages) + text_bytes(tools),
        session=session_of(body, headers),
        person=plain_name(body, "user"),
    )
