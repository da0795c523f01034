"""The limits of one turn: tool calls, tokens, repetitions, and time at work."""

import hashlib
import json
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Final

from temporalio import activity

from roost.agent import Agent
from roost_workflows.model_calls import Spent
from roost_workflows.state import GenerateInput

# The model is told so often that a call is not repeated; then it has to answer without tools.
TOLD_MAX: Final = 2
CALLS_REMEMBERED_MAX: Final = 10_000
REPEATED: Final = (
    "Not run: the same call with the same arguments was run {count} times in this turn already. "
    "Go on with the results you have."
)
NO_MORE_CALLS: Final = (
    "Not run: this turn may use at most {count} tool calls. Answer with the results you have."
)


def reached(agent: Agent, spent: Spent) -> str:
    """The limit that takes the tools away in the next model call, empty if none does: one of
    reasons.LIMIT_REASONS.
    """
    if spent.limit:
        return spent.limit
    if len(spent.calls) >= agent.max_calls:
        return "too_many_calls"
    if spent.tokens >= agent.max_turn_tokens:
        return "too_many_tokens"
    most = max(Counter(_identities(spent.calls)).values(), default=0)
    return "repeated_calls" if most >= agent.max_repeats + TOLD_MAX else ""


def refused_call(agent: Agent, spent: Spent, call_id: str) -> str:
    """What the model is told of a call that is not run; empty for one that is."""
    ids = [id for id, _, _ in spent.calls]
    if call_id not in ids:
        return ""
    position = len(ids) - 1 - ids[::-1].index(call_id)
    if position >= agent.max_calls:
        return NO_MORE_CALLS.format(count=agent.max_calls)
    *earlier, this = _identities(spent.calls[: position + 1])
    if earlier.count(this) >= agent.max_repeats:
        return REPEATED.format(count=agent.max_repeats)
    return ""


class WorkTime:
    """How long this process has been at each model call, by a clock that nobody sets.

    A machine whose clock is set forward, or that slept, has not worked meanwhile.
    """

    def __init__(self) -> None:
        self._began: OrderedDict[tuple[str, int, float], float] = OrderedDict()

    def left_s(self, call: GenerateInput, agent: Agent, spent: Spent) -> float:
        """Seconds that the turn may still work, 0 when there are none.

        What counts is work: model calls and tool calls that ended, and this activity with its
        earlier attempts in this process.
        """
        scheduled = activity.info().scheduled_time.timestamp()
        now = time.monotonic()
        began = self._began.setdefault((call.turn_id, call.step, scheduled), now)
        while len(self._began) > CALLS_REMEMBERED_MAX:
            self._began.popitem(last=False)
        return max(agent.max_turn_s - spent.worked_s - (now - began), 0.0)


def _identities(calls: Sequence[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Equal for calls that ask for the same, however the arguments are ordered."""
    return [(name, _canonical(arguments)) for _, name, arguments in calls]


def arguments_hash(arguments: str) -> str:
    """A SHA-256 that is equal for equal arguments, however they are ordered and spaced."""
    return hashlib.sha256(_canonical(arguments).encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
