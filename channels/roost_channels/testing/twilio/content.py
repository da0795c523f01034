"""Content templates: text, quick replies and lists, with their variables filled in."""

import re
from datetime import UTC, datetime
from typing import Any

from roost_channels.testing.twilio.errors import TwilioError, not_found
from roost_channels.testing.twilio.state import Core, new_sid

QUICK_REPLIES_MAX = 10
LIST_ITEMS_MAX = 10
KNOWN_TYPES = ("twilio/text", "twilio/media", "twilio/quick-reply", "twilio/list-picker")

Rendered = tuple[str, list[tuple[str, str]], bool]


def create_content(core: Core, body: Any) -> dict[str, Any]:
    if not isinstance(body, dict) or not isinstance(body.get("types"), dict) or not body["types"]:
        raise TwilioError(400, 20001)
    types = {
        name: value
        for name, value in body["types"].items()
        if name in KNOWN_TYPES and isinstance(value, dict)
    }
    replies = types.get("twilio/quick-reply", {}).get("actions") or []
    items = types.get("twilio/list-picker", {}).get("items") or []
    if not types or len(replies) > QUICK_REPLIES_MAX or len(items) > LIST_ITEMS_MAX:
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


def _iso(core: Core) -> str:
    return datetime.fromtimestamp(int(core.now()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def content_json(core: Core, sid: str) -> dict[str, Any]:
    content = core.contents.get(sid)
    if content is None:
        raise not_found(f"/Content/{sid}")
    return {name: value for name, value in content.items() if name != "approved"}


def list_contents(core: Core) -> dict[str, Any]:
    return {
        "contents": [content_json(core, sid) for sid in core.contents],
        "meta": {
            "key": "contents",
            "page": 0,
            "page_size": 50,
            "url": "https://content.twilio.com/v1/Content?PageSize=50&Page=0",
            "first_page_url": "https://content.twilio.com/v1/Content?PageSize=50&Page=0",
            "next_page_url": None,
            "previous_page_url": None,
        },
    }


def delete_content(core: Core, sid: str) -> None:
    content_json(core, sid)
    del core.contents[sid]


def render_content(content: dict[str, Any], values: dict[str, Any]) -> Rendered:
    """Body, (id, title) of what can be chosen, and whether it is a list."""
    given = {**content["variables"], **values}

    def fill(text: Any) -> str:
        return re.sub(
            r"\{\{(\w+)\}\}", lambda found: str(given.get(found[1], found[0])), str(text or "")
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
