"""An example of a console page: how many conversations each agent has, live, for operators."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from sqlalchemy import func, select

from roost_platform.console.console import Visit
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import Page
from roost_platform.db import models
from roost_platform.identity.roles import Role

AGENTS_SHOWN_MAX = 100


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent and how many conversations it has."""

    name: str
    conversations: int


@dataclass(frozen=True, slots=True)
class AgentsContext:
    """The Agents page."""

    rows: Annotated[tuple[AgentRow, ...], "Agents with conversations, the busiest first"]


async def load(visit: Visit) -> AgentsContext:
    """Read everything that the page shows, in one transaction."""
    conversations = func.count(models.Conversation.id)
    query = (
        select(models.Conversation.agent, conversations)
        .group_by(models.Conversation.agent)
        .order_by(conversations.desc(), models.Conversation.agent)
        .limit(AGENTS_SHOWN_MAX)
    )
    async with visit.deps.stores.database.read() as session:
        rows = (await session.execute(query)).all()
    return AgentsContext(tuple(AgentRow(name, count) for name, count in rows))


def live(data: AgentsContext) -> LivePage:
    """The table is sent again when a row changes."""
    return LivePage((Fragment("agent-list", "agents/list.html", data.rows),))


PAGE = Page(
    path="/agents",
    template="agents/page.html",
    load=load,
    role=Role.operator,
    live=live,
    has_json=True,
    nav=NavLink("/agents", "Agents", "bot", role=Role.operator),
    templates=Path(__file__).parent / "templates",
)
