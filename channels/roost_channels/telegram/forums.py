"""The topics of chats: which groups are forums, and what stands for a topic of direct messages."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

FORUMS_MAX = 1000  # groups remembered, those heard of last; typing in General needs its number
_DIRECT = "direct-"


def direct_thread(topic: int) -> str:
    """The thread of a person's topic in the direct messages of a channel."""
    return f"{_DIRECT}{topic}"


def direct_topic(thread: str) -> int | None:
    """The topic of such a thread; None for any other thread."""
    number = thread.removeprefix(_DIRECT)
    return int(number) if number != thread and number.isdigit() else None


def opens_topic(replied: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    """Whether what a message hangs on is only the notice that opened its topic: apps reply to that
    by themselves. Its number is the topic's, also where its content is left out.
    """
    is_first = replied.get("message_id") == message.get("message_thread_id")
    is_empty = not any(replied.get(name) for name in ("text", "caption"))
    has_opened = bool(message.get("is_topic_message")) and is_first and is_empty
    return has_opened or bool(replied.get("forum_topic_created"))


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
