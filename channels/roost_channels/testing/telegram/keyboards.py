"""Reads reply_markup and checks inline keyboards as the server does."""

from typing import Any

from roost_channels.testing.telegram.errors import bad_request
from roost_channels.testing.telegram.parameters import Parameters

CALLBACK_DATA_BYTES_MAX = 64
BUTTONS_MAX = 100
STYLES = ("", "default", "primary", "danger", "success")
OTHER_ACTIONS = (
    "callback_game",
    "pay",
    "switch_inline_query",
    "switch_inline_query_chosen_chat",
    "switch_inline_query_current_chat",
    "login_url",
    "web_app",
    "copy_text",
)

Keyboard = list[list[dict[str, Any]]]


def read_keyboard(parameters: Parameters) -> tuple[Keyboard, bool]:
    """The inline keyboard, and whether the message can be edited (not with a reply keyboard)."""
    markup = parameters.json("reply_markup", "Can't parse reply keyboard markup JSON object")
    if markup is None:
        return [], True
    if not isinstance(markup, dict):
        raise bad_request("Object expected as reply markup")
    rows = markup.get("inline_keyboard", [])
    if not isinstance(rows, list) or any(not isinstance(row, list) for row in rows):
        raise bad_request(
            'Field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays'
        )
    keyboard = [[_read_button(button) for button in row] for row in rows if row]
    if sum(len(row) for row in keyboard) > BUTTONS_MAX:
        raise bad_request("reply markup is too long")
    editable = not any(markup.get(name) for name in ("keyboard", "force_reply"))
    return keyboard, editable


def _read_button(button: Any) -> dict[str, Any]:
    def fail(reason: str) -> Exception:
        return bad_request(f"Can't parse inline keyboard button: {reason}")

    if not isinstance(button, dict):
        raise fail("InlineKeyboardButton must be an Object")
    text = button.get("text")
    if text is None:
        raise fail('Can\'t find field "text"')
    if not isinstance(text, str):
        raise fail('Field "text" must be of type String')
    if button.get("style", "") not in STYLES:
        raise fail("invalid button style specified")
    data, url = button.get("callback_data"), button.get("url")
    if url:
        if "." not in url and not url.startswith("tg://"):
            raise bad_request(f"inline keyboard button URL '{url}' is invalid: Wrong HTTP URL")
    elif data:
        if len(str(data).encode()) > CALLBACK_DATA_BYTES_MAX:
            raise bad_request("BUTTON_DATA_INVALID")
    elif not any(name in button for name in OTHER_ACTIONS):
        raise fail("Text buttons are unallowed in the inline keyboard")
    if not text.strip():
        raise bad_request("BUTTON_TEXT_INVALID")
    return dict(button)
