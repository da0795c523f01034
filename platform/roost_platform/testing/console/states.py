"""Every state that a conversation, a message or an account can be in, each with rows of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roost_platform.db import models
from roost_platform.db.base.ids import new_id
from roost_platform.db.stores import Stores
from roost_platform.testing.console.day import writing
from roost_platform.testing.console.rows import conversation, sequences, step_row, turn_row

ACCOUNT = "42"
CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class SessionCase:
    """A conversation and the word for its state.

    turns: (state, phase of a running one) of each, oldest first. inbox: states of what came in.
    renewed: how many turns belong to an older session.
    """

    word: str
    turns: Sequence[tuple[str, str]] = ()
    inbox: Sequence[str] = ()
    renewed: int = 0


SESSIONS: Mapping[str, SessionCase] = {
    "new": SessionCase("idle"),
    "queued": SessionCase("queued", [("running", "")]),
    "thinking": SessionCase("thinking", [("running", "thinking")]),
    "tool": SessionCase("tool", [("done", ""), ("running", "tool")]),
    "answering": SessionCase("answering", [("running", "answering")]),
    "unreachable": SessionCase("unreachable", [("running", "unreachable")]),
    "unheard": SessionCase("thinking", [("running", "a phase of a later version")]),
    "waits": SessionCase("pending", [], ["pending"]),
    "wants-in": SessionCase("held", [], ["held", "held"]),
    "both": SessionCase("pending", [], ["held", "pending"]),
    "behind": SessionCase("answering", [("running", "answering")], ["pending"]),
    "done": SessionCase("idle", [("done", ""), ("done", "")], ["done"]),
    "failed": SessionCase("failed", [("done", ""), ("failed", "")]),
    "stopped": SessionCase("stopped", [("stopped", "")]),
    "recovered": SessionCase("idle", [("failed", ""), ("done", "")]),
    "failed-waits": SessionCase("pending", [("failed", "")], ["pending"]),
    "renewed": SessionCase("idle", [("done", ""), ("failed", "")], renewed=2),
    "renewed-runs": SessionCase("tool", [("running", "tool")], renewed=1),
    "renewed-done": SessionCase("idle", [("done", ""), ("done", ""), ("done", "")], renewed=2),
}


@dataclass(frozen=True, slots=True)
class PartCase:
    """A part of a message; see models.Part."""

    state: str
    receipt: str = ""
    reason: str = ""
    held: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryCase:
    """A message, the word for its state, and what its page says of the next try.

    age_s: since when it is queued.
    """

    word: str
    state: str
    parts: Sequence[PartCase] = ()
    age_s: float = 5.0
    says: str = ""


DELIVERIES: Mapping[str, DeliveryCase] = {
    "unplanned": DeliveryCase("pending", "pending", says="other messages to this chat go first"),
    "planned": DeliveryCase("pending", "pending", [PartCase("planned")], says="First try"),
    "sending": DeliveryCase("pending", "pending", [PartCase("sending")]),
    "again": DeliveryCase("pending", "pending", [PartCase("not_sent")], says="Next try"),
    "half": DeliveryCase("pending", "pending", [PartCase("sent"), PartCase("planned")]),
    "held": DeliveryCase(
        "pending", "pending", [PartCase("not_sent", held=True)], 900.0, "until the person writes"
    ),
    "stalled": DeliveryCase("pending", "pending", [PartCase("not_sent")], 90.0, "Next try"),
    "settling": DeliveryCase("uncertain", "pending", [PartCase("ambiguous")]),
    "doubt": DeliveryCase("uncertain", "failed", [PartCase("failed", reason="outcome_unknown")]),
    "failed": DeliveryCase("failed", "failed", [PartCase("failed", reason="refused")]),
    "expired": DeliveryCase("failed", "failed", [PartCase("expired")]),
    "refused": DeliveryCase("failed", "failed", [PartCase("sent"), PartCase("failed", "failed")]),
    "broken": DeliveryCase("failed", "failed", says="failed before it was cut into parts"),
    "sent": DeliveryCase("sent", "sent", [PartCase("sent"), PartCase("sent", "read")]),
    "delivered": DeliveryCase("delivered", "sent", [PartCase("sent", "delivered")]),
    "read": DeliveryCase("read", "sent", [PartCase("sent", "read")]),
    "cancelled": DeliveryCase("cancelled", "cancelled", [PartCase("planned")]),
    "dropped": DeliveryCase("cancelled", "cancelled", says="cancelled before it was cut"),
}


async def add_sessions(stores: Stores, now: float) -> dict[str, str]:
    """A conversation for each of SESSIONS; returns their ids by name."""
    ids = {}
    async with writing(stores) as add:
        for name, case in SESSIONS.items():
            ids[name] = await _add_session(add, name, case, now)
    return ids


async def _add_session(add: Any, name: str, case: SessionCase, now: float) -> str:
    number = 2 if case.renewed else 1
    id, current = await conversation(
        add, "telegram", ACCOUNT, name, None, len(case.turns), now - 60, number=number
    )
    older = current
    if case.renewed:
        older = new_id()
        await add(
            models.Session(
                id=older, conversation_id=id, number=1, agent="concierge", created_at=now - 3000
            )
        )
    for at, (state, phase) in enumerate(case.turns):
        session = older if at < case.renewed else current
        took = None if state == "running" else 2.0
        turn = turn_row(id, session, at + 1, state, now - 50 + at, took)
        turn.stop_requested_by = "Grace Hopper" if state == "stopped" else ""
        await add(turn)
        await add(step_row(turn, 1, now - 49 + at, ttft=0.2, took=1.0, tokens=7 + 3 * at))
        if phase:
            progress = models.RunProgress(turn_id=turn.id, conversation_id=id)
            progress.phase, progress.updated_at = phase, now
            await add(progress)
    for at, state in enumerate(case.inbox):
        await add(_inbox(id, at + 1, name, state, now))
    return id


def _inbox(conversation_id: str, sequence: int, name: str, state: str, now: float) -> models.Inbox:
    return models.Inbox(
        id=new_id(),
        conversation_id=conversation_id,
        sequence=sequence,
        channel="telegram",
        account=ACCOUNT,
        event_id=f"{name}:{sequence}",
        message_id=str(sequence),
        kind="message",
        sender={"address": name, "display_name": name},
        text="Hello?",
        raw={},
        state=state,
        sent_at=now - 40,
        received_at=now - 40,
    )


async def add_deliveries(
    stores: Stores, now: float, names: Sequence[str] = tuple(DELIVERIES)
) -> tuple[str, dict[str, str]]:
    """A notice for each name of DELIVERIES in one conversation; returns its id and theirs."""
    ids = {}
    async with writing(stores) as add:
        of, _ = await conversation(add, "telegram", ACCOUNT, f"gets {names[0]}", None, 0, now)
        for name in names:
            ids[name] = await _add_delivery(add, of, name, DELIVERIES[name], now)
    return of, ids


async def _add_delivery(add: Any, of: str, name: str, case: DeliveryCase, now: float) -> str:
    id = new_id()
    outbox = models.Outbox(
        id=id, sequence=next(sequences), conversation_id=of, text=f"I am {name}."
    )
    outbox.channel, outbox.account, outbox.kind = "telegram", ACCOUNT, "notice"
    outbox.state, outbox.dedupe_key = case.state, f"state:{id}"
    outbox.created_at = outbox.next_at = now - case.age_s
    await add(outbox)
    for at, one in enumerate(case.parts):
        part = models.Part(
            id=new_id(), outbox_id=id, conversation_id=of, position=at, count=len(case.parts)
        )
        part.rendered = {"text": f"{name} {at}", "entities": []}
        part.char_start, part.char_end = at * CHARACTERS, (at + 1) * CHARACTERS
        part.state, part.receipt, part.held = one.state, one.receipt, one.held
        part.reason_code, part.next_at = one.reason, now - 49
        part.attempts = 0 if one.state == "planned" else 2
        part.sent_at = now if one.state == "sent" else None
        part.error = "" if one.state == "sent" else f"why {name}"
        await add(part)
    return id
