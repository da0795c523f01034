"""The response as a resource: every field of OpenAI's and Open Responses' object, null where there
is nothing to tell.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from roost_inference.errors import ContentRefused, EngineError, InvalidRequest
from roost_platform.gateway.errors import Waiting
from roost_platform.gateway.events import Usage

# OpenAI's fields that have no meaning here.
ABSENT: Final = ("conversation", "moderation", "prompt")


def new_resource(id: str, echo: Mapping[str, Any], status: str) -> dict[str, Any]:
    """A response that has just begun. echo: the fields that repeat the request."""
    return {
        "id": id,
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
        **echo,
        **dict.fromkeys(ABSENT),
    }


def usage_object(usage: Usage) -> dict[str, Any] | None:
    """Usage in the form of responses; None where the provider told nothing."""
    return counted(usage) if usage.input_tokens or usage.output_tokens else None


def counted(usage: Usage) -> dict[str, Any]:
    """Usage in the form of responses."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def failure(error: EngineError) -> dict[str, Any]:
    """An error as a failed response tells it; the codes are OpenAI's, which clients act on."""
    code = error.code
    if isinstance(error, Waiting):
        code = "rate_limit_exceeded"
    elif isinstance(error, ContentRefused) or type(error) is InvalidRequest:
        code = "invalid_prompt"
    elif not isinstance(error, InvalidRequest):
        code = "server_error"
    return {"code": code, "message": error.message}
