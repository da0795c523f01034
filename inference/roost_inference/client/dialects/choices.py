"""One choice of a chunk: what it says and why it ended, whatever the engine leaves in it."""

from collections.abc import Mapping
from typing import Any, Final

_NO_REASON: Final = frozenset({"null", "none"})


def message_of(choice: Mapping[str, Any], *, has_content: bool) -> Any:
    """The delta, or the whole message of an engine that sends no deltas.

    has_content: something came before. Then a message beside an empty delta is all of it again.
    """
    delta = choice.get("delta")
    if delta or (has_content and "delta" in choice):
        return delta or {}
    return choice.get("message") or {}


def reason_of(choice: Mapping[str, Any]) -> str:
    """Why the answer ended, in the engine's words; empty where it has not, or does not say."""
    # Gemini's own name of the field, which it leaves in the last chunk.
    reason = str(choice.get("finish_reason") or choice.get("finishReason") or "")
    # Gemini: "function_call_filter: MALFORMED_FUNCTION_CALL".
    return "" if reason.lower() in _NO_REASON else reason.rpartition(": ")[2]
