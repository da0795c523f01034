"""Messages as the Cloud API wants them: text, buttons, lists and the invitation template."""

from collections.abc import Sequence
from typing import Any

from roost_channels.message import Button, ReplyTarget
from roost_channels.rendering import RenderedPart

TEXT_MAX = 4096
INTERACTIVE_TEXT_MAX = 1024
BUTTONS_MAX, BUTTON_TITLE_MAX = 3, 20
ROWS_MAX, ROW_TITLE_MAX, ROW_DESCRIPTION_MAX = 10, 24, 72
LIST_LABEL = "Choose"
MESSAGE_ID_PREFIX = "wamid."


def message(
    part: RenderedPart, reply_to: ReplyTarget | None, buttons: Sequence[Button], part_id: str
) -> dict[str, Any]:
    """The body of a send without its recipient."""
    made = interactive(part.text, buttons) if buttons else text(part.text)
    if reply_to is not None and reply_to.message_id.startswith(MESSAGE_ID_PREFIX):
        made["context"] = {"message_id": reply_to.message_id}
    return made | correlation(part_id)


def text(body: str) -> dict[str, Any]:
    return {"type": "text", "text": {"body": body, "preview_url": False}}


def interactive(body: str, buttons: Sequence[Button]) -> dict[str, Any]:
    """Up to three buttons, else a list of up to ten; more than that has no place on WhatsApp."""
    if len(buttons) <= BUTTONS_MAX:
        replies = [
            {"type": "reply", "reply": {"id": b.data, "title": b.label[:BUTTON_TITLE_MAX]}}
            for b in buttons
        ]
        shown: dict[str, Any] = {"type": "button", "action": {"buttons": replies}}
    else:
        rows = [_row(button) for button in buttons[:ROWS_MAX]]
        action = {"button": LIST_LABEL, "sections": [{"title": LIST_LABEL, "rows": rows}]}
        shown = {"type": "list", "action": action}
    return {"type": "interactive", "interactive": {**shown, "body": {"text": body}}}


def template(name: str, language: str, part_id: str) -> dict[str, Any]:
    """An approved template without variables."""
    made = {"name": name, "language": {"code": language}}
    return {"type": "template", "template": made} | correlation(part_id)


def correlation(part_id: str) -> dict[str, str]:
    """What the status webhooks repeat: proof of an acceptance whose answer was lost."""
    return {"biz_opaque_callback_data": part_id} if part_id else {}


def _row(button: Button) -> dict[str, str]:
    row = {"id": button.data, "title": button.label[:ROW_TITLE_MAX]}
    if len(button.label) > ROW_TITLE_MAX:
        row["description"] = button.label[:ROW_DESCRIPTION_MAX]
    return row
