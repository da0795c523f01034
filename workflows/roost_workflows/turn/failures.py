"""What an engine's error and a fault of our own mean to Temporal, and in operators' words."""

import traceback
from datetime import timedelta
from typing import Final, TypeGuard

from temporalio.exceptions import ApplicationError

from roost.errors import RoostError
from roost_inference.client.assembly import AnswerUnfinished
from roost_inference.errors import (
    BodyTooLarge,
    ContentRefused,
    EngineError,
    EngineRefused,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
    UnknownModel,
)
from roost_workflows.errors import TurnOver
from roost_workflows.policies import (
    ENGINE_FAILURES_MAX,
    ENGINE_RETRY_MAX_S,
    ENGINE_RETRY_S,
    INTERNAL_FAILURES_MAX,
)

# Faults of code, ours or an agent's: trying again rarely helps. Storage that is away raises others.
PROGRAMMING: Final = (
    TypeError,
    AttributeError,
    NameError,
    LookupError,
    ValueError,
    AssertionError,
    ArithmeticError,
    RecursionError,
    NotImplementedError,
    ImportError,
    SyntaxError,
    RoostError,
)


def internal_failure(error: Exception, attempt: int) -> ApplicationError:
    """An unexpected error for Temporal: its type alone, and whether to try again. Its text may
    quote people.
    """
    is_code = isinstance(error, PROGRAMMING) and attempt >= INTERNAL_FAILURES_MAX
    final = is_code or isinstance(error, TurnOver)
    return ApplicationError(type(error).__name__, type="internal", non_retryable=final)


def trace_of(error: BaseException) -> str:
    """The error as operators read it, with where it was raised."""
    return "".join(traceback.format_exception(error)).strip()


def engine_words(error: EngineError) -> str:
    """The engine's own words, as operators read them."""
    status = "" if error.answered_status is None else f"HTTP {error.answered_status}: "
    has_status = error.message.startswith(status)
    return f"{type(error).__name__}: {'' if has_status else status}{error.message}"


def engine_failure(error: EngineError, attempt: int) -> ApplicationError:
    """An engine's error for Temporal: its code, and whether and when to try again."""
    delay: timedelta | None = None
    final = not error.retryable
    if isinstance(error, PromptTooLong | BodyTooLarge):
        code = "too_long"
    elif isinstance(error, EngineRefused | UnknownModel):
        code = "engine_refused"
    elif isinstance(error, ContentRefused):
        code = "content_refused"
    elif isinstance(error, InvalidRequest):
        code = "refused"
    elif isinstance(error, QueueFull):
        # As long as after other failures, too, or a quota of a minute would use up all attempts.
        least_s = min(ENGINE_RETRY_S * 2.0 ** min(attempt - 1, 10), ENGINE_RETRY_MAX_S)
        delay = timedelta(seconds=max(error.retry_after_s, least_s))
        code = "queue_full"
    elif isinstance(error, EngineUnavailable):
        code = "engine_unavailable"
    else:
        code, final = "engine_failed", final or attempt >= ENGINE_FAILURES_MAX
    return ApplicationError(code, type=code, non_retryable=final, next_retry_delay=delay)


def is_taken(error: EngineError, attempt: int) -> TypeGuard[AnswerUnfinished]:
    """Whether an answer without an end is taken as it is: the engine sends no other."""
    return (
        isinstance(error, AnswerUnfinished)
        and attempt >= ENGINE_FAILURES_MAX
        and bool(error.completed.text.strip())
    )
