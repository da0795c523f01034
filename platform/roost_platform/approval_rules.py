"""How people are asked before a tool runs."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from roost.waits import WAIT_S_DEFAULT

Verdict = Literal["allow", "ask", "deny", "off"]  # from the mildest to the strictest
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)


@dataclass(frozen=True, slots=True)
class ApprovalRules:
    """How people are asked.

    unsafe: what counts for tools whose effect is unsafe, where neither an operator nor the tool
    says anything. expire_s: how long an approval is waited for. grant_s: how long a standing one
    holds. asks_a_day: by one agent in one chat. by_words: accounts, (channel, account), where a
    card's buttons may not reach people, so that exact words decide as well.
    """

    unsafe: Verdict = "allow"
    expire_s: float = WAIT_S_DEFAULT
    grant_s: float = 30 * 24 * 3600.0
    asks_a_day: int = 30
    by_words: frozenset[tuple[str, str]] = frozenset()
