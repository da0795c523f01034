"""Writes errors in Anthropic's form."""

from typing import Any, Final

from roost_inference.errors import EngineError, PromptTooLong

TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_object(error: EngineError, request_id: str) -> dict[str, Any]:
    """An error as the body of a response or as an event."""
    kind = TYPES.get(error.http_status, "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": _message(error)},
        "request_id": request_id,
    }


def _message(error: EngineError) -> str:
    """Clients know a prompt that is too long by Anthropic's words, and make it shorter."""
    if not isinstance(error, PromptTooLong):
        return error.message
    if error.prompt_tokens and error.limit_tokens:
        return f"prompt is too long: {error.prompt_tokens} tokens > {error.limit_tokens} maximum"
    return f"prompt is too long: {error.message}"
