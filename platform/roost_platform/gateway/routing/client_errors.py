"""What a client is told when every target has failed: whose fault it is, and no secret of ours.

What a provider says of itself may name its address, our account or another service. So its words
go to the log and to the page Models; the client reads ours. What it says of the request, such as
which field it refuses, is the client's to mend and stays, without the name of our account.
"""

import logging
import re
from typing import Final

from roost_inference.errors import (
    ContentRefused,
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineSilent,
    EngineUnavailable,
    InvalidRequest,
    QueueFull,
)
from roost_platform.gateway.errors import ProviderFailed, ProviderRefused, StreamBroken

LOGGED_CHARACTERS_MAX: Final = 500
# "Request too large for gpt-5 in organization org-…": OpenAI and Groq name the account.
_ACCOUNT: Final = re.compile(r"\b(?:org|proj)[-_][A-Za-z0-9]{12,}")

log = logging.getLogger(__name__)


def client_error(error: EngineError, *, has_begun: bool) -> EngineError:
    """The error as the client is told. has_begun: it has read a part of the answer."""
    is_of_request = isinstance(error, InvalidRequest) and not has_begun
    if is_of_request or isinstance(error, ContentRefused | StreamBroken):
        error.message = _ACCOUNT.sub("[account]", error.message)
        return error
    words = "" if _is_a_provider_s(error) else error.message
    if not words:
        log.warning("a provider failed: %s: %s", error.code, error.message[:LOGGED_CHARACTERS_MAX])
    if has_begun:
        return StreamBroken("The provider's answer broke off" + (words and f": {words}"))
    if isinstance(error, EngineRefused):
        return ProviderRefused("A provider refuses this gateway; its operator sees why")
    told = error if words else _in_our_words(error)
    if isinstance(error, EngineFailed) and error.http_status == 500:
        told = ProviderFailed(words or "The provider has failed")
        told.code = told.code if error.code == EngineFailed.code else error.code
    return told


def _in_our_words(error: EngineError) -> EngineError:
    """The same error with its code and its time to wait; codes are names and tell no more."""
    told: EngineError
    if isinstance(error, QueueFull):
        told = QueueFull("The provider has too many requests", retry_after_s=error.retry_after_s)
    else:
        told = unavailable = EngineUnavailable("The provider can't be reached, or is not ready")
        if isinstance(error, EngineUnavailable):
            unavailable.retry_after_s = error.retry_after_s
    told.code = error.code
    return told


def _is_a_provider_s(error: EngineError) -> bool:
    """Whether a provider, or the network to it, has written the words of this error."""
    if isinstance(error, InvalidRequest):
        return False
    if error.answered_status is not None or isinstance(error, EngineRefused):
        return True
    return isinstance(error, EngineUnavailable) and not isinstance(error, EngineSilent)
