"""Content templates: text, quick replies and lists, their approval and their variables."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from roost_channels.testing.twilio.errors import TwilioError, not_found
from roost_channels.testing.twilio.state import TwilioCore, new_sid

QUICK_REPLIES_MAX = 10
QUICK_REPLIES_IN_SESSION_MAX = 3
QUICK_REPLY_TITLE_MAX = 20
LIST_ITEMS_MAX = 10
LIST_BUTTON_MAX = 20
ITEM_MAX = 24
ITEM_DESCRIPTION_MAX = 72
CHOICE_ID_MAX = 200
CHOICE_BODY_MAX = 1024
PAGE_SIZE_DEFAULT = 50
CATEGORIES = ("UTILITY", "MARKETING", "AUTHENTICATION")
KNOWN_TYPES = ("twilio/text", "twilio/media", "twilio/quick-reply", "twilio/list-picker")

# Body, (id, title) of each choice, and whether the choices are a list.
Rendered = tuple[str, list[tuple[str, str]], bool]


def create_content(core: TwilioCore, body: Any) -> dict[str, Any]:
    """Check and store a Content resource; returns it as the API does."""
    if not isinstance(body, dict) or not isinstance(body.get("types"), dict) or not body["types"]:
        raise TwilioError(400, 20001)
    types = {
        name: value
        for name, value in body["types"].items()
        if name in KNOWN_TYPES and isinstance(value, dict)
    }
    if not types or not all(_fits(name, value) for name, value in types.items()):
        raise TwilioError(400, 20001)
    sid = new_sid("HX")
    stamp = _iso(core)
    core.contents[sid] = {
        "sid": sid,
        "account_sid": core.settings.account_sid,
        "friendly_name": body.get("friendly_name"),
        "language": body.get("language", "en"),
        "variables": body.get("variables") or {},
        "types": types,
        "date_created": stamp,
        "date_updated": stamp,
        "url": f"https://content.twilio.com/v1/Content/{sid}",
        "links": {
            "approval_fetch": f"https://content.twilio.com/v1/Content/{sid}/ApprovalRequests",
            "approval_create": (
                f"https://content.twilio.com/v1/Content/{sid}/ApprovalRequests/whatsapp"
            ),
        },
    }
    return content_json(core, sid)


def _fits(name: str, value: dict[str, Any]) -> bool:
    """Whether a type keeps WhatsApp's limits; variables count with their names' lengths."""

    def short(text: Any, length_max: int, *, needed: bool = True) -> bool:
        return (isinstance(text, str) and 0 < len(text) <= length_max) or (
            not needed and text in (None, "")
        )

    if name == "twilio/quick-reply":
        actions = value.get("actions") or []
        return (
            short(value.get("body"), CHOICE_BODY_MAX)
            and 1 <= len(actions) <= QUICK_REPLIES_MAX
            and all(
                short(action.get("title"), QUICK_REPLY_TITLE_MAX)
                and short(action.get("id"), CHOICE_ID_MAX, needed=False)
                for action in actions
            )
        )
    if name == "twilio/list-picker":
        items = value.get("items") or []
        return (
            short(value.get("body"), CHOICE_BODY_MAX)
            and short(value.get("button"), LIST_BUTTON_MAX)
            and 1 <= len(items) <= LIST_ITEMS_MAX
            and all(
                short(item.get("item"), ITEM_MAX)
                and short(item.get("id"), CHOICE_ID_MAX)
                and short(item.get("description"), ITEM_DESCRIPTION_MAX, needed=False)
                for item in items
            )
        )
    return True


def _iso(core: TwilioCore) -> str:
    return datetime.fromtimestamp(int(core.now()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _find_content(core: TwilioCore, sid: str) -> dict[str, Any]:
    content = core.contents.get(sid)
    if content is None:
        raise not_found(f"/Content/{sid}")
    return content


def content_json(core: TwilioCore, sid: str) -> dict[str, Any]:
    """The Content resource as the API returns it."""
    return {name: value for name, value in _find_content(core, sid).items() if name != "approval"}


def list_contents(
    core: TwilioCore, query: Mapping[str, str], path: str = "Content"
) -> dict[str, Any]:
    """A page of the contents, oldest first; ContentAndApprovals adds each approval."""
    size = min(max(int(query.get("PageSize") or PAGE_SIZE_DEFAULT), 1), 500)
    page = max(int(query.get("Page") or 0), 0)
    known = list(core.contents)

    def url(number: int) -> str:
        return f"https://content.twilio.com/v1/{path}?PageSize={size}&Page={number}"

    shown = [content_json(core, sid) for sid in known[page * size : (page + 1) * size]]
    if path == "ContentAndApprovals":
        for content in shown:
            content["approval_requests"] = approval_json(core, content["sid"])["whatsapp"]
    return {
        "contents": shown,
        "meta": {
            "key": "contents",
            "page": page,
            "page_size": size,
            "url": url(page),
            "first_page_url": url(0),
            "next_page_url": url(page + 1) if (page + 1) * size < len(known) else None,
            "previous_page_url": url(page - 1) if page else None,
        },
    }


def request_approval(core: TwilioCore, sid: str, body: Any) -> dict[str, Any]:
    """Ask WhatsApp to approve a template; `set_approval` is its later decision."""
    content = _find_content(core, sid)
    fields = body if isinstance(body, dict) else {}
    name, category = fields.get("name"), str(fields.get("category") or "").upper()
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9_]{1,512}", name):
        raise TwilioError(400, 20001)
    if category not in CATEGORIES or content.get("approval"):
        raise TwilioError(400, 20001)
    content["approval"] = _approval(content, "received", name, category)
    return dict(content["approval"])


def _approval(
    content: dict[str, Any], status: str, name: str = "", category: str = ""
) -> dict[str, Any]:
    return {
        "type": "whatsapp",
        "name": name or content.get("friendly_name") or content["sid"].lower(),
        "category": category or "UTILITY",
        "content_type": next(iter(content["types"])),
        "status": status,
        "rejection_reason": "",
        "allow_category_change": True,
    }


def set_approval(core: TwilioCore, sid: str, status: str, reason: str = "") -> None:
    """WhatsApp's decision on a template: approved, rejected, pending or paused."""
    content = _find_content(core, sid)
    approval = content.get("approval") or _approval(content, status)
    content["approval"] = {**approval, "status": status, "rejection_reason": reason}
    core.changed()


