"""What engines mean by their errors: one table of codes and words, for all of them."""

import re
from dataclasses import dataclass
from typing import Final

from roost_inference.client.dialects.too_long import REQUEST_TOO_LARGE, TOO_LONG, TOO_LONG_CODES
from roost_inference.errors import (
    ContentRefused,
    EngineError,
    EngineRefused,
    PromptTooLong,
    QueueFull,
    UnknownModel,
)

BAD: Final = frozenset({400, 413, 422})  # whose words are read, beside those of each row
FAILED: Final = frozenset({500})


@dataclass(frozen=True)
class Meaning:
    """One row: an error of `statuses` that has one of these codes or words means `kind`.

    A code counts for every status from 400 to 500.
    """

    kind: type[EngineError]
    codes: frozenset[str]
    words: re.Pattern[str]
    statuses: frozenset[int] = BAD


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


# The first row that fits counts. Codes are compared in lower case.
MEANINGS: Final = (
    Meaning(PromptTooLong, TOO_LONG_CODES, TOO_LONG, BAD | FAILED),
    # OpenAI and Groq: one request above the tokens of a minute would be refused for ever.
    Meaning(PromptTooLong, frozenset(), REQUEST_TOO_LARGE, frozenset({413, 429})),
    Meaning(
        ContentRefused,
        frozenset(
            {
                "content_filter",
                "content_policy_violation",
                "responsibleaipolicyviolation",
                "data_inspection_failed",
                "moderation_blocked",
                "prohibited_content",
            }
        ),
        _words(
            r"content (management )?policy|content filter|requires moderation|was flagged",
            r"safety system|inappropriate content|usage polic(y|ies)|content exists risk",
        ),
        frozenset({400, 403, 422, 451}),
    ),
    Meaning(
        EngineRefused,
        frozenset(
            {
                "invalid_api_key",
                "api_key_invalid",
                "invalidapikey",
                "authentication_error",
                "permission_error",
                "permission_denied",
                "unauthenticated",
                "insufficient_quota",
                "insufficient_balance",
                "billing_error",
                "billing_not_active",
                "billing_hard_limit_reached",
                "account_deactivated",
            }
        ),
        _words(
            r"api[ _-]?key (is )?(not valid|invalid|incorrect|missing|expired|required)",
            r"(invalid|incorrect|missing|expired|no) (or missing )?api[ _-]?key|unauthori[sz]ed",
            r"credit balance is too low|insufficient (balance|quota|credits?|funds)",
            r"payment required|account (is |has been )?(deactivated|suspended|disabled)",
            r"authentication (error|failed)|(location|country|region)\b.{0,30} not supported",
        ),
        frozenset({400, 422}),
    ),
    Meaning(
        UnknownModel,
        frozenset({"model_not_found", "deploymentnotfound", "model_not_exist", "invalid_model"}),
        _words(
            r"\bmodel\b[^.]{0,120}(does not exist|doesn't exist|not exist|not found|not supported)",
            r"(not a valid|invalid|unknown|unsupported|no such) model",
            r"does not support (tools?|function|chat)|tool choice requires",  # Ollama, vLLM
        ),
        frozenset({400, 422}),
    ),
    Meaning(
        QueueFull,
        frozenset({"overloaded_error", "rate_limit_exceeded", "rate_limit_error"}),
        _words(r"(?!)"),
    ),
)
