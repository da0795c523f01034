"""Which groups are forums, as their messages tell: typing in General needs its number."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

FORUMS_MAX = 1000  # groups remembered, those heard of last


class Forums:
    """The forums of one bot, learned from its updates; not every message of a forum says so."""

    def __init__(self) -> None:
        self._chats: OrderedDict[str, None] = OrderedDict()

    def learn(self, update: Any) -> None:
        """Remember the chat of a message that says it is a forum's."""
        for body in update.values() if isinstance(update, Mapping) else ():
            chat = body.get("chat") if isinstance(body, Mapping) else None
            if isinstance(chat, Mapping) and chat.get("is_forum"):
                key = str(chat.get("id"))
                self._chats[key] = None
                self._chats.move_to_end(key)
        while len(self._chats) > FORUMS_MAX:
            self._chats.popitem(last=False)

    def __contains__(self, chat: str) -> bool:
        return chat in self._chats
