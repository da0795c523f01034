"""One conversation: its transcript, tool calls, turns, and the turn that runs now."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.conversations.settings import PROGRESS
from roost_platform.db.locks import OPEN_STATES
from roost_platform.queueing import SETTING
from roost_platform.views.channels import account_labels
from roost_platform.views.session.redaction import without_texts
from roost_platform.views.session.spans import turn_view
from roost_platform.views.session.targets import targets_by_step, targets_of
from roost_platform.views.session.transcript import (
    bubbles_of,
    call_view,
    waiting_count,
    waiting_of,
)
from roost_platform.views.session.view import ConversationView, RunningTurn
from roost_platform.views.sessions import display_title
from roost_platform.views.states import ConversationState, states_of
from roost_platform.views.waiting.waits import waits_of, whom
from roost_platform.views.workflows.children import children_of
from roost_platform.views.workflows.flows.flows import may_be_retried

TURNS_SHOWN_MAX = 30


async def conversation_id_of_key(session: AsyncSession, key: str) -> str | None:
    """The conversation with this session key; None if there is none."""
    return await session.scalar(
        select(models.Conversation.id).where(models.Conversation.key == key)
    )


async def conversation(
    session: AsyncSession,
    id: str,
    number: int | None,
    *,
    with_texts: bool,
    before: int | None = None,
) -> ConversationView | None:
    """Session `number` of a conversation, or the current one; None if there is none.

    before: show the messages before this position instead of the newest.
    """
    pair = (
        await session.execute(
            select(models.Conversation, models.Identity)
            .outerjoin(models.Identity, models.Identity.id == models.Conversation.identity_id)
            .where(models.Conversation.id == id)
        )
    ).first()
    if pair is None:
        return None
    row, identity = pair
    chosen = await session.scalar(
        select(models.Session).where(
            models.Session.conversation_id == id,
            models.Session.number == number
            if number is not None
            else models.Session.id == row.session_id,
        )
    )
    if number is not None and chosen is None:
        return None
    session_id = chosen.id if chosen else ""
    is_current = chosen is None or session_id == row.session_id
    turns = (
        await session.scalars(
            select(models.Turn)
            .where(models.Turn.session_id == session_id)
            .order_by(models.Turn.number.desc())
            .limit(TURNS_SHOWN_MAX)
        )
    ).all()
    calls = await calls_of(session, session_id)
    steps = await steps_of(session, [turn.id for turn in turns])
    sends = await sends_of(session, [turn.id for turn in turns])
    targets = await targets_of(
        session, session_id, [one for each in steps.values() for one in each]
    )
    views = tuple(
        turn_view(
            *(t, steps[t.id], calls[t.id], sends[t.id], targets_by_step(targets, t.id)),
            can_retry=may_be_retried(t, row),
        )
        for t in turns
    )
    totals = await totals_of(session, session_id)
    shown = await bubbles_of(session, row, chosen, identity, calls, before)
    running = await running_of(session, turns, steps, calls)
    state = (await states_of(session, [row]))[id] if is_current else over(running)
    labels = await account_labels(session)
    view = ConversationView(
        id=id,
        key=row.key,
        channel=row.channel,
        account=labels.get((row.channel, row.account), ""),
        title=display_title(row, identity.display_name if identity else None),
        agent=row.agent if is_current or chosen is None else chosen.agent,
        identity_id=row.identity_id,
        access=identity.access if identity else "",
        session_id=session_id,
        session_number=chosen.number if chosen else 1,
        session_count=await session.scalar(
            select(func.count()).where(models.Session.conversation_id == id)
        )
        or 0,
        is_current=is_current,
        created_at=chosen.created_at if chosen else row.created_at,
        prompt_tokens=totals[0],
        cached_tokens=totals[1],
        completion_tokens=totals[2],
        bubbles=shown.bubbles,
        earlier=shown.earlier,
        first=shown.first,
        queue=str(row.settings.get(SETTING, "")),
        progress=str(row.settings.get(PROGRESS, "")),
        waiting=await waiting_of(session, id) if is_current else (),
        running=running,
        turns=views,
        turn_count=await session.scalar(
            select(func.count()).where(models.Turn.session_id == session_id)
        )
        or 0,
        all_turns=row.turn_count,
        state=state,
        waiting_count=await waiting_count(session, id) if is_current else 0,
        children=await children_of(session, id) if is_current else (),
        root_id=row.root_id,
    )
    return view if with_texts else without_texts(view)


def over(running: RunningTurn | None) -> ConversationState:
    """The state of a session that is not the current one."""
    if running is None:
        return ConversationState("over")
    word = "waiting" if running.is_waiting else running.phase
    return ConversationState(word, running.started_at, running.stop_requested, whom(running.waits))


async def calls_of(session: AsyncSession, session_id: str) -> Mapping[str, list[models.ToolCall]]:
    """The tool calls of a session by turn, in order."""
    by_turn: dict[str, list[models.ToolCall]] = defaultdict(list)
    for call in await session.scalars(
        select(models.ToolCall)
        .join(models.Turn, models.Turn.id == models.ToolCall.turn_id)
        .where(models.Turn.session_id == session_id)
        .order_by(models.ToolCall.step, models.ToolCall.position)
    ):
        by_turn[call.turn_id].append(call)
    return by_turn


async def steps_of(
    session: AsyncSession, turn_ids: Sequence[str]
) -> Mapping[str, list[models.TurnStep]]:
    """Model calls by turn, in order."""
    by_turn: dict[str, list[models.TurnStep]] = defaultdict(list)
    for step in await session.scalars(
        select(models.TurnStep)
        .where(models.TurnStep.turn_id.in_(turn_ids))
        .order_by(models.TurnStep.step)
    ):
        by_turn[step.turn_id].append(step)
    return by_turn


async def sends_of(
    session: AsyncSession, turn_ids: Sequence[str]
) -> Mapping[str, list[models.Part]]:
    """The parts of each turn's messages, by turn, in order."""
    by_turn: dict[str, list[models.Part]] = defaultdict(list)
    rows = await session.execute(
        select(models.Outbox.turn_id, models.Part)
        .join(models.Part, models.Part.outbox_id == models.Outbox.id)
        .where(models.Outbox.turn_id.in_(turn_ids))
        .order_by(models.Outbox.sequence, models.Part.position)
    )
    for turn_id, part in rows:
        by_turn[turn_id or ""].append(part)
    return by_turn


