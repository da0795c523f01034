"""How a turn's time was spent: in the queue, on first tokens, writing, tools, delivery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roost_platform.db import models
from roost_platform.queueing import INTERRUPTED
from roost_platform.views.engine.notes import engine_notes

SPANS_MAX = 40  # rows of one waterfall


@dataclass(frozen=True, slots=True)
class TurnSpan:
    """One bar. start, length: percent of the whole turn; kind names the colour."""

    kind: str
    label: str
    start: float
    length: float
    duration_s: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TurnView:
    """One turn with its waterfall. engine: what the engine reports of its calls, in sentences.
    models: which model answered which steps, in words.
    steps: the numbers of its model calls, of which the last may have no answer.

    error: the engine's own words or a trace, for operators.
    reason: the code of how it ended; ending: the same in words, empty for a turn that ended well.
    retries: how often operators had it tried again; can_retry: whether that may be asked for.
    """

    id: str
    number: int
    state: str
    reason: str
    started_at: float
    duration_s: float | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    ttft_s: float | None
    spans: tuple[TurnSpan, ...]
    conversation_id: str = ""
    steps: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    engine: tuple[str, ...] = ()
    error: str = ""
    ending: str = ""
    retries: int = 0
    can_retry: bool = False


@dataclass(frozen=True, slots=True)
class _Raw:
    kind: str
    label: str
    start: float
    end: float | None
    detail: str = ""


def turn_view(
    turn: models.Turn,
    steps: Sequence[models.TurnStep],
    calls: Sequence[models.ToolCall],
    parts: Sequence[models.Part],
    targets: Mapping[int, str] | None = None,
    *,
    can_retry: bool = False,
) -> TurnView:
    """The view of a turn from its stored times. targets: those of the gateway that answered, by
    the number of the step, where they are known.
    """
    return TurnView(
        id=turn.id,
        number=turn.number,
        state=turn.state,
        reason=turn.reason_code,
        started_at=turn.started_at,
        duration_s=turn.finished_at - turn.queued_at if turn.finished_at else None,
        prompt_tokens=sum(s.prompt_tokens for s in steps),
        cached_tokens=sum(s.cached_tokens for s in steps),
        completion_tokens=sum(s.completion_tokens for s in steps),
        ttft_s=next((s.time_to_first_token_s for s in steps), None),
        spans=scaled(turn.queued_at, raw_spans(turn, steps, calls, parts)),
        conversation_id=turn.conversation_id,
        steps=step_numbers(turn, steps),
        models=answered_by(steps, targets or {}),
        engine=engine_notes(steps),
        error=turn.error,
        ending=ending_of(turn),
        retries=turn.retries,
        can_retry=can_retry,
    )


def answered_by(steps: Sequence[models.TurnStep], targets: Mapping[int, str]) -> tuple[str, ...]:
    """Each model that answered, with its steps where there are several models."""
    numbers: dict[str, list[int]] = {}
    for step in steps:
        target = targets.get(step.step, "")
        is_known = not target or target == step.model or target.endswith(f"/{step.model}")
        name = (target or step.model) if is_known or not step.model else f"{target} ({step.model})"
        if name:
            numbers.setdefault(name, []).append(step.step)
    if len(numbers) < 2:
        return tuple(numbers)
    return tuple(
        f"{name} (step{'s' if len(each) > 1 else ''} {', '.join(map(str, each))})"
        for name, each in numbers.items()
    )


def step_numbers(turn: models.Turn, steps: Sequence[models.TurnStep]) -> tuple[int, ...]:
    """The steps whose prompts can be looked at: also the one that has no answer."""
    numbers = [step.step for step in steps]
    ended_well = turn.state in ("done", "stopped")
    return tuple(numbers if ended_well else [*numbers, max(numbers, default=0) + 1])


def ending_of(turn: models.Turn) -> str:
    """How a turn ended that has no answer, and by whom."""
    if turn.state == "stopped" and turn.reason_code == INTERRUPTED:
        return "interrupted by a newer message"
    if turn.state == "stopped":
        return f"stopped by {turn.stop_requested_by}" if turn.stop_requested_by else "stopped"
    return turn.reason_code.replace("_", " ") if turn.state == "failed" else ""


def raw_spans(
    turn: models.Turn,
    steps: Sequence[models.TurnStep],
    calls: Sequence[models.ToolCall],
    parts: Sequence[models.Part],
) -> list[_Raw]:
    """Bars in absolute time, in the order in which they began."""
    spans = [_Raw("queue", "Queue", turn.queued_at, turn.started_at)]
    for step in steps:
        end = step.started_at + step.duration_s
        first = step.started_at + (step.time_to_first_token_s or 0.0)
        tokens = (
            f"{step.prompt_tokens} in, {step.cached_tokens} cached, {step.completion_tokens} out"
        )
        if step.time_to_first_token_s is not None:
            spans.append(_Raw("prefill", "First token", step.started_at, min(first, end)))
            spans.append(_Raw("decode", "Writing", min(first, end), end, tokens))
        else:
            spans.append(_Raw("decode", "Model", step.started_at, end, tokens))
    for call in calls:
        if call.started_at is not None:
            detail = f"{call.state}, attempt {call.attempts}" if call.attempts > 1 else call.state
            spans.append(_Raw("tool", call.name, call.started_at, call.finished_at, detail))
    for part in parts:
        if part.started_at is not None:
            label = f"Deliver {part.position + 1}/{part.count}" if part.count > 1 else "Deliver"
            spans.append(_Raw("deliver", label, part.started_at, part.sent_at, part.state))
    return sorted(spans, key=lambda span: span.start)[:SPANS_MAX]


def scaled(begin: float, spans: Sequence[_Raw]) -> tuple[TurnSpan, ...]:
    """Bars in percent of the whole turn; a bar that has not ended reaches to the right edge."""
    end = max([span.end if span.end is not None else span.start for span in spans] + [begin])
    whole = max(end - begin, 1e-6)
    return tuple(
        TurnSpan(
            kind=s.kind,
            label=s.label,
            start=round(min(100.0, max(0.0, (s.start - begin) / whole * 100)), 2),
            length=round(
                max(0.4, ((s.end if s.end is not None else end) - s.start) / whole * 100), 2
            ),
            duration_s=s.end - s.start if s.end is not None else None,
            detail=s.detail,
        )
        for s in spans
    )
