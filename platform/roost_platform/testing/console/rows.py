"""Rows of a made-up day, with one helper for each table."""

from typing import Any

from roost_platform.db import models
from roost_platform.db.base.ids import new_id


async def conversation(
    add: Any,
    channel: str,
    account: str,
    chat: str,
    person: str | None,
    turns: int,
    at: float,
    *,
    number: int = 1,
) -> tuple[str, str]:
    """Add a conversation with its current session, the `number`th; returns both ids."""
    id, session_id = new_id(), new_id()
    await add(
        models.Conversation(
            id=id,
            key=f"{channel}:{account}:{chat}",
            channel=channel,
            account=account,
            chat=chat,
            session_id=session_id,
            agent="concierge",
            identity_id=person,
            inbox_sequence=20,
            turn_count=turns,
            last_inbound_at=at,
            created_at=at - 3000,
        )
    )
    await add(
        models.Session(
            id=session_id,
            conversation_id=id,
            number=number,
            agent="concierge",
            transcript_length=50,
            created_at=at - 3000,
        )
    )
    return id, session_id


def turn_row(
    conversation: str, session: str, number: int, state: str, at: float, took: float | None
) -> models.Turn:
    """A turn that began at `at` and took `took` seconds; None: it still runs."""
    return models.Turn(
        id=new_id(),
        conversation_id=conversation,
        session_id=session,
        number=number,
        agent="concierge",
        state=state,
        queued_at=at - 0.04,
        started_at=at,
        finished_at=at + took if took is not None else None,
    )


def step_row(
    turn: models.Turn,
    step: int,
    at: float,
    *,
    ttft: float,
    took: float,
    tokens: int,
    finish: str = "answer",
    state: str = "closed",
    engine: dict[str, Any] | None = None,
) -> models.TurnStep:
    """A model call; times in seconds."""
    return models.TurnStep(
        turn_id=turn.id,
        engine=engine,
        step=step,
        state=state,
        finish=finish,
        text="",
        prompt_tokens=380 + 60 * step,
        cached_tokens=320,
        completion_tokens=tokens,
        time_to_first_token_s=ttft,
        duration_s=took,
        started_at=at,
        created_at=at + took,
    )


def transcript_row(
    session: str, position: int, role: str, text: str, at: float, **more: Any
) -> models.Transcript:
    """An entry of the transcript."""
    return models.Transcript(
        id=new_id(),
        session_id=session,
        position=position,
        role=role,
        content=text,
        created_at=at,
        **more,
    )


def call_row(
    turn: models.Turn,
    step: int,
    id: str,
    name: str,
    arguments: str,
    effect: str,
    state: str,
    result: str,
) -> models.ToolCall:
    """A tool call of a turn's step."""
    return models.ToolCall(
        turn_id=turn.id,
        step=step,
        call_id=id,
        position=0,
        name=name,
        arguments=arguments,
        effect=effect,
        state=state,
        attempts=1,
        result=result,
        started_at=turn.started_at + 0.7,
        finished_at=turn.started_at + 0.76 if state != "running" else None,
    )


# Of outgoing messages, beyond those that a test queues itself.
sequences = iter(range(1000, 10**9))


async def delivered(
    add: Any,
    conversation: str,
    channel: str,
    account: str,
    turn: str | None,
    kind: str,
    text: str,
    at: float,
    number: int,
    state: str = "sent",
) -> str:
    """Add an outgoing message of one part with its attempts; returns its id."""
    outbox, part = new_id(), new_id()
    await add(
        models.Outbox(
            id=outbox,
            sequence=next(sequences),
            conversation_id=conversation,
            channel=channel,
            account=account,
            turn_id=turn,
            kind=kind,
            text=text,
            state=state,
            dedupe_key=f"seed:{outbox}",
            next_at=at,
            created_at=at,
            finished_at=at + 0.3,
        )
    )
    await add(
        models.Part(
            id=part,
            outbox_id=outbox,
            conversation_id=conversation,
            position=0,
            count=1,
            rendered={"text": text, "entities": []},
            char_start=0,
            char_end=len(text),
            state="sent" if state == "sent" else "failed",
            receipt="delivered" if number == 1 else "",
            attempts=1 if state == "sent" else 3,
            next_at=at,
            message_id=f"{number + 76}" if state == "sent" else None,
            error="" if state == "sent" else "63016: outside the 24 hour window",
            evidence=[]
            if state == "sent"
            else [{"at": at, "note": "The list has no such message."}],
            started_at=at + 0.05,
            sent_at=at + 0.25 if state == "sent" else None,
        )
    )
    for attempt in (1,) if state == "sent" else (1, 2, 3):
        await add(
            models.DeliveryAttempt(
                part_id=part,
                attempt=attempt,
                outcome="sent"
                if state == "sent"
                else ("ambiguous", "not_sent", "failed")[attempt - 1],
                http_status=200 if state == "sent" else (0, 503, 400)[attempt - 1],
                code="" if state == "sent" else ("", "", "63016")[attempt - 1],
                description=""
                if state == "sent"
                else ("Timed out", "Service unavailable", "Outside the window")[attempt - 1],
                started_at=at + attempt,
                finished_at=at + attempt + 0.2,
            )
        )
    return outbox
