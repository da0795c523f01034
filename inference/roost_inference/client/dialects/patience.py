"""How long an engine asks to be left alone, where it says so in the body of its refusal."""

import re
from collections.abc import Mapping
from typing import Any, Final

RETRY_AFTER_S_MAX: Final = 300.0
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIME: Final = (
    r"\d{1,6}(?:\.\d{1,9})?\s?"
    r"(?:milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h)"
)
# Groq writes 5m45.6s, Azure "12 seconds".
_WAIT: Final = re.compile(
    rf"\b(?:retry|again|wait)\b.{{0,20}}?({_TIME}(?:\s?{_TIME}){{0,2}})(?![a-z])", re.IGNORECASE
)
_PART: Final = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)\s?(ms|milli|s|m|h)", re.IGNORECASE)


def waiting_s(message: str, fields: Mapping[str, Any]) -> float:
    """Seconds to wait by the words of an error, or by Google's RetryInfo in it; 0 where neither
    says.
    """
    details = fields.get("details")
    for one in details if isinstance(details, list) else ():
        delay = one.get("retryDelay") if isinstance(one, Mapping) else None
        if isinstance(delay, str) and (seconds := _seconds(delay)):
            return seconds
    found = _WAIT.search(message[:2000])
    return _seconds(found[1]) if found else 0.0


def _seconds(words: str) -> float:
    total = 0.0
    for number, unit in _PART.findall(words):
        name = "ms" if unit.lower() == "milli" else unit.lower()
        total += float(number) * _UNITS[name]
    return min(total, RETRY_AFTER_S_MAX)
