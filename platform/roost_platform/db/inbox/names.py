"""Names as they enter: one line, without characters that nobody sees or that reverse a line."""

import unicodedata
from dataclasses import replace

from roost_channels.message import InboundMessage

NAME_CHARS_MAX = 200  # of a person or of whom a message was forwarded from
# Controls, formats (among them those that reverse a line's direction), halves of characters, line
# and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joins the parts of an emoji and shapes letters of some scripts; it can't hide anything.
_JOINERS = "\u200c\u200d"


def plain_name(name: str) -> str:
    """The name on one line of characters that people see."""
    if name.isascii() and name.isprintable():
        return " ".join(name.split())
    kept = (
        one if one in _JOINERS or unicodedata.category(one) not in _UNSEEN else _blank(one)
        for one in name
    )
    return " ".join("".join(kept).split())


def _blank(char: str) -> str:
    """A line break or a tab still parts two words; any other such character leaves nothing."""
    return " " if char.isspace() else ""


def with_plain_names(event: InboundMessage) -> InboundMessage:
    """The event with plain names of its writer, of its source and of what is attached."""
    sender = replace(
        event.sender,
        display_name=plain_name(event.sender.display_name)[:NAME_CHARS_MAX],
        username=plain_name(event.sender.username),
    )
    attachments = tuple(replace(each, name=plain_name(each.name)) for each in event.attachments)
    source = plain_name(event.forwarded_from)[:NAME_CHARS_MAX]
    if event.forwarded_from and not source:
        source = "somebody"  # a name of nothing visible: the words still are not the person's
    return replace(event, sender=sender, attachments=attachments, forwarded_from=source)
