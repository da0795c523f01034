"""The life of a turn in storage."""

from roost_platform.db.testing import Person


async def test_a_message_becomes_a_turn_and_an_answer(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    context = await ada.stores.turns.context(turn.turn_id, 0)
    assert [(m.role, m.content) for m in context.messages] == [("user", "hello")]
    await ada.agent_says(turn, 0, "Hello, Ada.")
    assert await ada.outbox() == [("answer", "Hello, Ada.")]
    assert await ada.inbox() == [("hello", "done")]
    assert await ada.stores.turns.begin(turn.conversation_id) is None
