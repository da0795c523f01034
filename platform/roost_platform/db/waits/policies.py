"""Whether a tool may run, must be asked for, or is off: operators' word before the tool's own."""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.waits import WAIT_S_DEFAULT
from roost_platform.db import models
from roost_platform.db.policies.switches import Verdict
from roost_workflows.wait_ports import CallFacts

_POLICIES = select(models.ToolPolicy).where(
    models.ToolPolicy.agent.in_(("", bindparam("of_agent"))),
    models.ToolPolicy.tool.in_(("", bindparam("of_tool"))),
    models.ToolPolicy.channel.in_(("", bindparam("of_channel"))),
    models.ToolPolicy.person_id.in_(("", bindparam("of_person"))),
)


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


async def verdict_of(
    session: AsyncSession, facts: CallFacts, channel: str, person_id: str, defaults: ApprovalRules
) -> Verdict:
    """The verdict of the most specific policy: person before channel before tool before agent;
    `off` at any of them wins.
    """
    rows = (
        await session.scalars(
            _POLICIES,
            {
                "of_agent": facts.agent,
                "of_tool": facts.tool,
                "of_channel": channel,
                "of_person": person_id,
            },
        )
    ).all()
    if any(row.verdict == "off" for row in rows):
        return "off"
    if rows:
        best = max(
            rows, key=lambda row: (*map(bool, (row.person_id, row.channel, row.tool)), row.agent)
        )
        return cast(Verdict, best.verdict)
    if facts.approval is not None:
        return facts.approval
    return defaults.unsafe if facts.effect == "unsafe" else "allow"
