"""Versions of agents: kept when a worker starts, compared, and shown with the policy in force."""

from dataclasses import replace

from roost import Agent, ModelSettings, tool
from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.agent_versions import versions
from roost_platform.db.stores import Stores
from roost_platform.testing.chats import HandClock
from roost_platform.views.workflows.agents import agent, agents, difference
from roost_workflows.definitions.versions import version_of, versions_of


@tool(effect="pure")
def look(place: str) -> str:
    """Look at a place."""
    return place


@tool(approval="ask", approver="operator")
def pay(amount: int) -> str:
    """Pay."""
    return str(amount)


@tool
def send(text: str) -> str:
    """Send."""
    return text


WAITER = Agent("waiter", "You serve.\nBe kind.", [pay, look, send])
COOK = Agent("cook", "You cook.")


def changed(version: Agent = WAITER) -> list[str]:
    """The digests of agents that each differ from WAITER in one thing."""

    @tool(effect="idempotent", name="look")
    def other_effect(place: str) -> str:
        """Look at a place."""
        return place

    return [
        version_of(one).digest
        for one in (
            WAITER,
            replace(WAITER, instructions="You serve."),
            replace(WAITER, tools=[pay, look]),
            replace(WAITER, tools=[pay, other_effect, send]),
            replace(WAITER, tools=[replace(pay, approval="deny"), look, send]),
            replace(WAITER, tools=[replace(pay, approver="another"), look, send]),
            replace(WAITER, max_steps=3),
            replace(WAITER, queue="steer"),
            replace(WAITER, model=ModelSettings(temperature=0)),
        )
    ]


def test_every_change_of_a_declaration_is_another_version() -> None:
    digests = changed()
    assert len(set(digests)) == len(digests)


def test_the_order_of_the_tools_is_no_change() -> None:
    assert version_of(replace(WAITER, tools=[send, look, pay])) == version_of(WAITER)


async def test_a_version_is_kept_once_with_its_first_and_last_start(
    stores: Stores, clock: HandClock
) -> None:
    first_at = clock()
    await stores.agent_versions.record(versions_of([WAITER, COOK]))
    clock.advance(60)
    await stores.agent_versions.record(versions_of([replace(WAITER, max_steps=3), COOK]))
    clock.advance(60)
    await stores.agent_versions.record(versions_of([WAITER]))
    async with stores.database.read() as session:
        found = await versions(session)
    assert [(one.agent, one.first_seen_at - first_at, one.is_running) for one in found] == [
        ("cook", 0, False),
        ("waiter", 0, True),
        ("waiter", 60, False),
    ]
    assert [one.last_seen_at - first_at for one in found] == [60, 120, 60]
    assert found[1].definition == version_of(WAITER).definition


async def test_the_view_tells_tools_effects_policies_and_limits(stores: Stores) -> None:
    await stores.agent_versions.record(versions_of([WAITER]))
    async with stores.database.read() as session:
        view = await agent(session, "waiter", ApprovalRules(unsafe="ask"))
        assert view is not None and await agent(session, "butler", ApprovalRules()) is None
    assert (view.instructions, view.is_running, view.is_off) == (WAITER.instructions, True, False)
    assert view.limits["max_steps"] == WAITER.max_steps
    shown = [(one.name, one.effect, one.approval, one.approver, one.verdict) for one in view.tools]
    assert shown == [
        ("look", "pure", None, "requester", "allow"),
        ("pay", "unsafe", "ask", "operator", "ask"),
        ("send", "unsafe", None, "requester", "ask"),
    ]
    assert view.tools[1].code == pay.definition_hash
    assert view.tools[1].parameters == dict(pay.parameters)


async def test_operators_rules_are_shown_where_they_hold(stores: Stores) -> None:
    await stores.agent_versions.record(versions_of([WAITER, COOK]))
    rules = [
        ("waiter", "pay", "", "deny"),
        ("waiter", "look", "telegram", "ask"),
        ("cook", "", "", "off"),
    ]
    async with stores.database.write() as session:
        for number, (of_agent, of_tool, channel, verdict) in enumerate(rules):
            session.add(
                models.ToolPolicy(
                    id=f"policy-{number}",
                    agent=of_agent,
                    tool=of_tool,
                    channel=channel,
                    verdict=verdict,
                    set_by="root",
                    set_at=1.0,
                )
            )
    async with stores.database.read() as session:
        cook, waiter = await agents(session, ApprovalRules())
    assert (cook.is_off, waiter.is_off) == (True, False)
    assert [rule.verdict for rule in cook.policies] == ["off"]
    look_view, pay_view, _ = waiter.tools
    assert (pay_view.verdict, [rule.verdict for rule in pay_view.policies]) == ("deny", ["deny"])
    # A rule for one channel does not hold everywhere, but it is shown.
    assert (look_view.verdict, look_view.policies[0].channel) == ("allow", "telegram")


async def test_two_versions_are_compared_line_by_line(stores: Stores) -> None:
    later = replace(WAITER, instructions="You serve.\nBe quick.", max_steps=3)
    await stores.agent_versions.record(versions_of([WAITER]))
    await stores.agent_versions.record(versions_of([later]))
    before, after = version_of(WAITER).digest, version_of(later).digest
    async with stores.database.read() as session:
        lines = await difference(session, "waiter", before, after)
        assert await difference(session, "waiter", before, "none") is None
        assert await difference(session, "waiter", before, before) == ()
    assert lines is not None
    assert [line.text for line in lines if line.kind == "removed"] == [
        "  Be kind.",
        "  max_steps: 8",
    ]
    assert [line.text for line in lines if line.kind == "added"] == [
        "  Be quick.",
        "  max_steps: 3",
    ]
    assert sum(line.kind == "gap" for line in lines) == 2
