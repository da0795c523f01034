"""What the Graph API's error codes mean for a delivery; the same for answers and for receipts."""

from collections.abc import Mapping
from typing import Any

from roost_channels.errors import (
    DEFAULT_RETRY_AFTER_S,
    Ambiguous,
    AuthBroken,
    DeliveryError,
    NotSent,
    Rejected,
    Throttled,
    Unreachable,
    WindowClosed,
    code_number,
)

# A pair of business and person may exchange one message in six seconds after a burst.
PAIR_RETRY_AFTER_S = 6.0
PAIR_LIMIT = 131056
# A wrong value among the parameters, such as a message to reply to that is not there.
BAD_PARAMETER = ("100", "131009")

_WINDOW = {131047}
_THROTTLED = {4, 80007, 130429, 131048, PAIR_LIMIT, 131057, 133016}
# Too many requests of the number or the account, whoever they are for.
_ACCOUNT_WIDE = {4, 80007, 130429, 131048, 131057}
_UNREACHABLE = {130472, 130497, 131021, 131026, 131030, 131049, 131050, 131062}
# The token, the permissions, the bill, or the account itself: nothing is sent until it is mended.
_AUTH = {0, 3, 10, 190, 368, 131005, 131031, 131042, 133010}
_PERMISSIONS = range(200, 300)
# A subcode of 100: there is no such number, or the token may not use it.
_NO_OBJECT = 33
_DOWN = {2, 131016, 133004}


def by_code(code: Any, words: str, status: int = 0, retry_after_s: float = 0.0) -> DeliveryError:
    """Return the meaning of a code; one without a meaning of its own is a final refusal."""
    number = code_number(code)
    known = str(code if code is not None else "")
    if number in _WINDOW:
        return WindowClosed(words, code=known, http_status=status)
    if number in _THROTTLED:
        least = PAIR_RETRY_AFTER_S if number == PAIR_LIMIT else DEFAULT_RETRY_AFTER_S
        return Throttled(
            retry_after_s or least,
            words,
            code=known,
            http_status=status,
            is_account_wide=number in _ACCOUNT_WIDE,
        )
    if number in _UNREACHABLE:
        return Unreachable(words, code=known, http_status=status)
    if number in _AUTH or number in _PERMISSIONS:
        return AuthBroken(words, code=known, http_status=status)
    return Rejected(words, code=known, http_status=status)


def refusal(
    status: int, body: Any, headers: Mapping[str, str], *, repeatable: bool
) -> DeliveryError:
    """Return what an answer other than a success means."""
    error = body.get("error") if isinstance(body, dict) else None
    known: Mapping[str, Any] = error if isinstance(error, dict) else {}
    code = known.get("code")
    words = _words(known) or f"HTTP {status}"
    retry_after_s = _retry_after(headers)
    # A question may be about a file that is gone.
    if not repeatable and code == 100 and known.get("error_subcode") == _NO_OBJECT:
        return AuthBroken(words, code="100", http_status=status)
    error = by_code(code, words, status, retry_after_s)
    if not isinstance(error, Rejected):
        return error
    if code in _DOWN:
        return NotSent(words, code=str(code), http_status=status)
    if status == 429:
        wait_s = retry_after_s or DEFAULT_RETRY_AFTER_S
        return Throttled(
            wait_s, words, code=str(code or ""), http_status=status, is_account_wide=True
        )
    if status in (401, 403):
        return AuthBroken(words, code=str(code or ""), http_status=status)
    if status >= 500 or status < 300:
        kind = NotSent if repeatable else Ambiguous
        return kind(words, code=str(code or ""), http_status=status)
    return error


def _words(error: Mapping[str, Any]) -> str:
    """Return the message and its details."""
    data = error.get("error_data")
    details = data.get("details") if isinstance(data, dict) else ""
    return ": ".join(str(text) for text in (error.get("message"), details) if text)


def _retry_after(headers: Mapping[str, str]) -> float:
    wait = headers.get("Retry-After", "")
    return float(wait) if wait.replace(".", "", 1).isdecimal() else 0.0
