"""The words for turns and calls that end without an answer, for people and for the model."""

from collections.abc import Iterable, Mapping, Sequence
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
    "unknown_agent": "The agent of this conversation is not installed any more.",
    "worker_died": (
        "I broke down over this message more than once, so I gave up on it. "
        "Please say it in another way, or send /new to start afresh."
    ),
    "timeout": "This took too long, so I gave up. Please try again.",
    "internal": "Something went wrong and I could not finish this answer. Please try again.",
}
# Who stopped a turn, by the code beside the stop.
BY_OPERATOR: Final = "by_operator"
BY_NETWORK: Final = "by_network"
STOPPERS: Final[Mapping[str, str]] = {
    "": "the user",
    BY_OPERATOR: "an operator",
    BY_NETWORK: "the chat network, which shut us out",
}
TOOLS_NAMED_MAX: Final = 5
HEADS: Final[Mapping[str, str]] = {"stopped": "Stopped", "interrupted": "Interrupted"}


def unfinished_call(state: CallState, effect: Effect) -> tuple[CallStatus, str]:
    """The status and result of a call that did not finish, by what its effect may have been."""
    if state == "planned":
        return "skipped", NOT_RUN
    if effect == "pure":
        return "cancelled", CANCELLED
    return "unknown", UNKNOWN


def count_calls(calls: Iterable[tuple[str, str]], elapsed_s: float, *, already: bool) -> Settled:
    """Tool calls of a whole turn by how they ended. calls: (tool name, state) of each, in order."""
    ended = list(calls)
    undone = [name for name, state in ended if state in UNDONE]
    unknown = [name for name, state in ended if state == "unknown"]
    return Settled(
        done=sum(state in DONE for _, state in ended),
        undone=len(undone),
        unknown=len(unknown),
        elapsed_s=max(elapsed_s, 0.0),
        already=already,
        undone_tools=tuple(dict.fromkeys(undone)),
        unknown_tools=tuple(dict.fromkeys(unknown)),
    )


def ending_note(kind: NoteKind, reason: str, elapsed_s: float, stopped_by: str = "") -> str:
    """What the model and operators read after the last message of the turn.

    kind: stopped, interrupted or failed. reason: one of ports.FAILURE_REASONS.
    stopped_by: a code of STOPPERS; empty for the person in the chat.
    """
    if kind == "failed":
        return f"failed: {reason}"
    who = STOPPERS.get(stopped_by, STOPPERS[""])
    how = "interrupted by a newer message" if kind == "interrupted" else f"stopped by {who}"
    return f"{how} after {elapsed_s:.0f} s"


def final_message(kind: NoteKind, reason: str, partial: str, settled: Settled) -> str:
    """What people read: the partial answer, if any, and how the turn ended."""
    if kind == "failed":
        ending = APOLOGIES.get(reason, APOLOGIES["internal"])
    else:
        ending = status_line(settled, HEADS[kind])
    return f"{closed(partial)}\n\n{ending}" if partial else ending


def status_line(settled: Settled, head: str = "Stopped") -> str:
    """`Stopped after 42 s: 3 done, 1 undone, 1 unknown. Undone: find_train. Unknown: book_train.`

    No figures when no tool was called.
    """
    seconds = settled.elapsed_s
    line = f"{head} after {f'{seconds:.0f} s' if seconds >= 1 else 'less than a second'}"
    if not settled.calls:
        return f"{line}."
    line += f": {settled.done} done, {settled.undone} undone, {settled.unknown} unknown."
    named = (("Undone", settled.undone_tools), ("Unknown", settled.unknown_tools))
    return line + "".join(f" {how}: {_listed(tools)}." for how, tools in named if tools)


def _listed(tools: Sequence[str]) -> str:
    """The first TOOLS_NAMED_MAX names, and how many more there are."""
    more = len(tools) - TOOLS_NAMED_MAX
    return ", ".join(tools[:TOOLS_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
