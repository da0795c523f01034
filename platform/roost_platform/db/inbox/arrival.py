"""One event on its way into the inbox, and what a committed batch of them asks for."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import InboundMessage, Quote
from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.base.text import clean
from roost_platform.db.inbox.quotes import resolved_quote
from roost_platform.db.people.tenants import SessionChanges
from roost_platform.db.reasons import WORDS, ReasonCode

PAYLOAD_MAX = 4000  # characters of what came along with a message

InboxState = Literal["pending", "held", "taken", "done", "dropped", "ignored"]

_STORED = select(models.Inbox.message_id, models.Inbox.kind).where(
    models.Inbox.channel == bindparam("channel"),
    models.Inbox.account == bindparam("account"),
    models.Inbox.event_id == bindparam("event_id"),
)


@dataclass(slots=True)
class Arrival:
    """An event that is being accepted: what came, where it belongs, its row, and what follows.

    conversation: locked. row: not yet added to the session while its state is decided.
    rings: a message waits for a turn. stops: conversations in which something has to stop.
    answer: what the person who pressed a button is told; None for other events.
    link_answer: what a person is told who entered a code that links chats.
    released: conversations in which something waited that can go on now.
    fallback_agent: who answers from /new on, where the conversation's own agent has left; else
        empty.
    edited: the message that an edit gives other files or another place; edit_note: the note in
        which the agent is told.
    """

    event: InboundMessage
    conversation: models.Conversation
    row: models.Inbox
    now: float
    rings: bool = False
    stops: tuple[str, ...] = ()
    answer: str | None = None
    link_answer: str = ""
    released: tuple[str, ...] = ()
    fallback_agent: str = ""
    edited: models.Inbox | None = None
    edit_note: models.Transcript | None = None

    def conclude(self, state: InboxState, code: ReasonCode = "", words: str | None = None) -> None:
        """Decide the row's state, and why; `words` where the code has none of its own."""
        self.row.state, self.row.reason_code = state, code
        self.row.reason = WORDS[code] if words is None else words

    @property
    def writer(self) -> str:
        """Who sent the event, for operators."""
        sender = self.row.sender
        return str(sender.get("display_name") or sender.get("address") or "user")


@dataclass(slots=True)
class AcceptedBatch:
    """What a committed batch asks for: conversations to ring and to stop, in order of arrival.

    answers: by event id, what the person who pressed a button is told.
    changes: which sessions are about to go on, and which /new has ended.
    """

    stored: int = 0
    duplicates: int = 0
    ring: dict[str, None] = field(default_factory=dict)
    stop: dict[str, None] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    changes: SessionChanges = field(default_factory=SessionChanges)

    def add(self, arrival: Arrival) -> None:
        """Count a stored event and note what it asks for."""
        self.stored += 1
        self.ids.append(arrival.row.id)
        self.stop.update(dict.fromkeys(arrival.stops))
        if arrival.rings:
            self.ring[arrival.conversation.id] = None
        self.ring.update(dict.fromkeys(arrival.released))
        if arrival.answer is not None:
            self.answers[arrival.event.event_id] = arrival.answer


async def open_arrival(
    session: AsyncSession, conversation: models.Conversation, event: InboundMessage, now: float
) -> Arrival | None:
    """Number a new event in its conversation and make its row; None for a redelivery.

    Telegram begins other numbers after a quiet week, so a number can come again for something
    else: that is stored under an id with its message in it.
    """
    account = {"channel": event.address.channel, "account": event.address.account}
    for event_id in (event.event_id, f"{event.event_id}:{event.message_id}:{event.kind}"):
        stored = (await session.execute(_STORED, {**account, "event_id": event_id})).first()
        if stored is None:
            break
        # An edit that was taken as a message is stored as one.
        kinds = (event.kind, "message") if event.kind == "edited" else (event.kind,)
        if stored.message_id == event.message_id and stored.kind in kinds:
            return None
    else:
        return None
    quote = None if event.quote is None else await resolved_quote(session, event)
    event = replace(event, event_id=event_id, quote=quote)
    conversation.inbox_sequence += 1
    return Arrival(event, conversation, _row(conversation, event, now), now)


def _quote(quote: Quote | None) -> dict[str, Any] | None:
    """The quote as it is stored: its files become artifacts."""
    if quote is None:
        return None
    return {name: value for name, value in asdict(quote).items() if name != "files"}


def _row(conversation: models.Conversation, event: InboundMessage, now: float) -> models.Inbox:
    sent = clean(
        {
            "album": event.album or None,
            "sender": asdict(event.sender),
            "text": event.text,
            "forwarded_from": event.forwarded_from,
            "payload": event.payload[:PAYLOAD_MAX],
            "quote": _quote(event.quote),
            "raw": event.raw,
        }
    )
    return models.Inbox(
        id=new_id(),
        conversation_id=conversation.id,
        sequence=conversation.inbox_sequence,
        channel=event.address.channel,
        account=event.address.account,
        event_id=event.event_id,
        message_id=event.message_id,
        kind=event.kind,
        attachments=[],
        state="done",
        reason="",
        reason_code="",
        sent_at=event.sent_at,
        received_at=now,
        **sent,
    )
