"""What an agent may do that works for others: nothing that those above it may not."""

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.approval_rules import VERDICTS, ApprovalRules, Verdict
from roost_platform.db import models
from roost_platform.db.turns.children.limits import root_of
from roost_platform.db.waits.policies import verdict_of
from roost_workflows.storage.waits import CallFacts


async def strictest_verdict(
    session: AsyncSession,
    conversation: models.Conversation,
    facts: CallFacts,
    person_id: str,
    rules: ApprovalRules,
) -> Verdict:
    """The strictest verdict on a call by its own agent and by those it works for, on the channel
    of the chat at the top.
    """
    chat = await root_of(session, conversation)
    agents = dict.fromkeys([facts.agent, *await _above(session, conversation)])
    verdicts = [
        await verdict_of(session, replace(facts, agent=agent), chat.channel, person_id, rules)
        for agent in agents
    ]
    return max(verdicts, key=VERDICTS.index)


async def _above(session: AsyncSession, conversation: models.Conversation) -> list[str]:
    """The agents for which a child works, the nearest first; none for a chat."""
    agents = []
    task = await session.get(models.ChildTask, conversation.id)
    while task is not None:
        turn = await session.get(models.Turn, task.parent_turn_id)
        if turn is not None:
            agents.append(turn.agent)
        task = await session.get(models.ChildTask, task.parent_id)
    return agents
