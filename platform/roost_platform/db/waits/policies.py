"""Whether a tool may run, must be asked for, or is off: operators' word before the tool's own."""

from typing import cast

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.approval_rules import ApprovalRules, Verdict
from roost_platform.db import models
from roost_workflows.storage.waits import CallFacts

_POLICIES = select(models.ToolPolicy).where(
    models.ToolPolicy.agent.in_(("", bindparam("of_agent"))),
    models.ToolPolicy.tool.in_(("", bindparam("of_tool"))),
    models.ToolPolicy.channel.in_(("", bindparam("of_channel"))),
    models.ToolPolicy.person_id.in_(("", bindparam("of_person"))),
)


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
