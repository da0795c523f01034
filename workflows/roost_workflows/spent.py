"""What a turn has used so far, for its limits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spent:
    """What a turn has used so far.

    calls: its tool calls in order, as (call id, tool name, arguments). tokens: read and written.
    worked_s: seconds in model calls and tool calls that have ended.
    """

    calls: tuple[tuple[str, str, str], ...] = ()
    tokens: int = 0
    worked_s: float = 0.0
