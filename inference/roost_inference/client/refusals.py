"""Turns the error answers of any engine into our errors, by one table of meanings."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

from roost_inference.client.dialects.meanings import MEANINGS
from roost_inference.client.dialects.patience import RETRY_AFTER_S_MAX, waiting_s
from roost_inference.client.dialects.too_long import token_counts
from roost_inference.errors import (
    BadGrammar,
    BodyTooLarge,
    ContentRefused,
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
    UnknownModel,
    UnknownSession,
)

MESSAGE_CHARACTERS_MAX = 1000
PAGE_CHARACTERS_MAX = 200  # of an answer that is not JSON
# Codes and fields as engines name them, such as messages[0].content. Others are passed over: calls
# are stored and counted by them.
_NAME = re.compile(r"[A-Za-z0-9_.:$\[\]/-]{1,128}")
_WORDS_FIELDS: Final = ("message", "msg", "error_msg", "status_msg", "error_description")
_OURS: dict[str, type[EngineError]] = {
    kind.code: kind
    for kind in (
        PromptTooLong,
        BadGrammar,
        UnknownModel,
        UnknownSession,
        BodyTooLarge,
        QueueFull,
        EngineUnavailable,
        EngineFailed,
        ContentRefused,
    )
}
_BY_STATUS: dict[int, type[EngineError]] = {
    **dict.fromkeys((401, 402, 403), EngineRefused),
    **dict.fromkeys((301, 302, 303, 307, 308), EngineRefused),  # the address is another one
    404: UnknownModel,
    **dict.fromkeys((408, 425), EngineUnavailable),
    413: BodyTooLarge,
    429: QueueFull,
    529: QueueFull,  # Anthropic: overloaded
    **dict.fromkeys((502, 503, 504, *range(520, 528), 530), EngineUnavailable),
}


@dataclass(slots=True)
class _Problem:
    """What an error answer says, whatever its form."""

    message: str
    codes: list[str] = field(default_factory=list)  # in lower case
    code: str = ""  # the first one, as written
    param: str | None = None
    status: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def json_of(body: bytes) -> Any:
    """The body's JSON, None if it has none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> EngineError:
    """The error that an HTTP answer means. A known code or wording counts more than the status."""
    problem = _problem(json_of(body), is_answer=True)
    if problem is None:
        page = body[:PAGE_CHARACTERS_MAX].decode(errors="replace")
        problem = _Problem(f"HTTP {status}: {page}")
        if 300 <= status < 400 and headers.get("location"):
            problem.message = f"HTTP {status}: the address is now {headers['location']}"
    return _made(problem, status, headers)


def error_of(value: Any, *, is_event_error: bool = False) -> EngineError | None:
    """The error in the JSON of an event; None if it has none.

    is_event_error: the event says that it is one.
    """
    problem = _problem(value, is_answer=is_event_error)
    if problem is None and is_event_error:
        problem = _Problem("The engine gave no reason")
    return None if problem is None else _made(problem, problem.status or _status(problem), {})


def _status(problem: _Problem) -> int:
    """The status of an error that names none: 400 where it tells whose fault it is."""
    return 500 if _kind(problem, 400) is InvalidRequest else 400


def web_page(body: str) -> EngineError:
    """The error of an answer with status 200 that is a web page: another server has answered."""
    title = re.search(r"<title[^>]*>([^<]{1,200})", body, re.IGNORECASE)
    named = f" titled {title[1].strip()!r}" if title else ""
    return EngineRefused(
        f"The engine's address answers with a web page{named} and not with an answer"
    )


