"""The words for turns and calls that end without an answer, for people and for the model."""

from collections.abc import Iterable, Mapping
from typing import Final

from roost.effects import Effect
from roost.messages import NoteKind
from roost_channels.rendering.markup import closed
from roost_workflows.ports import CallState, CallStatus, Settled

EMPTY_NOTICE: Final = "I have no answer to that. Please try again, or say it in other words."
LENGTH_NOTE: Final = "cut off at the length limit"
NO_ANSWER_NOTE: Final = "gave no answer"
NOT_RUN: Final = "Not run: the turn ended before this call began."
CANCELLED: Final = "Cancelled before it finished."
UNKNOWN: Final = "The outcome is unknown: the call was interrupted and may have taken effect."

DONE: Final[frozenset[str]] = frozenset({"ok"})
UNDONE: Final[frozenset[str]] = frozenset({"error", "cancelled", "skipped"})

# What people read when a turn failed, by ports.FAILURE_REASONS.
APOLOGIES: Final[Mapping[str, str]] = {
    "engine_unavailable": "The model can't be reached right now. Please try again in a while.",
    "engine_failed": "The model failed on this message again and again. Please try another way.",
    "queue_full": "Too many requests are waiting right now. Please try again in a while.",
    "refused": "The model refused this request as not valid. Please try another way.",
    "too_long": "This is too long for the model. Send /new to start afresh, or say less at once.",
    "too_many_steps": "I stopped after too many steps without reaching an answer.",
    "unknown_agent": (
        "The agent of this conversation is not installed any more. "
        "Send /new to talk to the one that is."
    ),
    "worker_died": (
        "I broke down over this message more than once, so I gave up on it. "
        "Please say it in another way, or send /new to start afresh."
    ),
    "timeout": "This took too long, so I gave up. Please try again.",
    "internal": "Something went wrong and I could not finish this answer. Please try again.",
}
HEADS: Final[Mapping[str, str]] = {"stopped": "Stopped", "interrupted": "Interrupted"}


def unfinished_call(state: CallState, effect: Effect) -> tuple[CallStatus, str]:
    """The status and result of a call that did not finish, by what its effect may have been."""
    if state == "planned":
        return "skipped", NOT_RUN
    if effect == "pure":
        return "cancelled", CANCELLED
    return "unknown", UNKNOWN


def count_calls(states: Iterable[str], elapsed_s: float, *, already: bool) -> Settled:
    """Tool calls of a whole turn by how they ended."""
    ended = list(states)
    return Settled(
        done=sum(state in DONE for state in ended),
        undone=sum(state in UNDONE for state in ended),
        unknown=sum(state == "unknown" for state in ended),
        elapsed_s=max(elapsed_s, 0.0),
        already=already,
    )


def ending_note(kind: NoteKind, reason: str, elapsed_s: float) -> str:
    """What the model and operators read after the last message of the turn.

    kind: stopped, interrupted or failed. reason: one of ports.FAILURE_REASONS.
    """
    if kind == "failed":
        return f"failed: {reason}"
    how = "interrupted by a newer message" if kind == "interrupted" else "stopped by the user"
    return f"{how} after {elapsed_s:.0f} s"


def final_message(kind: NoteKind, reason: str, partial: str, settled: Settled) -> str:
    """What people read: the partial answer, if any, and how the turn ended."""
    if kind == "failed":
        ending = APOLOGIES.get(reason, APOLOGIES["internal"])
    else:
        ending = status_line(settled, HEADS[kind])
    return f"{closed(partial)}\n\n{ending}" if partial else ending


def status_line(settled: Settled, head: str = "Stopped") -> str:
    """`Stopped after 42 s: 3 done, 1 undone, 1 unknown.`; no figures when no tool was called."""
    seconds = settled.elapsed_s
    line = f"{head} after {f'{seconds:.0f} s' if seconds >= 1 else 'less than a second'}"
    if not settled.calls:
        return f"{line}."
    return f"{line}: {settled.done} done, {settled.undone} undone, {settled.unknown} unknown."