async def totals_of(session: AsyncSession, session_id: str) -> tuple[int, int, int]:
    """The prompt, cached and generated tokens of a session."""
    steps = models.TurnStep
    row = (
        await session.execute(
            select(
                func.sum(steps.prompt_tokens),
                func.sum(steps.cached_tokens),
                func.sum(steps.completion_tokens),
            )
            .join(models.Turn, models.Turn.id == steps.turn_id)
            .where(models.Turn.session_id == session_id)
        )
    ).one()
    return int(row[0] or 0), int(row[1] or 0), int(row[2] or 0)


async def running_of(
    session: AsyncSession,
    turns: Sequence[models.Turn],
    steps: Mapping[str, list[models.TurnStep]],
    calls: Mapping[str, list[models.ToolCall]],
) -> RunningTurn | None:
    """The open turn with its partial text and the calls of its open group; None without one."""
    turn = next((t for t in turns if t.state in OPEN_STATES), None)
    if turn is None:
        return None
    progress = await session.get(models.RunProgress, turn.id)
    is_waiting = turn.state == "waiting"
    waits = await waits_of(session, [turn]) if is_waiting else {}
    open_steps = {step.step for step in steps.get(turn.id, ()) if step.state == "open"}
    return RunningTurn(
        turn_id=turn.id,
        number=turn.number,
        phase=progress.phase if progress else "queued",
        text=progress.text if progress else "",
        started_at=turn.waiting_since or turn.started_at,
        stop_requested=turn.stop_requested_at is not None,
        calls=tuple(call_view(c) for c in calls.get(turn.id, ()) if c.step in open_steps),
        is_waiting=is_waiting,
        waits=waits.get(turn.id, ()),
    )
