"""Who wrote a message, and whose words it passes on."""

from collections.abc import Mapping
from typing import Any

from roost_channels.message import Sender

Json = Mapping[str, Any]

# Users that stand for a chat: an anonymous admin of a group, one who writes as a channel, and the
# service that forwards a channel's posts to its group. The first two say that they are bots.
ANONYMOUS_ADMIN, CHANNEL_WRITER, SERVICE = 1087968824, 136817688, 777000
STANDING_FOR_A_CHAT = frozenset({ANONYMOUS_ADMIN, CHANNEL_WRITER, SERVICE})
SOMEBODY = "somebody"


def writer_of(message: Json) -> Json:
    """The user who wrote a message, or the chat in whose name it was written."""
    for name in ("sender_chat", "from"):
        who = message.get(name)
        if isinstance(who, Mapping) and who.get("id") != ANONYMOUS_ADMIN:
            return who
    chat = message.get("chat")
    return chat if isinstance(chat, Mapping) else {}


def is_bot(message: Json) -> bool:
    """Whether another bot wrote it; people who write in the name of a chat are people."""
    who = message.get("from")
    if message.get("sender_chat") or not isinstance(who, Mapping):
        return False
    return bool(who.get("is_bot")) and who.get("id") not in STANDING_FOR_A_CHAT


def sender_of(who: Json, signature: Any = "") -> Sender:
    """A user or a chat as a sender. signature: the title of an admin, or the name under a post."""
    name = name_of(who)
    if isinstance(signature, str) and signature and "first_name" not in who:
        name = f"{name} ({signature})"
    return Sender(str(who.get("id", "")), name, str(who.get("username") or ""))


def name_of(who: Any) -> str:
    """The name of a user or a chat; empty where it has none."""
    if not isinstance(who, Mapping):
        return ""
    names = (who.get("first_name"), who.get("last_name"))
    name = " ".join(str(part) for part in names if part)
    return name or str(who.get("title") or who.get("username") or "")


def source_of(message: Json, account: str) -> str:
    """Whose words a forwarded message has; empty for one that was not forwarded.

    https://core.telegram.org/bots/api#messageorigin
    """
    origin = message.get("forward_origin")
    if not isinstance(origin, Mapping):
        return _older_source(message)
    user = origin.get("sender_user")
    chat = origin.get("sender_chat") or origin.get("chat")
    if isinstance(user, Mapping):
        name = name_of(user) or SOMEBODY
        return f"{name} (this assistant)" if str(user.get("id")) == account else name
    if isinstance(chat, Mapping):
        return _chat_source(chat, origin.get("author_signature"))
    return str(origin.get("sender_user_name") or SOMEBODY)


def _chat_source(chat: Json, signature: Any) -> str:
    kind = "channel" if chat.get("type") == "channel" else "group"
    name = f"the {kind} {name_of(chat)}".rstrip()
    return f"{signature} in {name}" if signature else name


def _older_source(message: Json) -> str:
    """The same from servers before Bot API 7.0."""
    if message.get("forward_from_chat"):
        return _chat_source(message["forward_from_chat"], message.get("forward_signature"))
    name = name_of(message.get("forward_from")) or message.get("forward_sender_name")
    return str(name or (SOMEBODY if message.get("forward_date") else ""))
