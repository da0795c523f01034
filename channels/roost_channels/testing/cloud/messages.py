"""Checks a POST to /messages as Meta does and makes the message."""

from collections.abc import Mapping
from typing import Any

from roost_channels.testing.cloud.errors import GraphError
from roost_channels.testing.cloud.state import (
    CloudCore,
    CloudMessage,
    business_scoped_id,
    new_wamid,
    wa_id,
)
from roost_channels.testing.whatsapp.state import WhatsAppUser

TEXT_MAX, CAPTION_MAX, INTERACTIVE_MAX = 4096, 1024, 1024
BUTTONS_MAX, TITLE_MAX, ID_MAX = 3, 20, 256
ROWS_MAX, ROW_TITLE_MAX, ROW_DESCRIPTION_MAX, ROW_ID_MAX = 10, 24, 72, 200
CALLBACK_DATA_MAX = 512
MEDIA = ("image", "document", "audio", "video", "sticker")

Choices = list[tuple[str, str]]


def handle_message_request(
    core: CloudCore, body: Any
) -> tuple[dict[str, Any], CloudMessage | None]:
    """Returns the response and the accepted message, or None for a read mark or a reaction."""
    if not isinstance(body, dict) or body.get("messaging_product") != "whatsapp":
        raise GraphError(100, "messaging_product must be whatsapp")
    if body.get("status") == "read":
        return _mark_read(core, body), None
    user, address = _recipient(core, body)
    kind = body.get("type", "text")
    content = body.get(kind)
    if kind == "reaction":
        return _react(core, user, address, content), None
    if not isinstance(content, dict):
        raise GraphError(131008, f"{kind} is missing")
    if not user.take_pair_token(core.settings.pair_limit, core.now()):
        raise GraphError(131056, "Too many messages sent to the same phone number.")
    message = _message(core, user, str(kind), content)
    message.reply_to = _context(body)
    message.callback_data = str(body.get("biz_opaque_callback_data") or "")
    if len(message.callback_data) > CALLBACK_DATA_MAX:
        raise GraphError(131009, "biz_opaque_callback_data is too long")
    core.store(message)
    return _accepted(user, address, message.id), message


def _recipient(core: CloudCore, body: Mapping[str, Any]) -> tuple[WhatsAppUser, str]:
    """The user and the address as written: `to` (a phone number), else `recipient` (an id)."""
    to, recipient = str(body.get("to") or ""), str(body.get("recipient") or "")
    if to:
        digits = to.removeprefix("+")
        if not digits.isdigit():
            raise GraphError(131009, "to is not a phone number")
        return core.user(f"+{digits}"), to
    if not recipient:
        raise GraphError(131008, "to is missing")
    if "." not in recipient:
        raise GraphError(131009, "recipient is not a business-scoped user id")
    return core.user(recipient), recipient


def _accepted(user: WhatsAppUser, address: str, wamid: str) -> dict[str, Any]:
    is_phone = address.removeprefix("+").isdigit()
    name = {"wa_id": wa_id(user)} if is_phone else {"user_id": business_scoped_id(user)}
    return {
        "messaging_product": "whatsapp",
        "contacts": [{"input": address, **name}],
        "messages": [{"id": wamid}],
    }


def _context(body: Mapping[str, Any]) -> str:
    """The id of the quoted message. Meta accepts an unknown id and then shows no quote."""
    context = body.get("context")
    if context is None:
        return ""
    message_id = context.get("message_id") if isinstance(context, dict) else None
    if not isinstance(message_id, str) or not message_id.startswith("wamid."):
        raise GraphError(131009, "context.message_id is not a message id")
    return message_id


