"""Cuts a large batch of events into shares, one transaction each, fair between chats."""

from collections.abc import Iterator, Sequence

from roost_channels.message import InboundMessage

EVENTS_MAX = 50  # events that one transaction accepts: what another chat waits for at most


def shares_of(batch: Sequence[InboundMessage]) -> Iterator[Sequence[InboundMessage]]:
    """The events in shares of EVENTS_MAX; one share, even if empty, for a batch that fits.

    In a large batch the chats take turns, so that one of them fills no share alone. The order
    within a chat stays.
    """
    if len(batch) <= EVENTS_MAX:
        yield batch
        return
    events = list(_by_turns(batch))
    for start in range(0, len(events), EVENTS_MAX):
        yield events[start : start + EVENTS_MAX]


def _by_turns(batch: Sequence[InboundMessage]) -> Iterator[InboundMessage]:
    queues: dict[str, list[InboundMessage]] = {}
    chat_of: dict[str, str] = {}
    for event in batch:
        names = _names(event)
        chat = next((chat_of[name] for name in names if name in chat_of), names[0])
        for name in names:
            chat_of.setdefault(name, chat)
        queues.setdefault(chat, []).append(event)
    waiting = [iter(queue) for queue in queues.values()]
    while waiting:
        still = []
        for queue in waiting:
            event_or_none = next(queue, None)
            if event_or_none is not None:
                yield event_or_none
                still.append(queue)
        waiting = still


def _names(event: InboundMessage) -> list[str]:
    """What the event's chat is known by: a person has several names, a chat that moves gets one."""
    names = [event.address.chat]
    if event.kind == "migrated":
        names.append(event.text)
    elif not event.is_group:
        names += [event.sender.address, *event.sender.aliases]
    return names
