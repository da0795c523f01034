"""Why a send did not succeed.

DeliveryError
├── Throttled          retryable after `retry_after_s`; nothing was sent
├── NotSent            retryable; provably nothing was sent (DNS, connect, TLS, 5xx before
│                      processing)
├── Ambiguous          not retryable blindly: the request left and no proof of either outcome came
│                      back
├── RenderRejected     retryable with a plainer rendering: markup, quote or reply target was refused
├── NotModified        success of an edit: the message already reads so
├── EditTargetMissing  not retryable: the message to edit is gone or can't be edited
├── WindowClosed       retryable on the next inbound: free-form text is not allowed now
├── ChatMigrated       retryable at `new_chat`
├── Unreachable        not retryable: blocked, kicked, deactivated, not found, opted out
├── Rejected           not retryable: the provider refuses this message
└── AuthBroken         not retryable: the account's credentials fail; the adapter stops and alerts
"""

import re
from dataclasses import dataclass
from typing import Any, Final

_CODE: Final = re.compile(r"-?\d{1,9}", re.ASCII)


def code_number(code: Any) -> int | None:
    """A provider's error code as a number; None for what is none."""
    text = str(code)
    return int(text) if _CODE.fullmatch(text) else None


class DeliveryError(Exception):
    """A physical send or edit failed."""

    def __init__(self, description: str = "", *, code: str = "", http_status: int = 0) -> None:
        super().__init__(description or (self.__doc__ or "").strip())
        self.description = description
        self.code = code
        self.http_status = http_status


# The code of a refusal because of a file's size.
TOO_LARGE = "too_large"
# The code of a chat that is there while the thread in it is gone or closed.
THREAD_GONE = "thread"
# How long to wait where a provider asks for it and names no time.
DEFAULT_RETRY_AFTER_S = 5.0


class Throttled(DeliveryError):
    """The provider asks us to wait: in this chat, or with everything of this account."""

    def __init__(
        self,
        retry_after_s: float,
        description: str = "",
        *,
        code: str = "",
        http_status: int = 429,
        is_account_wide: bool = False,
    ) -> None:
        super().__init__(description, code=code, http_status=http_status)
        self.retry_after_s = retry_after_s
        self.is_account_wide = is_account_wide


class NotSent(DeliveryError):
    """Nothing was sent; trying again is safe."""


class Ambiguous(DeliveryError):
    """The request left and its outcome is unknown."""


class RenderRejected(DeliveryError):
    """The provider refused the markup, the quote or the reply target."""


class NotModified(DeliveryError):
    """The message has this content already."""


class EditTargetMissing(DeliveryError):
    """The message to edit is gone or can't be edited."""


class WindowClosed(DeliveryError):
    """Free-form messages are not allowed to this person now."""


class ChatMigrated(DeliveryError):
    """The chat has a new id."""

    def __init__(self, new_chat: str, description: str = "") -> None:
        super().__init__(description, http_status=400)
        self.new_chat = new_chat


class Unreachable(DeliveryError):
    """This person can't be reached."""


class Rejected(DeliveryError):
    """The provider refuses this message."""


class AuthBroken(DeliveryError):
    """The account's credentials are refused."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, as it is stored: words for people, and what the provider answered.

    code: the provider's or ours; empty if there is none. http_status: 0 if no answer came.
    """

    error: str = ""
    code: str = ""
    http_status: int = 0


def failure_of(error: DeliveryError | str) -> Failure:
    """The failure that an error describes; words alone came with no answer of the provider."""
    if isinstance(error, str):
        return Failure(error)
    return Failure(str(error), error.code, error.http_status)