def _message(
    core: CloudCore, user: WhatsAppUser, kind: str, content: Mapping[str, Any]
) -> CloudMessage:
    message = CloudMessage(new_wamid(), False, user.address, "", core.now(), "accepted", kind)
    if kind == "text":
        message.body = _bounded(content.get("body"), TEXT_MAX, "text.body")
    elif kind == "interactive":
        message.body, message.buttons, message.is_list = _interactive(content)
    elif kind in MEDIA:
        message.media = [_media(core, kind, content)]
        message.body = str(content.get("caption") or "")
        if len(message.body) > CAPTION_MAX or (message.body and kind in ("audio", "sticker")):
            raise GraphError(131009, f"{kind}.caption")
    elif kind == "template":
        name = content.get("name")
        if name not in core.settings.templates or not content.get("language"):
            raise GraphError(132001, f"template name ({name}) does not exist")
        message.body, message.is_template = core.settings.templates[str(name)], True
    else:
        raise GraphError(131051, kind)
    return message


def _media(core: CloudCore, kind: str, content: Mapping[str, Any]) -> str:
    media_id, link = content.get("id"), content.get("link")
    if link:
        raise GraphError(131053, "the fake fetches no links; upload the file")
    if media_id not in core.media:
        raise GraphError(131009, f"{kind}.id")
    return str(media_id)


def _interactive(content: Mapping[str, Any]) -> tuple[str, Choices, bool]:
    action = content.get("action")
    body = content.get("body")
    if not isinstance(action, dict) or not isinstance(body, dict):
        raise GraphError(131008, "interactive.action")
    text = _bounded(body.get("text"), INTERACTIVE_MAX, "interactive.body.text")
    if content.get("type") == "button":
        replies = [button.get("reply", {}) for button in action.get("buttons") or []]
        choices = [
            (
                _bounded(reply.get("id"), ID_MAX, "reply.id"),
                _bounded(reply.get("title"), TITLE_MAX, "reply.title"),
            )
            for reply in replies
        ]
        return text, _distinct(choices, BUTTONS_MAX), False
    if content.get("type") != "list":
        raise GraphError(131009, "interactive.type")
    _bounded(action.get("button"), TITLE_MAX, "action.button")
    rows = [row for section in action.get("sections") or [] for row in section.get("rows") or []]
    for row in rows:
        if len(str(row.get("description") or "")) > ROW_DESCRIPTION_MAX:
            raise GraphError(131009, "row.description")
    choices = [
        (
            _bounded(row.get("id"), ROW_ID_MAX, "row.id"),
            _bounded(row.get("title"), ROW_TITLE_MAX, "row.title"),
        )
        for row in rows
    ]
    return text, _distinct(choices, ROWS_MAX), True


def _distinct(choices: Choices, most: int) -> Choices:
    ids, titles = {key for key, _ in choices}, {title for _, title in choices}
    if not 1 <= len(choices) <= most or len(ids) < len(choices) or len(titles) < len(choices):
        raise GraphError(131009, "too many, no, or equal choices")
    return choices


def _bounded(value: Any, most: int, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise GraphError(131008, f"{name} is missing")
    if len(value) > most:
        raise GraphError(131009, f"{name} is longer than {most}")
    return value


def _mark_read(core: CloudCore, body: Mapping[str, Any]) -> dict[str, Any]:
    message = core.messages.get(str(body.get("message_id")))
    if message is None or not message.inbound:
        raise GraphError(100, "message_id")
    typing = body.get("typing_indicator")
    core.mark_read(message, typing=isinstance(typing, dict) and typing.get("type") == "text")
    return {"success": True}


def _react(core: CloudCore, user: WhatsAppUser, address: str, content: Any) -> dict[str, Any]:
    target = (
        core.messages.get(str(content.get("message_id"))) if isinstance(content, dict) else None
    )
    if target is None or not isinstance(content.get("emoji"), str):
        raise GraphError(131009, "reaction.message_id")
    target.reactions["business"] = content["emoji"]
    if not content["emoji"]:
        del target.reactions["business"]
    core.changed()
    return _accepted(user, address, new_wamid())
