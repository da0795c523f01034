"""Turns the error answers of any engine into our errors."""

import json
from collections.abc import Mapping
from typing import Any

from roost_inference.errors import (
    BadGrammar,
    BodyTooLarge,
    EngineError,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
    UnknownModel,
    UnknownSession,
)

RETRY_AFTER_S_MAX = 300.0
MESSAGE_CHARACTERS_MAX = 1000
_BY_CODE: dict[str, type[EngineError]] = {
    kind.code: kind
    for kind in (
        InvalidRequest,
        PromptTooLong,
        BadGrammar,
        UnknownModel,
        UnknownSession,
        BodyTooLarge,
        QueueFull,
        EngineUnavailable,
        EngineFailed,
    )
}
_BY_STATUS: dict[int, type[EngineError]] = {
    404: UnknownModel,
    408: EngineUnavailable,
    413: BodyTooLarge,
    429: QueueFull,
    502: EngineUnavailable,
    503: EngineUnavailable,
    504: EngineUnavailable,
}


def json_of(body: bytes) -> Any:
    """The body's JSON, None if it has none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> EngineError:
    """The error that an HTTP answer means. A known code counts more than the status."""
    value = json_of(body)
    return error_of(value, status=status, headers=headers) or _make(
        _by_status(status), f"HTTP {status}: {body[:200].decode(errors='replace')}", None, headers
    )


def error_of(
    value: Any, *, status: int = 500, headers: Mapping[str, str] | None = None
) -> EngineError | None:
    """The error in an answer's or event's JSON; None if it has none."""
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        return None
    message = str(error.get("message") or "The engine gave no reason")
    code, param = error.get("code"), error.get("param")
    if isinstance(code, int) and status == 500:
        status = code
    kind = _BY_CODE.get(code) if isinstance(code, str) else None
    if kind is None:
        kind = _by_status(status)
        # vLLM and others say it only in the message.
        if status == 400 and "context length" in message.lower():
            kind = PromptTooLong
    made = _make(kind, message, param if isinstance(param, str) else None, headers or {})
    if isinstance(code, str) and code:
        made.code = code
    return made


def _by_status(status: int) -> type[EngineError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return InvalidRequest if 400 <= status < 500 else EngineFailed


def _make(
    kind: type[EngineError], message: str, param: str | None, headers: Mapping[str, str]
) -> EngineError:
    message = message[:MESSAGE_CHARACTERS_MAX]
    if issubclass(kind, QueueFull):
        return kind(message, retry_after_s=_retry_after_s(headers.get("retry-after", "")))
    return kind(message, param=param)


def _retry_after_s(header: str) -> float:
    """Seconds from a Retry-After header; dates and nonsense count as one second."""
    try:
        seconds = float(header)
    except ValueError:
        return 1.0
    return min(seconds, RETRY_AFTER_S_MAX) if seconds >= 0 else 1.0
