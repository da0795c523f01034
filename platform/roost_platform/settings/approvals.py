"""Settings of approvals: when people are asked before a tool runs, and for how long."""

from typing import Literal

from pydantic import Field

from roost_platform.approval_rules import ApprovalRules
from roost_platform.settings.sections import Section


class ApprovalsConfig(Section):
    """When people are asked before a tool runs, and how long they are waited for.

    What a tool declares with `approval=`, and what operators decide in the console, goes before.
    """

    unsafe: Literal["allow", "ask", "deny"] = Field(
        default="allow",
        description="What counts for tools whose effect is `unsafe` and that declare no approval: "
        "`allow`, `ask` or `deny`.",
    )
    expire_s: float = Field(
        default=24 * 3600.0,
        ge=60.0,
        le=90 * 24 * 3600.0,
        description="Seconds until an approval that nobody decides counts as denied. People are "
        "reminded once, after half of the time.",
    )
    grant_days: float = Field(
        default=30.0,
        gt=0.0,
        le=365.0,
        description="Days for which a standing approval of the same call holds.",
    )
    asks_a_day: int = Field(
        default=30,
        ge=1,
        le=1000,
        description="How often one agent may ask in one chat within a day; then it is told to go "
        "on without.",
    )

    def rules(self, by_words: frozenset[tuple[str, str]]) -> ApprovalRules:
        """The rules that storage follows. by_words: see `ApprovalRules`."""
        return ApprovalRules(
            unsafe=self.unsafe,
            expire_s=self.expire_s,
            grant_s=self.grant_days * 24 * 3600.0,
            asks_a_day=self.asks_a_day,
            by_words=by_words,
        )
