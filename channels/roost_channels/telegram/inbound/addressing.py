"""Whether a group's message speaks to the bot, and what a start link brings along."""

import re
from collections.abc import Mapping

from roost_channels.telegram.forums import opens_topic
from roost_channels.telegram.inbound.contents import raw_text_of
from roost_channels.telegram.inbound.entities import span_of
from roost_channels.telegram.inbound.people import Json, writer_of

# UTF-16 units of an entity that are read: names of bots and commands have at most 32 each.
NAME_LENGTH_MAX = 100
_COMMAND = re.compile(r"/\w{1,32}(?:@(\w{1,64}))?")
# https://core.telegram.org/bots/features#deep-linking allows 64 characters of a payload.
_START = re.compile(r"/start(?:@(\w{1,64}))?\s{1,8}([A-Za-z0-9_-]{1,512})\s{0,8}", re.IGNORECASE)


def start_payload(text: str, username: str) -> str:
    """The payload of a link that was followed to us; empty for any other text."""
    found = _START.fullmatch(text) if len(text) < 1000 else None
    if found is None or (found[1] and username and found[1].lower() != username):
        return ""
    return found[2]


def is_addressed(message: Json, text: str, account: str, username: str) -> bool:
    """Return whether a group's message is for us: a reply to us, our name, or a command to nobody
    else.

    text: what the message says; it is searched where no entities tell of names.
    """
    if _is_reply_to_us(message, account):
        return True
    raw, entities = raw_text_of(message)
    if not raw:
        return _is_named(text, username) or f"tg://user?id={account})" in text
    if entities is None:  # Telegram always tells of names; other servers may leave that to us
        command = _COMMAND.match(raw)
        is_ours = command is not None and (command[1] or username).lower() == username
        return is_ours or _is_named(raw, username)
    units = raw.encode("utf-16-le", "surrogatepass")
    for entity in entities or ():
        start, end = span_of(entity)
        words = units[start : min(end, start + 2 * NAME_LENGTH_MAX)].decode("utf-16-le", "replace")
        if _names_us(entity, words.lower(), account, username):
            return True
    return False


def _is_reply_to_us(message: Json, account: str) -> bool:
    """Whether it replies to a message of ours, here or in another topic or chat."""
    replied = message.get("reply_to_message")
    # In a topic every message hangs on the one that opened it, which may be ours.
    if isinstance(replied, Mapping) and not opens_topic(replied, message):
        return str(writer_of(replied).get("id", "")) == account
    external = message.get("external_reply")
    origin = external.get("origin") if isinstance(external, Mapping) else None
    user = origin.get("sender_user") if isinstance(origin, Mapping) else None
    return isinstance(user, Mapping) and str(user.get("id", "")) == account


def _is_named(text: str, username: str) -> bool:
    named = re.findall(r"(?<!\w)@(\w{1,64})", text.lower())
    return bool(username) and username in named


def _names_us(entity: Json, words: str, account: str, username: str) -> bool:
    if entity["type"] == "mention":
        return bool(username) and words == f"@{username}"
    if entity["type"] == "text_mention":
        return str(entity["user"]["id"]) == account
    if entity["type"] == "bot_command":
        named = words.partition("@")[2]
        return not named or named == username
    return False
