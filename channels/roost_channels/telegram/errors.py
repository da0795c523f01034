"""What every failure of the Bot API and of the network means."""

import re
from typing import Any

import httpx2

from roost_channels.errors import (
    DEFAULT_RETRY_AFTER_S,
    THREAD_GONE,
    TOO_LARGE,
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
    ("reply_message_id_invalid", RenderRejected, "reply"),
    ("reply_to_invalid", RenderRejected, "reply"),
    ("message_id_invalid", EditTargetMissing, "gone"),
    ("quote_text_invalid", RenderRejected, "quote"),
    ("quote_too_long", RenderRejected, "quote"),
    ("quote not found", RenderRejected, "quote"),
    ("message to be replied not found", RenderRejected, "reply"),
    ("replied message not found", RenderRejected, "reply"),
    ("can't parse entities", RenderRejected, "markup"),
    ("can't parse reply", RenderRejected, "reply"),
    ("entit", RenderRejected, "markup"),
    ("photo_invalid_dimensions", RenderRejected, "media"),
    ("image_process_failed", RenderRejected, "media"),
    ("photo_save_file_invalid", RenderRejected, "media"),
    ("voice_messages_forbidden", RenderRejected, "media"),
    ("file is too big", Rejected, TOO_LARGE),
    ("chat not found", Unreachable, ""),
    ("message thread not found", Unreachable, THREAD_GONE),
    ("topic_closed", Unreachable, THREAD_GONE),
    ("topic_deleted", Unreachable, THREAD_GONE),
    ("topic_id_invalid", Unreachable, THREAD_GONE),
    ("thread_invalid", Unreachable, THREAD_GONE),
    ("user not found", Unreachable, ""),
    ("user is deactivated", Unreachable, ""),
    ("peer_id_invalid", Unreachable, ""),
    ("not enough rights", Unreachable, ""),
    ("have no rights", Unreachable, ""),
    ("chat_write_forbidden", Unreachable, ""),
    ("chat_send_plain_forbidden", Unreachable, ""),
    ("chat_restricted", Unreachable, ""),
    ("user_is_blocked", Unreachable, ""),
    ("user_banned_in_channel", Unreachable, ""),
    ("user_deactivated", Unreachable, ""),
    ("payment_required", Unreachable, ""),
    ("premium_required", Unreachable, ""),
    ("need administrator rights", Unreachable, ""),
    ("bot was blocked", Unreachable, ""),
    ("bot was kicked", Unreachable, ""),
)
# Slow mode and floods come in words of Telegram's core, too: SLOWMODE_WAIT_5, FLOOD_WAIT_30.
_RETRY_AFTER = re.compile(r"(?:retry after |_WAIT_)(\d{1,6})", re.IGNORECASE)
# Nothing left us: no connection was made.
_UNSENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.UnsupportedProtocol,
)


def unanswered(error: Exception) -> DeliveryError:
    """What a transport's failure means: not sent where no connection was made, else in doubt."""
    words = str(error) or type(error).__name__
    if isinstance(error, _UNSENT):
        return NotSent(words, code="connect")
    return Ambiguous(words, code="network")


def refused(status: int, answer: Any) -> DeliveryError:
    """What an answer other than a success means.

    answer: the decoded body, None if it could not be read. The server's words decide before the
    HTTP status, which also serves servers that answer errors with 200.
    """
    if not isinstance(answer, dict) or "description" not in answer:
        # A gateway's HTML page, or half an answer: the request may have been worked on.
        if status == 413:
            return Rejected("Request Entity Too Large", code="413", http_status=status)
        return Ambiguous(f"HTTP {status}: answer could not be read", code="decode")
    text = str(answer["description"])
    code = answer.get("error_code")
    code = code if isinstance(code, int) else status
    parameters = answer.get("parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    if "migrate_to_chat_id" in parameters:
        return ChatMigrated(str(parameters["migrate_to_chat_id"]), text)
    is_flood = "too many requests" in text.lower() or _RETRY_AFTER.search(text)
    if code == 429 or "retry_after" in parameters or is_flood:
        return Throttled(_retry_after(parameters, text), text)
    if code >= 500:
        return Ambiguous(text, code="5xx", http_status=code)
    return _by_description(code, text)


def _by_description(code: int, text: str) -> DeliveryError:
    lowered = text.lower()
    if code == 413:
        return Rejected(text, code="413", http_status=413)
    for words, kind, meaning in _MEANINGS:
        if words in lowered:
            return kind(text, code=meaning, http_status=code)
    if code == 403 or lowered.startswith("forbidden"):
        return Unreachable(text, code="403", http_status=403)
    if code == 401 or lowered.startswith("unauthorized"):
        return AuthBroken(text, code="401", http_status=401)
    if code == 409 or lowered.startswith("conflict"):
        return NotSent(text, code="409", http_status=409)
    if code == 404 and "method" not in lowered:
        # A token of the wrong shape is not an address of the API.
        return AuthBroken(text, code="404", http_status=404)
    return Rejected(text, http_status=code)


def _retry_after(parameters: dict[str, Any], text: str) -> float:
    wait_s = parameters.get("retry_after")
    if isinstance(wait_s, int | float):
        return float(wait_s)
    match = _RETRY_AFTER.search(text)
    return float(match.group(1)) if match else DEFAULT_RETRY_AFTER_S
