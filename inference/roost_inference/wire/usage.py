"""The `usage` of an answer, as OpenAI writes it."""

from typing import Any


def usage_of(prompt: int, written: int, *, cached: int, reasoning: int = 0) -> dict[str, Any]:
    """`usage` with all of its keys; all numbers are tokens. cached: of the prompt; reasoning: of
    what was written."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