def approval_json(core: TwilioCore, sid: str) -> dict[str, Any]:
    """The approval of a content as the API returns it."""
    content = _find_content(core, sid)
    return {
        "sid": sid,
        "account_sid": core.settings.account_sid,
        "whatsapp": content.get("approval") or {**_approval(content, "unsubmitted"), "name": ""},
        "url": f"https://content.twilio.com/v1/Content/{sid}/ApprovalRequests",
    }


def is_approved(content: dict[str, Any]) -> bool:
    """Whether WhatsApp approved the template."""
    return bool(content.get("approval", {}).get("status") == "approved")


def fits_session(content: dict[str, Any]) -> bool:
    """Whether a session message may carry it: three quick replies at most without approval."""
    replies = content["types"].get("twilio/quick-reply", {}).get("actions") or []
    return is_approved(content) or len(replies) <= QUICK_REPLIES_IN_SESSION_MAX


def delete_content(core: TwilioCore, sid: str) -> None:
    """Delete a content; TwilioError 20404 when there is none."""
    _find_content(core, sid)
    del core.contents[sid]


def render_content(content: dict[str, Any], values: dict[str, Any]) -> Rendered:
    """Fill in the variables. values: they win over the content's own defaults."""
    variables = {**content["variables"], **values}

    def fill(text: Any) -> str:
        return re.sub(
            r"\{\{(\w+)\}\}", lambda name: str(variables.get(name[1], name[0])), str(text or "")
        )

    types = content["types"]
    for name, key, title in (
        ("twilio/list-picker", "items", "item"),
        ("twilio/quick-reply", "actions", "title"),
    ):
        if name in types:
            choices = [
                (fill(choice.get("id") or choice.get(title)), fill(choice.get(title)))
                for choice in types[name].get(key) or []
            ]
            return fill(types[name].get("body")), choices, key == "items"
    first = next(iter(types.values()))
    return fill(first.get("body")), [], False
