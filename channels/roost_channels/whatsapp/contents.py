"""Quick replies and lists at Twilio: each shape is one Content resource, made once, then filled in.

The words travel as variables, so that twelve resources serve for ever. They are found again by
their names after a restart.
"""

import json
from collections.abc import Sequence
from typing import Any

from roost_channels.message import Button
from roost_channels.rendering.cutting import shortened
from roost_channels.whatsapp.client import TwilioClient

NAME_PREFIX = "roost_"
# In a session WhatsApp shows up to three buttons without approval, and lists of up to ten.
BUTTONS_MAX, BUTTON_TITLE_MAX = 3, 20
ITEMS_MAX, ITEM_TITLE_MAX = 10, 24
ID_MAX = 200
# A variable holds this much, so a longer text goes before, in a message of its own.
TEXT_MAX = 255
LIST_LABEL = "Choose"
PAGE_SIZE = 500
PAGES_MAX = 20


class Contents:
    """Our Content resources of the account, by name."""

    def __init__(self, client: TwilioClient) -> None:
        self._client = client
        self._sids: dict[str, str] | None = None

    async def form(self, text: str, buttons: Sequence[Button]) -> dict[str, str]:
        """Return the form fields of a message with these buttons."""
        shown = buttons[:ITEMS_MAX]
        is_list = len(shown) > BUTTONS_MAX
        title_max = ITEM_TITLE_MAX if is_list else BUTTON_TITLE_MAX
        numbered = len({shortened(button.label, title_max) for button in shown}) < len(shown)
        values = [text]
        for number, button in enumerate(shown, 1):
            title = f"{number}. {button.label}" if numbered else button.label
            values += [shortened(title, title_max), button.data[:ID_MAX]]
        variables = {str(number): value for number, value in enumerate(values, 1)}
        sid = await self._sid(len(shown), is_list=is_list)
        return {"ContentSid": sid, "ContentVariables": json.dumps(variables, ensure_ascii=False)}

    async def _sid(self, count: int, *, is_list: bool) -> str:
        name = f"{NAME_PREFIX}{'list' if is_list else 'quick_reply'}_{count}"
        if self._sids is None:
            self._sids = await self._client.contents_named(NAME_PREFIX, PAGE_SIZE, PAGES_MAX)
        if name not in self._sids:
            self._sids[name] = await self._client.create_content(_shape(name, count, is_list))
        return self._sids[name]

    def forget(self) -> None:
        """Look the resources up again, because somebody deleted one in Twilio's console."""
        self._sids = None


def _shape(name: str, count: int, is_list: bool) -> dict[str, Any]:
    """A Content resource whose text is {{1}}, and {{2}}, {{3}}, … titles and ids in turn."""
    choices = [(f"{{{{{2 * n + 2}}}}}", f"{{{{{2 * n + 3}}}}}") for n in range(count)]
    samples = {str(number): f"sample {number}" for number in range(1, 2 * count + 2)}
    if is_list:
        items = [{"item": title, "id": key} for title, key in choices]
        types = {"twilio/list-picker": {"body": "{{1}}", "button": LIST_LABEL, "items": items}}
    else:
        actions = [{"type": "QUICK_REPLY", "title": title, "id": key} for title, key in choices]
        types = {"twilio/quick-reply": {"body": "{{1}}", "actions": actions}}
    return {"friendly_name": name, "language": "en", "variables": samples, "types": types}
