"""An agent that is switched off answers nothing, says so once, and answers when it is on again."""

import asyncio

import pytest

from roost_platform.db.inbox.overdue import has_open_work
from roost_platform.db.policies.switches import PolicyKey
from roost_platform.errors import NotAllowed, NotFound
from roost_platform.testing.chats import DoorbellLog, HandClock, Person
from roost_platform.testing.waiting import BOOKING, begun

AGENT = PolicyKey(agent="concierge")
KEPT = "The agent concierge is switched off. Your message is kept until it is on again."


async def switched(person: Person, key: PolicyKey = AGENT) -> None:
    await person.stores.policies.set(key, "off", "Grace")


async def begins(person: Person) -> object:
    return await person.stores.turns.begin(await person.conversation_id())


async def open_work(person: Person) -> bool:
    async with person.stores.database.read() as session:
        return await has_open_work(session)


@pytest.mark.parametrize("key", [AGENT, PolicyKey(agent="concierge", channel="telegram")])
async def test_messages_are_kept_while_the_agent_is_off_and_told_once(
    ada: Person, clock: HandClock, doorbell: DoorbellLog, key: PolicyKey
) -> None:
    await switched(ada, key)
    for text in ("Hello?", "Are you there?"):
        await ada.says(text)
        assert await begins(ada) is None
    assert [text for _, text in await ada.outbox()] == [KEPT]
    clock.advance(3600)
    assert not await open_work(ada), "nothing is rung for while the agent is off"
    rung = await ada.stores.policies.switch_on(key, "Grace")
    assert rung == [await ada.conversation_id()]
    assert await open_work(ada)
    turn = await ada.turn()
    context = await ada.stores.turns.context(turn.turn_id, 1)
    assert [one.content for one in context.messages] == ["Hello?", "Are you there?"]


async def test_each_time_it_is_switched_off_people_are_told_again(ada: Person) -> None:
    for _ in range(2):
        await switched(ada)
        await ada.says("Hello?")
        assert await begins(ada) is None
        await ada.stores.policies.switch_on(AGENT, "Grace")
    assert [text for _, text in await ada.outbox()] == [KEPT, KEPT]


async def test_others_go_on_while_one_agent_one_channel_or_one_tool_is_off(ada: Person) -> None:
    for key in (
        PolicyKey(agent="cook"),
        PolicyKey(agent="concierge", channel="whatsapp"),
        PolicyKey(agent="concierge", tool="book"),
    ):
        await switched(ada, key)
    await ada.says("Hello?")
    assert await begins(ada) is not None


async def test_a_tool_that_is_off_is_refused_also_where_people_had_said_yes(ada: Person) -> None:
    parked = await begun(ada, "book")
    assert (await parked.gate()).verdict == "waits"
    approval = await parked.approval()
    await ada.intake.decide(approval.id, "approve", "", "Grace", "console")
    await switched(ada, PolicyKey(agent="concierge", tool="book"))
    gate = await parked.gate()
    assert (gate.verdict, gate.told) == (
        "refused",
        f"Not run: {BOOKING.tool} is switched off by an operator.",
    )
    await ada.stores.policies.switch_on(PolicyKey(agent="concierge", tool="book"), "Grace")
    assert (await parked.gate()).verdict == "run"


async def test_a_policy_is_one_row_and_each_change_is_audited(ada: Person) -> None:
    policies, key = ada.stores.policies, PolicyKey(agent="concierge", tool="book")
    for verdict in ("ask", "ask", "deny", "allow"):
        await policies.set(key, verdict, "Grace", "::1")
    trail = [row for row in await ada.stores.audit.list() if row.action.startswith("policy.")]
    assert [(row.detail["before"], row.detail["after"]) for row in trail] == [
        ("deny", "allow"),
        ("ask", "deny"),
        ("", "ask"),
    ]
    with pytest.raises(NotAllowed):
        await policies.switch_on(key, "Grace")
    await policies.remove(trail[0].object, "Grace")
    with pytest.raises(NotFound):
        await policies.remove(trail[0].object, "Grace")
    for wrong in (
        PolicyKey(),
        PolicyKey(channel="telegram"),
        PolicyKey(tool="x" * 201),
        PolicyKey(tool="book", person_id="nobody"),
    ):
        with pytest.raises(NotAllowed):
            await policies.set(wrong, "deny", "Grace")


async def test_two_operators_who_switch_at_once_leave_one_row(ada: Person) -> None:
    await asyncio.gather(*(switched(ada) for _ in range(5)), return_exceptions=True)
    await ada.stores.policies.switch_on(AGENT, "Grace")
    await ada.says("Hello?")
    assert await begins(ada) is not None
