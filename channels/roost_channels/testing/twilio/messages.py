"""The Messages resource: create, fetch, list, redact and cancel."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from multidict import MultiMapping

from roost_channels.http.bodies import parse_json
from roost_channels.testing.twilio.content import fits_session, is_approved, render_content
from roost_channels.testing.twilio.errors import TwilioError, not_found
from roost_channels.testing.twilio.state import (
    API_VERSION,
    TextMessage,
    TwilioCore,
    new_sid,
)

BODY_MAX = 1600
MEDIA_MAX = 1
INVALID_CONTENT = 63021
PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1000
_PHONE = re.compile(r"whatsapp:\+[1-9]\d{6,14}")
_BSUID = re.compile(r"whatsapp:[A-Z]{2}\.[A-Za-z0-9]{1,128}")
_URL = re.compile(r"https?://[^\s/]+(/\S*)?")


def create_message(core: TwilioCore, form: MultiMapping[str]) -> TextMessage:
    """Check a request as the API does and store the message."""
    to, from_ = form.get("To", ""), form.get("From", "")
    service = form.get("MessagingServiceSid", "")
    if not to:
        raise TwilioError(400, 21604)
    if not from_ and not service:
        raise TwilioError(400, 21603)
    _check_addresses(core, to, from_ or core.settings.sender)
    callback = form.get("StatusCallback", "")
    if callback and not _URL.fullmatch(callback):
        raise TwilioError(400, 21609, callback)
    if core.user(to).has_blocked:
        raise TwilioError(400, 21610)
    message = TextMessage(
        new_sid("SM"),
        False,
        core.user(to).address,
        form.get("Body", ""),
        core.now(),
        "accepted" if service else "queued",
        from_=from_ or core.settings.sender,
        to=to,
        messaging_service_sid=service or None,
        media_urls=list(form.getall("MediaUrl", [])),
        status_callback=callback,
    )
    content_sid = form.get("ContentSid", "")
    if content_sid:
        _apply_content(core, message, content_sid, form.get("ContentVariables", ""))
    if not message.body and not message.media_urls:
        raise TwilioError(400, 21619)
    if len(message.body) > BODY_MAX:
        raise TwilioError(400, 21617)
    if len(message.media_urls) > MEDIA_MAX:
        raise TwilioError(400, 21623)
    if message.media_urls:
        message.id = "MM" + message.id[2:]
    core.store(message)
    return message


def _check_addresses(core: TwilioCore, to: str, from_: str) -> None:
    if from_ != core.settings.sender:
        raise TwilioError(400, 63007)
    if not to.startswith("whatsapp:"):
        raise TwilioError(400, 21910)
    if not _PHONE.fullmatch(to) and not _BSUID.fullmatch(to):
        raise TwilioError(400, 21211, to)


def _apply_content(core: TwilioCore, message: TextMessage, sid: str, variables: str) -> None:
    content = core.contents.get(sid)
    if content is None:
        raise TwilioError(400, 21655)
    try:
        values = parse_json(variables) if variables else {}
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise TwilioError(400, 21656)
    rendered = render_content(content, values)
    message.body, message.buttons, message.is_list = rendered
    message.is_template = is_approved(content)
    media = content["types"].get("twilio/media", {}).get("media") or []
    message.media_urls += [str(url) for url in media]
    if not fits_session(content):
        message.content_error = INVALID_CONTENT


def find_message(core: TwilioCore, sid: str) -> TextMessage:
    """The message with that SID; TwilioError 20404 when there is none."""
    message = core.messages.get(sid)
    if message is None:
        raise not_found(f"/{API_VERSION}/Accounts/{core.settings.account_sid}/Messages/{sid}.json")
    return message


def update_message(core: TwilioCore, sid: str, form: Mapping[str, str]) -> TextMessage:
    """Redact a message (`Body=`), or cancel one that was not sent yet (`Status=canceled`)."""
    message = find_message(core, sid)
    if form.get("Body") == "":
        message.body = ""
    if form.get("Status") == "canceled" and message.status in ("queued", "accepted"):
        message.status = "canceled"
    message.updated_at = core.now()
    return message


def list_messages(core: TwilioCore, query: Mapping[str, str]) -> dict[str, Any]:
    """Newest first, filtered by To, From and DateSent (`DateSent>`, `DateSent<`), in pages."""
    matches = [message for message in core.messages.values() if _matches(message, query)]
    matches.sort(key=lambda message: message.created_at, reverse=True)
    size = min(max(int(query.get("PageSize") or PAGE_SIZE_DEFAULT), 1), PAGE_SIZE_MAX)
    page = max(int(query.get("Page") or 0), 0)
    start = page * size
    shown = matches[start : start + size]
    path = f"/{API_VERSION}/Accounts/{core.settings.account_sid}/Messages.json"

    def uri(number: int) -> str:
        filters = {k: v for k, v in query.items() if k not in ("Page", "PageToken", "PageSize")}
        token = {"PageToken": f"PT{number}"} if number else {}
        pages = {"PageSize": str(size), "Page": str(number), **token}
        return f"{path}?{urlencode({**filters, **pages})}"

    more = start + size < len(matches)
    return {
        "messages": [core.message_json(message) for message in shown],
        "first_page_uri": uri(0),
        "previous_page_uri": uri(page - 1) if page else None,
        "next_page_uri": uri(page + 1) if more else None,
        "page": page,
        "page_size": size,
        "start": start,
        "end": start + max(len(shown) - 1, 0),
        "uri": uri(page),
    }


def _matches(message: TextMessage, query: Mapping[str, str]) -> bool:
    if query.get("To") and message.to != query["To"]:
        return False
    if query.get("From") and message.from_ != query["From"]:
        return False
    # A message that was not sent yet is listed by its creation time.
    at = message.sent_at if message.sent_at is not None else message.created_at
    if query.get("DateSent"):
        start, end = _moment(query["DateSent"])
        if not start <= at < end:
            return False
    if query.get("DateSent>") and at < _moment(query["DateSent>"])[0]:
        return False
    return not (query.get("DateSent<") and at >= _moment(query["DateSent<"])[1])


def _moment(value: str) -> tuple[float, float]:
    """The half-open range that a date or time means: its day at midnight, else its second."""
    length = 86400.0 if len(value) == 10 or "T00:00:00" in value else 1.0
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        raise TwilioError(400, 20001) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp(), moment.timestamp() + length
