"""Every failure of Twilio and of the network, read in one place."""

from collections.abc import Mapping
from typing import Any

import httpx2

from roost_channels.delivery.receipts import FAILED
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

# Twilio's error codes by what they mean for us; others are refusals.
_WINDOW = {63016}
_THROTTLED = {20429, 63018, 63017, 63038, 14107, 30001, 21611, 131056}
# Too many requests of the account, whoever they are for; the others are about one person.
_ACCOUNT_WIDE = {20429, 63017, 14107}
_UNREACHABLE = {21211, 21408, 21610, 21614, 63003, 63005, 63013, 63015, 63024, 63049}
# The credentials, or a sender that the account does not have: nothing is sent until it is mended.
_AUTH = {20003, 20005, 20006, 20008, 21212, 21606, 21659, 63001, 63007, 63020}
# Nothing left us: no connection was made.
_UNSENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
)


def unanswered(error: Exception, *, repeatable: bool = False) -> DeliveryError:
    """What a transport's failure means: not sent where no connection was made, else in doubt.

    repeatable: the call changes nothing when made twice, so that doubt is as good as not sent.
    """
    is_safe = repeatable or isinstance(error, _UNSENT)
    return (NotSent if is_safe else Ambiguous)(str(error) or type(error).__name__, code="network")


def refused(status: int, answer: Any, headers: Mapping[str, str]) -> DeliveryError:
    """What an answer other than a success means, by Twilio's code first, by HTTP status else.

    answer: the decoded body, None if it could not be read.
    """
    known = answer if isinstance(answer, dict) else {}
    code = known.get("code")
    words = str(known.get("message") or f"HTTP {status}")
    if error := by_code(code, words, status, _retry_after(headers)):
        return error
    if status == 429:
        return Throttled(
            _retry_after(headers),
            words,
            code=str(code or ""),
            http_status=status,
            is_account_wide=True,
        )
    if status in (401, 403):
        return AuthBroken(words, code=str(code or ""), http_status=status)
    if status >= 500 or status < 300:
        return Ambiguous(words, code=str(code or ""), http_status=status)
    return Rejected(words, code=str(code or ""), http_status=status)


def by_code(
    code: Any, words: str, status: int = 0, retry_after_s: float = DEFAULT_RETRY_AFTER_S
) -> DeliveryError | None:
    """The meaning of one of Twilio's error codes; None for those the HTTP status explains."""
    number = code_number(code)
    if number in _WINDOW:
        return WindowClosed(words, code=str(code), http_status=status)
    if number in _THROTTLED:
        return Throttled(
            retry_after_s,
            words,
            code=str(code),
            http_status=status,
            is_account_wide=number in _ACCOUNT_WIDE,
        )
    if number in _UNREACHABLE:
        return Unreachable(words, code=str(code), http_status=status)
    if number in _AUTH:
        return AuthBroken(words, code=str(code), http_status=status)
    return None


def failure(status: str, code: Any, words: str) -> DeliveryError | None:
    """Why an accepted message came to nothing; None for one that did not."""
    if status not in FAILED:
        return None
    return by_code(code, words) or Rejected(words, code=str(code or ""))


def _retry_after(headers: Mapping[str, str]) -> float:
    seconds = headers.get("Retry-After", "")
    return float(seconds) if seconds.replace(".", "", 1).isdecimal() else DEFAULT_RETRY_AFTER_S