def _problem(value: Any, *, is_answer: bool) -> _Problem | None:
    """The problem that JSON describes; None if it describes none.

    is_answer: the JSON is known to be an error, so a bare message counts as well.
    """
    if isinstance(value, list):  # Gemini wraps its errors
        value = value[0] if len(value) == 1 else None
    if not isinstance(value, dict):
        return None
    error = value.get("error") or _inner_error(value)
    is_error = value.get("object") == "error" or value.get("type") == "error"
    if not error and isinstance(value.get("errors"), list) and value["errors"]:
        error = value["errors"][0]
    if not error and "choices" not in value and (is_answer or is_error):
        error = value if _words_of(value) else value.get("detail")
        error = {"message": json.dumps(error)} if isinstance(error, list) else error
    if isinstance(error, list) and all(isinstance(one, str) for one in error):
        error = "; ".join(error)
    if isinstance(error, str):
        error = {"message": error, "code": value.get("error_type") or value.get("code")}
    if not isinstance(error, dict):
        return None
    return _read(error)


def _inner_error(value: Mapping[str, Any]) -> Any:
    """An error inside something else: of a choice, or in a field of an engine's own."""
    choices, groq, base = value.get("choices"), value.get("x_groq"), value.get("base_resp")
    first = choices[0] if isinstance(choices, list) and choices else None
    for holder in (first, groq):
        if isinstance(holder, dict) and holder.get("error"):
            return holder["error"]
    is_failure = isinstance(base, dict) and base.get("status_code") not in (None, 0)
    return base if is_failure else None  # MiniMax


def _words_of(error: Mapping[str, Any]) -> str:
    return next((str(error[name]) for name in _WORDS_FIELDS if error.get(name)), "")


def _read(error: Mapping[str, Any]) -> _Problem:
    message = _words_of(error) or "The engine gave no reason"
    inner, metadata = error.get("innererror"), error.get("metadata")
    named = [error.get(name) for name in ("code", "type", "status")]
    if isinstance(inner, dict):  # Azure
        named.append(inner.get("code"))
    if isinstance(metadata, dict) and isinstance(metadata.get("raw"), str):  # OpenRouter
        message = f"{message}: {metadata['raw']}"
    code, param = error.get("code"), error.get("param")
    return _Problem(
        message=message,
        codes=[one.lower() for one in named if isinstance(one, str)],
        code=code if isinstance(code, str) else "",
        param=param if isinstance(param, str) else None,
        status=code if isinstance(code, int) and 300 <= code < 600 else None,
        fields=error,
    )


def _made(problem: _Problem, status: int, headers: Mapping[str, str]) -> EngineError:
    kind = _kind(problem, status)
    if kind is EngineRefused and status == 429 and headers.get("retry-after"):
        kind = QueueFull  # it says itself that waiting helps
    message = problem.message[:MESSAGE_CHARACTERS_MAX]
    error: EngineError
    if issubclass(kind, QueueFull):
        said = waiting_s(problem.message, problem.fields)
        error = kind(message, retry_after_s=said or _retry_after_s(headers))
    else:
        param = problem.param or ""
        error = kind(message, param=param if _NAME.fullmatch(param) else None)
        if isinstance(error, EngineUnavailable) and headers.get("retry-after"):
            error.retry_after_s = _retry_after_s(headers)
    if isinstance(error, PromptTooLong):  # it has one code, whatever each engine calls it
        error.prompt_tokens, error.limit_tokens = token_counts(problem.message, problem.fields)
    elif _NAME.fullmatch(problem.code):
        error.code = problem.code
    error.answered_status = status
    return error


def _kind(problem: _Problem, status: int) -> type[EngineError]:
    ours = next((_OURS[code] for code in problem.codes if code in _OURS), None)
    if ours is not None:
        return ours
    for meaning in MEANINGS:
        if 400 <= status <= 500 and not meaning.codes.isdisjoint(problem.codes):
            return meaning.kind
        if status in meaning.statuses and meaning.words.search(problem.message):
            return meaning.kind
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return InvalidRequest if 400 <= status < 500 else EngineFailed


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds from a Retry-After header, which may be a date; nonsense counts as one second."""
    header = headers.get("retry-after", "")
    try:
        milliseconds = headers.get("retry-after-ms")
        seconds = float(milliseconds) / 1000 if milliseconds else float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return 1.0
        seconds = max(seconds, 1.0)
    return min(seconds, RETRY_AFTER_S_MAX) if seconds >= 0 else 1.0
