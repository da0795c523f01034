"""Agents and tools: what is declared, what policy makes of it, versions, and switching off."""

from dataclasses import dataclass
from typing import Annotated

from sqlalchemy import select
from starlette.datastructures import FormData
from starlette.responses import Response

from roost_platform.approval_rules import VERDICTS
from roost_platform.bulk_stop import stop_running
from roost_platform.console.console import Visit, text_field
from roost_platform.console.live import Fragment, LivePage
from roost_platform.console.navigation import NavLink
from roost_platform.console.page import ConsoleRoute, Page
from roost_platform.db import models
from roost_platform.db.policies.switches import NAME_CHARS_MAX, PolicyKey
from roost_platform.errors import NotAllowed, NotFound, Refused
from roost_platform.identity.roles import Role
from roost_platform.views.workflows.agents import (
    AgentView,
    DiffLine,
    PolicyView,
    agent,
    agents,
    difference,
    policies,
)

PEOPLE_OFFERED_MAX = 200


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A policy with the name of its person, empty for any."""

    policy: PolicyView
    person: str = ""


@dataclass(frozen=True, slots=True)
class ToolsContext:
    """The Agents & tools page."""

    agents: Annotated[tuple[AgentView, ...], "Agents and flows, those that run first"]
    policies: Annotated[tuple[PolicyRow, ...], "Every policy"]


@dataclass(frozen=True, slots=True)
class Diff:
    """What changed between two versions; no lines where they are the same."""

    before: str
    after: str
    lines: tuple[DiffLine, ...]


@dataclass(frozen=True, slots=True)
class AgentSection:
    """One agent as it is now, with the policies that speak of it."""

    agent: AgentView
    policies: tuple[PolicyRow, ...]


@dataclass(frozen=True, slots=True)
class AgentContext:
    """One agent's page. people: (id, name) that a policy can be for, for operators."""

    section: Annotated[AgentSection, "The agent, its tools and policies"]
    diff: Annotated[Diff | None, "The two versions that are compared"]
    people: Annotated[tuple[tuple[str, str], ...], "People, for the form"]
    query: Annotated[str, "The query string, for the stream"]


async def load(visit: Visit) -> ToolsContext:
    """Every agent and every policy."""
    rules = visit.deps.stores.waits.rules
    async with visit.deps.stores.database.read() as session:
        found = await agents(session, rules)
        rows = await policies(session)
        people = await _names(visit, rows)
    return ToolsContext(found, tuple(PolicyRow(one, people.get(one.person_id, "")) for one in rows))


def live(data: ToolsContext) -> LivePage:
    """The agents and the policies."""
    return LivePage(
        (
            Fragment("agent-cards", "tools/cards.html", data.agents),
            Fragment("policy-list", "tools/policies.html", data.policies),
        )
    )


async def load_one(visit: Visit) -> AgentContext:
    """The agent of the path, with the difference that is asked for; raises NotFound."""
    name = visit.param("name")
    before, after = visit.query("before"), visit.query("after")
    async with visit.deps.stores.database.read() as session:
        view = await agent(session, name, visit.deps.stores.waits.rules)
        if view is None:
            raise NotFound("No worker ever ran with an agent of that name.")
        lines = await difference(session, name, before, after) if before and after else None
        rows = await policies(session, name)
        people = await _names(visit, rows)
        offered: list[tuple[str, str]] = []
        if visit.me.may("admin"):
            chosen = await session.execute(
                select(models.Identity.id, models.Identity.display_name)
                .where(models.Identity.access == "allowed")
                .order_by(models.Identity.display_name)
                .limit(PEOPLE_OFFERED_MAX)
            )
            offered = [(id, known) for id, known in chosen.all()]
    return AgentContext(
        section=AgentSection(
            view, tuple(PolicyRow(one, people.get(one.person_id, "")) for one in rows)
        ),
        diff=None if lines is None else Diff(before, after, lines),
        people=tuple(offered),
        query=visit.request.url.query,
    )


def live_one(data: AgentContext) -> LivePage:
    """The agent."""
    return LivePage((Fragment("agent", "tools/detail.html", data.section),))


async def _names(visit: Visit, rows: tuple[PolicyView, ...]) -> dict[str, str]:
    """The names of the people that policies are for."""
    wanted = {row.person_id for row in rows if row.person_id}
    if not wanted:
        return {}
    async with visit.deps.stores.database.read() as session:
        found = await session.execute(
            select(models.Identity.id, models.Identity.display_name).where(
                models.Identity.id.in_(wanted)
            )
        )
        return {id: name for id, name in found.all()}


async def switch(visit: Visit) -> Response:
    """Switch an agent or one of its tools off or on; what runs of an agent is stopped."""
    form = await visit.form()
    word, tool = text_field(form, "to", length_max=8), _field(form, "tool")
    key = PolicyKey(agent=visit.param("name"), tool=tool)
    what = tool or f"The agent {key.agent}"
    stores = visit.deps.stores
    if word not in ("off", "on"):
        raise Refused("Choose on or off.")
    try:
        if word == "off":
            rung = await stores.policies.set(key, "off", visit.me.name, visit.ip)
        else:
            rung = await stores.policies.switch_on(key, visit.me.name, visit.ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None
    visit.deps.intake.ring(rung)
    if word == "on" or tool:
        return visit.done(f"{what} is {word}.")
    done = await stop_running(stores, visit.deps.intake, visit.me.name, visit.ip, agent=key.agent)
    return visit.done(f"{what} is off. {done.words if done.stopped else ''}".strip())


async def set_policy(visit: Visit) -> Response:
    """Set a policy for an agent, a tool, a channel and a person, each of which may be any."""
    form = await visit.form()
    verdict = text_field(form, "verdict", length_max=8)
    if verdict not in VERDICTS:
        raise Refused("Choose allow, ask, deny or off.")
    key = PolicyKey(
        agent=visit.param("name"),
        tool=_field(form, "tool"),
        channel=_field(form, "channel"),
        person_id=_field(form, "person"),
    )
    try:
        rung = await visit.deps.stores.policies.set(key, verdict, visit.me.name, visit.ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None
    visit.deps.intake.ring(rung)
    return visit.done("The policy is in force.")


async def remove_policy(visit: Visit) -> Response:
    """Remove a policy."""
    rung = await visit.deps.stores.policies.remove(visit.param("id"), visit.me.name, visit.ip)
    visit.deps.intake.ring(rung)
    return visit.done("The policy is removed.")


def _field(form: FormData, name: str) -> str:
    return text_field(form, name, required=False, length_max=NAME_CHARS_MAX).strip()


LIST_PAGE = Page(
    path="/tools",
    template="tools/page.html",
    load=load,
    live=live,
    role=Role.operator,
    has_json=True,
    nav=NavLink("/tools", "Agents & tools", "bot", role=Role.operator),
)
ONE_PAGE = Page(
    path="/tools/{name}",
    template="tools/one.html",
    load=load_one,
    live=live_one,
    role=Role.operator,
    has_json=True,
)
ACTIONS = (
    ConsoleRoute("POST", "/tools/{name}/switch", Role.operator, switch, ONE_PAGE),
    ConsoleRoute("POST", "/tools/{name}/policies", Role.admin, set_policy, ONE_PAGE),
    ConsoleRoute("POST", "/tools/policies/{id}/remove", Role.admin, remove_policy),
)
