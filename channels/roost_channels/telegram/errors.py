"""Every failure of the Bot API, of aiogram and of the network, read in one place."""

import re

from aiogram.exceptions import (
    AiogramError,
    ClientDecodeError,
    TelegramAPIError,
    TelegramConflictError,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiohttp import ClientConnectorError, ConnectionTimeoutError

from roost_channels.errors import (
    Ambiguous,
    AuthBroken,
    ChatMigrated,
    DeliveryError,
    EditTargetMissing,
    NotModified,
    NotSent,
    Rejected,
    RenderRejected,
    Throttled,
    Unreachable,
)

# What a description means, first match wins; matched without regard to case.
_MEANINGS: tuple[tuple[str, type[DeliveryError], str], ...] = (
    ("message is not modified", NotModified, ""),
    ("message to edit not found", EditTargetMissing, "gone"),
    ("message to delete not found", EditTargetMissing, "gone"),
    ("message can't be edited", EditTargetMissing, "fixed"),
    ("message can't be deleted", EditTargetMissing, "fixed"),
    ("message_id_invalid", EditTargetMissing, "gone"),
    ("quote_text_invalid", RenderRejected, "quote"),
    ("message to be replied not found", RenderRejected, "reply"),
    ("replied message not found", RenderRejected, "reply"),
    ("reply_message_id_invalid", RenderRejected, "reply"),
    ("can't parse entities", RenderRejected, "markup"),
    ("can't parse reply", RenderRejected, "reply"),
    ("entit", RenderRejected, "markup"),
    ("chat not found", Unreachable, ""),
    ("message thread not found", Unreachable, "thread"),
    ("user not found", Unreachable, ""),
    ("user is deactivated", Unreachable, ""),
    ("peer_id_invalid", Unreachable, ""),
    ("not enough rights", Unreachable, ""),
    ("have no rights", Unreachable, ""),
    ("chat_write_forbidden", Unreachable, ""),
    ("need administrator rights", Unreachable, ""),
    ("bot was blocked", Unreachable, ""),
    ("bot was kicked", Unreachable, ""),
)
_RETRY_AFTER = re.compile(r"retry after (\d+)", re.IGNORECASE)
DEFAULT_RETRY_AFTER_S = 5.0


def translate(error: Exception, *, repeatable: bool = False) -> DeliveryError:
    """The DeliveryError that an exception of a call means.

    repeatable: the call changes nothing if made twice (edits, deletions, readings), so that an
    unknown outcome is as good as none.
    """
    unknown: type[DeliveryError] = NotSent if repeatable else Ambiguous
    match error:
        case TelegramRetryAfter():
            return Throttled(float(error.retry_after), error.message)
        case TelegramMigrateToChat():
            return ChatMigrated(str(error.migrate_to_chat_id), error.message)
        case TelegramEntityTooLarge():
            return Rejected(error.message, code="413", http_status=413)
        case TelegramNetworkError():
            cause = error.__cause__
            if isinstance(cause, (ClientConnectorError, ConnectionTimeoutError)):
                return NotSent(error.message, code="connect")
            return unknown(error.message, code="network")
        case ClientDecodeError():
            # A gateway's HTML page, or half an answer: the request may have been worked on.
            return unknown(f"answer could not be read: {error.message}", code="decode")
        case TelegramServerError():
            return unknown(error.message, code="5xx", http_status=500)
        case TelegramUnauthorizedError():
            return AuthBroken(error.message, code="401", http_status=401)
        case TelegramConflictError():
            return NotSent(error.message, code="409", http_status=409)
        case TelegramAPIError():
            return _by_description(error)
        case AiogramError() | OSError() | TimeoutError():
            return unknown(str(error) or type(error).__name__, code="client")
    raise error


def _by_description(error: TelegramAPIError) -> DeliveryError:
    """By the server's words, which also serves servers that answer errors with HTTP 200."""
    text = error.message
    lowered = text.lower()
    if "too many requests" in lowered:
        found = _RETRY_AFTER.search(text)
        return Throttled(float(found.group(1)) if found else DEFAULT_RETRY_AFTER_S, text)
    for words, kind, code in _MEANINGS:
        if words in lowered:
            return kind(text, code=code, http_status=400)
    if isinstance(error, TelegramForbiddenError) or lowered.startswith("forbidden"):
        return Unreachable(text, code="403", http_status=403)
    if lowered.startswith("unauthorized"):
        return AuthBroken(text, code="401", http_status=401)
    if lowered.startswith("conflict"):
        return NotSent(text, code="409", http_status=409)
    if isinstance(error, TelegramNotFound) and "method" not in lowered:
        # A token of the wrong shape is no address of the API at all.
        return AuthBroken(text, code="404", http_status=404)
    return Rejected(text, http_status=400)
