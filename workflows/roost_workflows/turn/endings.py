"""The words for turns and calls that end without an answer, for people and for the model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from roost.effects import Effect
from roost.messages import NoteKind
from roost.turn import Finish
from roost_channels.rendering.markup import closed
from roost_workflows.ports import CallState, CallStatus
from roost_workflows.storage.ends import Settled

# What people read while the engine fails for long; the turn goes on.
DELAYED: Final = (
    "The model does not answer right now, so this takes longer. Your message is kept: "
    "I go on trying for some minutes and will write."
)
EMPTY_NOTICE: Final = "I have no answer to that. Please try again, or say it in other words."
LENGTH_NOTE: Final = "cut off at the length limit"
# What people read behind an answer that is not whole, by how it finished, and before that its note
# in the transcript.
CUT_SHORT: Final[Mapping[Finish, tuple[NoteKind, str, str]]] = {
    "length": (
        "cut_off",
        LENGTH_NOTE,
        "This answer was cut off at its length limit. Ask me to go on for the rest.",
    ),
    "unfinished": (
        "unfinished",
        "the engine sent no end of this answer",
        "This answer may not be complete: the model broke off without an end.",
    ),
    "filtered": (
        "filtered",
        "stopped by the rules of the engine's provider",
        "The provider of the model stopped this answer because of its rules about contents.",
    ),
}
# The same where there is no answer at all.
NO_TEXT: Final[Mapping[Finish, str]] = {
    "length": ("I reached my length limit before I got to an answer. Please ask for less at once."),
    "filtered": (
        "The provider of the model refuses to answer this because of its rules about contents. "
        "Please say it in another way."
    ),
}
# What people read when a limit of the turn took the tools away, by reasons.LIMIT_REASONS.
LIMITS_SAID: Final[Mapping[str, str]] = {
    "too_many_steps": "I stopped here: one answer may take only so many steps.",
    "too_many_calls": "I stopped here: one answer may use only so many tool calls.",
    "too_many_tokens": "I stopped here: one answer may read and write only so much text.",
    "repeated_calls": "I stopped here: I was repeating the same step without getting any further.",
    "budget_spent": "I stopped here: the agents at work on this may use only so much together.",
}
NO_ANSWER_NOTE: Final = "gave no answer"
NOT_RUN: Final = "Not run: the turn ended before this call began."
CANCELLED: Final = "Cancelled before it finished."
UNKNOWN: Final = "The outcome is unknown: the call was interrupted and may have taken effect."

DONE: Final[frozenset[str]] = frozenset({"ok"})
UNDONE: Final[frozenset[str]] = frozenset({"error", "cancelled", "skipped"})

# What people read when a turn failed, by reasons.FAILURE_REASONS.
APOLOGIES: Final[Mapping[str, str]] = {
    "engine_unavailable": "The model can't be reached right now. Please try again in a while.",
    "engine_failed": "The model failed on this message again and again. Please try another way.",
    "queue_full": "Too many requests are waiting right now. Please try again in a while.",
    "refused": "The model refused this request as not valid. Please try another way.",
    "engine_refused": (
        "The service is not available: the model refuses to work for it. "
        "Whoever runs this service has to look at it; please try again later."
    ),
    "content_refused": (
        "The provider of the model refuses this because of its rules about contents. "
        "Please say it in another way, or send /new to start afresh."
    ),
    "too_long": "This is too long for the model. Send /new to start afresh, or say less at once.",
    "too_many_steps": "I stopped after too many steps without reaching an answer.",
    "out_of_time": (
        "This took longer than one answer may take, so I stopped. Please ask for less at once."
    ),
    "no_progress": (
        "Something went wrong and I made no progress with this, so I gave up. "
        "Whoever runs this service can see why. Please try again."
    ),
    "unknown_agent": (
        "The agent of this conversation is not installed any more. "
        "Send /new to talk to the one that is."
    ),
    "flow_failed": "Something went wrong on the way and I could not finish this.",
    "flow_edited": (
        "This was changed while I worked on it, so I could not finish it. Please start it again."
    ),
    "flow_input": "The task is not the input that it takes.",
    "flow_unanswered": (
        "I got no answer to my question, so I stopped here. Write to me to begin anew."
    ),
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
# Of agents that work for others.
PARENT_ENDED: Final = "parent_ended"
STALLED: Final = "stalled"
STOPPERS: Final[Mapping[str, str]] = {
    "": "the user",
    BY_OPERATOR: "an operator",
    BY_NETWORK: "the chat network, which shut us out",
    PARENT_ENDED: "the end of the turn that it worked for",
    STALLED: "the clock, because it made no progress",
}
TOOLS_NAMED_MAX: Final = 5
HEADS: Final[Mapping[str, str]] = {"stopped": "Stopped", "interrupted": "Interrupted"}


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """How an answer is sent and kept. body: what people read, with what they must know about it."""

    body: str
    note_kind: NoteKind = ""
    note: str = ""


def answer_end(finish: Finish, limit: str, text: str, *, files: int) -> AnswerEnd:
    """The end of a turn with an answer.

    text: the answer, empty where it is blank. files: how many it carries. limit: one of
    reasons.LIMIT_REASONS where it took the tools away, else empty.
    """
    kind, note, said = CUT_SHORT.get(finish, ("", "", ""))
    if limit:
        said = LIMITS_SAID[limit]
        kind, note = ("limited", f"ended by a limit: {limit}") if not kind else (kind, note)
    if text:
        return AnswerEnd(f"{closed(text)}\n\n_{said}_" if said else text, kind, note)
    if files and not said:
        return AnswerEnd("", "files_only", f"answered with {files} file(s)")
    said = LIMITS_SAID[limit] if limit else NO_TEXT.get(finish, said) or EMPTY_NOTICE
    return AnswerEnd(said, kind or "no_answer", note or NO_ANSWER_NOTE)


def unfinished_call(state: CallState, effect: Effect) -> tuple[CallStatus, str]:
    """The status and result of a call that did not finish, by what its effect may have been."""
    if state in ("planned", "waiting", "ready"):
        return "skipped", NOT_RUN
    if effect == "pure":
        return "cancelled", CANCELLED
    return "unknown", UNKNOWN


def count_calls(
    calls: Iterable[tuple[str, str]], elapsed_s: float, *, already: bool, agents: int = 0
) -> Settled:
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
        agents=agents,
    )


def ending_note(kind: NoteKind, reason: str, elapsed_s: float, stopped_by: str = "") -> str:
    """What the model and operators read after the last message of the turn.

    kind: stopped, interrupted or failed. reason: one of reasons.FAILURE_REASONS.
    stopped_by: a code of STOPPERS; empty for the person in the chat.
    """
    if kind == "failed":
        return f"failed: {reason}"
    who = STOPPERS.get(stopped_by, STOPPERS[""])
    how = "interrupted by a newer message" if kind == "interrupted" else f"stopped by {who}"
    return f"{how} after {'0 s' if elapsed_s < 1 else lasting(elapsed_s)}"


def final_message(kind: NoteKind, reason: str, partial: str, settled: Settled) -> str:
    """What people read: the partial answer, if any, and how the turn ended."""
    if kind == "failed":
        ending = APOLOGIES.get(reason, APOLOGIES["internal"])
    else:
        ending = status_line(settled, HEADS[kind])
    ending += _taken_back(settled)
    return f"{closed(partial)}\n\n{ending}" if partial else ending


def status_line(settled: Settled, head: str = "Stopped") -> str:
    """`Stopped after 42 s: 3 done, 1 undone, 1 unknown. Undone: find_train. Unknown: book_train.`

    No figures when no tool was called and no agent worked for the turn; those are told first:
    `Stopped after 42 s: 2 agents, calls: 3 done, 0 undone, 1 unknown.`
    """
    line = f"{head} after {lasting(settled.elapsed_s)}"
    agents = f"{settled.agents} agent{'' if settled.agents == 1 else 's'}" if settled.agents else ""
    if not settled.calls:
        return f"{line}: {agents}." if agents else f"{line}."
    calls = f"{settled.done} done, {settled.undone} undone, {settled.unknown} unknown"
    line += f": {agents}, calls: {calls}." if agents else f": {calls}."
    named = (("Undone", settled.undone_tools), ("Unknown", settled.unknown_tools))
    return line + "".join(f" {how}: {_listed(tools)}." for how, tools in named if tools)


def lasting(seconds: float) -> str:
    """A duration as people say it: `42 s`, `14 min`, `3 h`, `2 d`; a turn may wait for weeks."""
    if seconds < 1:
        return "less than a second"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _taken_back(settled: Settled) -> str:
    """What a flow did to undo its work; empty where it had nothing to undo."""
    named = (
        ("Undone again by", settled.compensated),
        ("Not undone, please look into it", settled.not_compensated),
    )
    return "".join(f" {how}: {_listed(tools)}." for how, tools in named if tools)


def _listed(tools: Sequence[str]) -> str:
    """The first TOOLS_NAMED_MAX names, and how many more there are."""
    more = len(tools) - TOOLS_NAMED_MAX
    return ", ".join(tools[:TOOLS_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
