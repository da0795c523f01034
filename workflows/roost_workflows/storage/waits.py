"""What turns need from storage to wait: whether a call may run, and what became of a wait."""

from dataclasses import dataclass
from typing import Literal, Protocol

from roost.execution.call import Outcome
from roost.tools import Approval
from roost.waits import Approver, Wait


@dataclass(frozen=True, slots=True)
class CallFacts:
    """A call as it would run now: what an approval of it is bound to.

    tool_hash: `Tool.definition_hash`. args_hash: of the canonical arguments.
    approval, approver: what the tool declares; operators' policies go before it.
    can_wait: people may be asked; else a call that needs an approval is refused.
    """

    agent: str
    tool: str
    tool_hash: str
    args_hash: str
    arguments: str
    effect: str
    approval: Approval | None = None
    approver: Approver = "requester"
    can_wait: bool = True


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a call may run now; `over` is one that has ended. told: what the model reads of one
    that was refused.

    attempt: which one `begin` has begun; 0 where it began none. was_running: an attempt before it
    never ended.
    """

    verdict: Literal["run", "waits", "refused", "over"]
    told: str = ""
    attempt: int = 0
    was_running: bool = False


class Waits(Protocol):
    """Waits of calls. Each method is one transaction and safe to repeat.

    A turn, step or call that does not exist raises LookupError, a turn that has ended TurnOver.
    """

    async def gate(self, turn_id: str, step: int, call_id: str, facts: CallFacts) -> Gate:
        """Decide whether the call may run; where people must say so, ask them and let it wait."""
        ...

    async def begin(self, turn_id: str, step: int, call_id: str, facts: CallFacts) -> Gate:
        """The same, and begin the call in the same transaction if it may run."""
        ...

    async def open(self, turn_id: str, step: int, call_id: str, wait: Wait) -> str:
        """Let the call wait, once. Returns why it can't, for the model; empty where it does."""
        ...

    async def outcome(self, turn_id: str, step: int, call_id: str) -> Outcome | None:
        """What became of a wait that is over; None for a call that waits still or never did, and
        for an approval, which `gate` judges.
        """
        ...

    async def park(self, turn_id: str) -> bool:
        """Let the turn wait unless one of its calls can go on; whether nothing of it runs now."""
        ...


class NoWaits:
    """Waits where nothing can wait: every call runs."""

    async def gate(self, turn_id: str, step: int, call_id: str, facts: CallFacts) -> Gate:
        """Let it run."""
        return Gate("run")

    async def begin(self, turn_id: str, step: int, call_id: str, facts: CallFacts) -> Gate:
        """Let it run; where nothing is stored of waits, `Turns.begin_call` begins it."""
        return Gate("run")

    async def open(self, turn_id: str, step: int, call_id: str, wait: Wait) -> str:
        """Refuse."""
        return "Nobody can be asked here."

    async def outcome(self, turn_id: str, step: int, call_id: str) -> Outcome | None:
        """There is none."""
        return None

    async def park(self, turn_id: str) -> bool:
        """There is nothing to wait for."""
        return False
