"""R26 and R27: floods and bursts lose nothing, keep their order and stay bounded."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from sqlalchemy import select

from roost.agent import QUEUE_MODES, QueueMode
from roost_platform.db import models
from roost_platform.queueing import FOLLOWUPS_MAX, QueueRules
from roost_platform.testing.chats import HandClock, Person
from roost_workflows.ports import Postponed

Chat = Callable[[QueueRules], AbstractAsyncContextManager[Person]]
FLOOD = [f"message {number}" for number in range(50)]
# Turns that a flood of 50 may cost: one takes them all, or a bounded row of followups.
TURNS_MAX = {"steer": 2, "collect": 2, "interrupt": 2, "followup": 1 + FOLLOWUPS_MAX}


async def work_off(ada: Person, clock: HandClock) -> int:
    """Be the worker until nothing waits; how many turns it took."""
    conversation = await ada.conversation_id()
    turns = 0
    while (begun := await ada.stores.turns.begin(conversation)) is not None:
        if isinstance(begun, Postponed):
            clock.advance(begun.wait_s)
            continue
        turns += 1
        if begun.stop_requested:
            await ada.stores.turns.settle(begun.turn_id, outcome="stopped", reason="stopped")
            continue
        await ada.stores.turns.context(begun.turn_id, 1)
        await ada.agent_says(begun, 1, f"answer {begun.number}")
    return turns


async def user_texts(ada: Person) -> list[str]:
    async with ada.stores.database.read() as session:
        rows = await session.scalars(
            select(models.Transcript.content)
            .where(models.Transcript.role == "user")
            .order_by(models.Transcript.position)
        )
        return list(rows)


@pytest.mark.parametrize("mode", QUEUE_MODES)
async def test_r26_fifty_messages_in_a_running_turn_are_all_answered_in_order_and_bounded(
    chat: Chat, clock: HandClock, mode: QueueMode
) -> None:
    async with chat(QueueRules(mode)) as ada:
        await ada.says("go")
        await work_begins(ada, clock)
        for first in range(0, len(FLOOD), 5):
            clock.advance(0.5)
            await ada.says(*FLOOD[first : first + 5])
        turns = await work_off(ada, clock)
        assert await user_texts(ada) == ["go", *FLOOD]
        assert turns <= TURNS_MAX[mode]
        assert {state for _, state in await ada.inbox()} == {"done"}
        assert (await ada.outbox())[-1][0] == "answer"


async def work_begins(ada: Person, clock: HandClock) -> None:
    conversation = await ada.conversation_id()
    while isinstance(begun := await ada.stores.turns.begin(conversation), Postponed):
        clock.advance(begun.wait_s)
    assert begun is not None


async def test_r27_a_short_a_long_and_a_continuing_message_are_one_turn_in_their_order(
    chat: Chat, clock: HandClock
) -> None:
    async with chat(QueueRules(debounce_s=1.0)) as ada:
        burst = [ada.message("look:"), ada.message("x" * 5000), ada.message("and answer")]
        conversation = ""
        for message in burst:
            await ada.gives(message)
            await ada.gives(burst[0])  # redelivered in between
            conversation = await ada.conversation_id()
            assert isinstance(await ada.stores.turns.begin(conversation), Postponed)
            clock.advance(0.5)
        assert await work_off(ada, clock) == 1
        assert await user_texts(ada) == [message.text for message in burst]
        (answer,) = await ada.outbox()
        assert answer == ("answer", "answer 1")
        async with ada.stores.database.read() as session:
            turn = await session.scalar(select(models.Turn))
            assert turn is not None and turn.reply_to is not None
            assert turn.reply_to["message_id"] == burst[-1].message_id
