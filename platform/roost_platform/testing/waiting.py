"""For tests: turns whose calls wait, without a workflow server."""

from dataclasses import dataclass, replace

from sqlalchemy import select

from roost.waits import Wait
from roost_channels.message import CARD_BUTTON
from roost_channels.rendering.parts import RenderedPart
from roost_platform.db import models
from roost_platform.testing.chats import Person
from roost_workflows.ports import PlannedCall, TurnRecord
from roost_workflows.storage.waits import CallFacts, Gate
from roost_workflows.turn.limits import arguments_hash

BOOKING = CallFacts(
    agent="concierge",
    tool="book",
    tool_hash="tool-1",
    args_hash=arguments_hash('{"day": "Friday"}'),
    arguments='{"day": "Friday"}',
    effect="unsafe",
    approval="ask",
)


@dataclass(slots=True)
class Parked:
    """A turn of a person's chat that waits, and what it asked."""

    person: Person
    turn: TurnRecord
    step: int = 1

    async def calls(self) -> dict[str, str]:
        """The state of each call by its id."""
        async with self.person.stores.database.read() as session:
            rows = await session.scalars(
                select(models.ToolCall).where(models.ToolCall.turn_id == self.turn.turn_id)
            )
            return {row.call_id: row.state for row in rows}

    async def state(self) -> str:
        """The state of the turn."""
        async with self.person.stores.database.read() as session:
            return (await session.get_one(models.Turn, self.turn.turn_id)).state

    async def approvals(self) -> list[models.Approval]:
        """All questions of the turn, oldest first."""
        async with self.person.stores.database.read() as session:
            rows = await session.scalars(
                select(models.Approval)
                .where(models.Approval.turn_id == self.turn.turn_id)
                .order_by(models.Approval.created_at, models.Approval.round, models.Approval.id)
            )
            return list(rows)

    async def approval(self) -> models.Approval:
        """The newest question."""
        return (await self.approvals())[-1]

    async def gate(self, facts: CallFacts = BOOKING, call_id: str = "c0") -> Gate:
        """Ask whether the call may run."""
        waits = self.person.stores.waits
        return await waits.gate(self.turn.turn_id, self.step, call_id, facts)

    async def park(self) -> bool:
        """Let the turn wait."""
        return await self.person.stores.waits.park(self.turn.turn_id)

    async def go_on(self) -> TurnRecord:
        """Take the turn up again."""
        return await self.person.turn()

    async def taps(self, choice: str, approval: models.Approval | None = None) -> str:
        """Press a button of the card; what the person is told."""
        return await press(self.person, approval or await self.approval(), choice)


async def press(person: Person, approval: models.Approval, choice: str) -> str:
    """Let a person press a button of a card in their chat; what they are told."""
    data = f"{CARD_BUTTON}{approval.nonce}:{choice}"
    event = person.message(data, kind="callback")
    accepted = await person.gives(event)
    return accepted.answers.get(event.event_id, "")


async def begun(person: Person, *calls: str, text: str = "Book it.") -> Parked:
    """A turn that has planned one call for each tool name: c0, c1, …"""
    await person.says(text)
    turn = await person.turn()
    planned = [
        PlannedCall(f"c{number}", name, BOOKING.arguments, "unsafe")
        for number, name in enumerate(calls)
    ]
    await person.agent_says(turn, 1, finish="tools", calls=planned)
    return Parked(person, turn)


async def waiting(person: Person, *waits: Wait) -> Parked:
    """A parked turn with one call for each wait."""
    parked = await begun(person, *(f"tool{number}" for number in range(len(waits))))
    for number, wait in enumerate(waits):
        turn_id, call_id = parked.turn.turn_id, f"c{number}"
        await person.stores.turns.begin_call(turn_id, 1, call_id)
        assert await person.stores.waits.open(turn_id, 1, call_id, wait) == ""
    assert await parked.park()
    return parked


async def booking(person: Person, facts: CallFacts = BOOKING) -> Parked:
    """A parked turn that asks whether it may book."""
    parked = await begun(person, facts.tool)
    assert (await parked.gate(facts)).verdict == "waits"
    assert await parked.park()
    return parked


def changed(facts: CallFacts = BOOKING, *, day: str = "Monday") -> CallFacts:
    """The call with other arguments."""
    arguments = f'{{"day": "{day}"}}'
    return replace(facts, arguments=arguments, args_hash=arguments_hash(arguments))


async def delivered(person: Person) -> None:
    """Let the lane deliver everything; a message's id on the network is `x` and its outbox id."""
    outbox = person.stores.outbox
    while (head := await outbox.next_entry(person.address)) is not None:
        entry, _ = head
        if entry.edits_id:
            await outbox.skip(entry.id)
            continue
        (part,) = await outbox.plan(entry.id, [RenderedPart(entry.text, (), 0, len(entry.text))])
        await outbox.sending(part.id, "courier", 60.0)
        await outbox.sent(part.id, f"x{entry.id}")
