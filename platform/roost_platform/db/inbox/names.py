"""Names as they enter: one line, without characters that nobody sees or that reverse a line."""

from dataclasses import replace

from roost_channels.message import InboundMessage
from roost_channels.names import plain_name

NAME_CHARS_MAX = 200  # of a person or of whom a message was forwarded from


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
