"""Messages in the form of the Cloud API: text, files, buttons, lists and templates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from roost_channels.channel import Outgoing
from roost_channels.message import Button, Media, with_choices
from roost_channels.rendering.cutting import shortened

TEXT_MAX = 4096
INTERACTIVE_TEXT_MAX = 1024
BUTTONS_MAX, BUTTON_TITLE_MAX = 3, 20
ROWS_MAX, ROW_TITLE_MAX, ROW_DESCRIPTION_MAX = 10, 24, 72
LIST_LABEL = "Choose"
CAPTION_MAX = 1024
MEGABYTE = 1024 * 1024
DOCUMENT_BYTES_MAX = 100 * MEGABYTE
# What is shown as more than a document: MIME types and the largest size.
SHOWN = {
    "image": (("image/jpeg", "image/png"), 5 * MEGABYTE),
    "video": (("video/mp4", "video/3gpp"), 16 * MEGABYTE),
    "audio": (
        ("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"),
        16 * MEGABYTE,
    ),
}
MESSAGE_ID_PREFIX = "wamid."


def message(sent: Outgoing, media_id: str = "") -> dict[str, Any]:
    """Build a send without its recipient. media_id: the part's file, uploaded before."""
    part, reply_to = sent.part, sent.reply_to
    if part.media is not None:
        made = media(part.media, media_id, part.text[:CAPTION_MAX])
    else:
        made = interactive(part.text, sent.buttons) if sent.buttons else text(part.text)
    if reply_to is not None and reply_to.message_id.startswith(MESSAGE_ID_PREFIX):
        made["context"] = {"message_id": reply_to.message_id}
    return made | correlation(sent.part_id)


def in_words(sent: Outgoing) -> dict[str, Any]:
    """Build a send without its recipient whose buttons are words."""
    words = with_choices(sent.part.text, sent.buttons)
    return message(replace(sent, part=replace(sent.part, text=words), buttons=()))


def text(body: str) -> dict[str, Any]:
    """Build a text message, links without a preview."""
    return {"type": "text", "text": {"body": body, "preview_url": False}}


def media(file: Media, media_id: str, caption: str) -> dict[str, Any]:
    """Build the message of an uploaded file, shown by its kind or as a document."""
    kind = media_type(file)
    if caption and kind == "audio":
        kind = "document"  # a voice has no caption
    content = {"id": media_id, **({"caption": caption} if caption else {})}
    if kind == "document" and file.name:
        content["filename"] = file.name
    return {"type": kind, kind: content}


def media_type(file: Media) -> str:
    """Return how to send a file, by MIME type and size: what can't be shown is a document."""
    for kind, (mime_types, bytes_max) in SHOWN.items():
        if file.mime_type.partition(";")[0] in mime_types and file.size <= bytes_max:
            return kind
    return "document"


def interactive(body: str, buttons: Sequence[Button]) -> dict[str, Any]:
    """Build up to three buttons, else a list of up to ten choices; the rest is left out.

    Labels that a button would cut go into a list, which shows them whole.
    """
    if len(buttons) <= BUTTONS_MAX and all(len(b.label) <= BUTTON_TITLE_MAX for b in buttons):
        replies = [{"type": "reply", "reply": {"id": b.data, "title": b.label}} for b in buttons]
        shown: dict[str, Any] = {"type": "button", "action": {"buttons": replies}}
    else:
        shown_buttons = buttons[:ROWS_MAX]
        titles = {shortened(button.label, ROW_TITLE_MAX) for button in shown_buttons}
        numbered = len(titles) < len(shown_buttons)  # two of them would read the same
        rows = [
            _row(button, f"{number}. " if numbered else "")
            for number, button in enumerate(shown_buttons, 1)
        ]
        action = {"button": LIST_LABEL, "sections": [{"title": LIST_LABEL, "rows": rows}]}
        shown = {"type": "list", "action": action}
    return {"type": "interactive", "interactive": {**shown, "body": {"text": body}}}


def template(name: str, language: str, part_id: str) -> dict[str, Any]:
    """Build the message of an approved template without variables."""
    made = {"name": name, "language": {"code": language}}
    return {"type": "template", "template": made} | correlation(part_id)


def reaction(message_id: str, emoji: str) -> dict[str, Any]:
    """Build a reaction to a message; an empty emoji takes it away."""
    return {"type": "reaction", "reaction": {"message_id": message_id, "emoji": emoji}}


def correlation(part_id: str) -> dict[str, str]:
    """Build the field that status webhooks repeat: it proves a send whose answer was lost."""
    return {"biz_opaque_callback_data": part_id} if part_id else {}


def _row(button: Button, prefix: str) -> dict[str, str]:
    title = f"{prefix}{button.label}"
    row = {"id": button.data, "title": shortened(title, ROW_TITLE_MAX)}
    if len(title) > ROW_TITLE_MAX:
        row["description"] = shortened(button.label, ROW_DESCRIPTION_MAX)
    return row
