"""Progress and status messages: shown while it is true, fenced afterwards, never orphaned."""

from dataclasses import replace

from roost_channels.outbox import StatusMessage
from roost_channels.rendering.parts import RenderedPart
from roost_platform.testing.chats import HandClock, Person
from roost_workflows.ports import Snapshot, TurnRecord

CHANNELS = [("telegram", "42")]


async def working(ada: Person) -> TurnRecord:
    await ada.says("a long task")
    return await ada.turn()


async def open_status(ada: Person, turn: TurnRecord) -> StatusMessage:
    status = StatusMessage(turn.turn_id, ada.address, None, "", "planned", 1.0)
    await ada.stores.outbox.put_status_message(status)
    status = replace(status, message_id="s1", shown="Thinking", state="open", edited_at=2.0)
    await ada.stores.outbox.put_status_message(status)
    return status


async def deliver(ada: Person) -> None:
    found = await ada.stores.outbox.next_entry(ada.address)
    assert found is not None
    (part,) = await ada.stores.outbox.plan(found[0].id, [RenderedPart("Done.", (), 0, 5)])
    await ada.stores.outbox.sent(part.id, "b1")


async def test_a_running_turn_is_shown_with_what_it_replies_to(
    ada: Person, clock: HandClock
) -> None:
    turn = await working(ada)
    clock.advance(1)
    await ada.stores.turns.progress(turn.turn_id, Snapshot("tool", "", ("Looking",)))
    (snapshot,) = await ada.stores.outbox.progress(CHANNELS)
    assert (snapshot.phase, snapshot.tools, snapshot.version) == ("tool", ("Looking",), 2)
    assert (snapshot.address, snapshot.generation) == (ada.address, 1)
    assert snapshot.updated_at - snapshot.started_at == 1
    assert snapshot.inbound_message_id == "m1"
    assert await ada.stores.outbox.progress([("telegram", "43")]) == []
    assert await ada.stores.outbox.progress([]) == []


async def test_a_status_message_is_stored_and_read_back(ada: Person) -> None:
    turn = await working(ada)
    assert await ada.stores.outbox.status_message(turn.turn_id) is None
    status = await open_status(ada, turn)
    assert await ada.stores.outbox.status_message(turn.turn_id) == status


async def test_a_finished_turn_is_shown_until_its_status_message_is_closed(ada: Person) -> None:
    turn = await working(ada)
    status = await open_status(ada, turn)
    await ada.agent_says(turn, 1, "Done.")
    (snapshot,) = await ada.stores.outbox.progress(CHANNELS)
    assert snapshot.phase == "done"
    await ada.stores.outbox.put_status_message(replace(status, state="closed"))
    assert await ada.stores.outbox.progress(CHANNELS) == []


async def test_no_progress_leaves_after_the_final_is_queued(ada: Person) -> None:
    turn = await working(ada)
    assert not await ada.stores.outbox.fenced(turn.turn_id)
    await ada.agent_says(turn, 1, "Done.")
    assert await ada.stores.outbox.fenced(turn.turn_id)
    assert await ada.stores.outbox.fenced("no such turn")


async def test_a_turn_is_overtaken_by_what_reached_its_chat_since_it_began(
    ada: Person, clock: HandClock
) -> None:
    before = await working(ada)
    await ada.agent_says(before, 1, "Done.")
    await deliver(ada)
    clock.advance(1)
    turn = await working(ada)
    assert not await ada.stores.outbox.overtaken(turn.turn_id)
    await ada.stores.say_as_operator(turn.conversation_id, "told meanwhile", "grace")
    await deliver(ada)
    assert await ada.stores.outbox.overtaken(turn.turn_id)


async def test_no_progress_leaves_after_a_stop_is_recorded(ada: Person) -> None:
    turn = await working(ada)
    await ada.says("/stop")
    assert await ada.stores.outbox.fenced(turn.turn_id)


async def test_a_status_message_is_an_orphan_once_the_final_arrived(ada: Person) -> None:
    turn = await working(ada)
    status = await open_status(ada, turn)
    assert await ada.stores.outbox.orphans(CHANNELS) == []
    await ada.agent_says(turn, 1, "Done.")
    assert await ada.stores.outbox.orphans(CHANNELS) == []  # the answer is not there yet
    await deliver(ada)
    (orphan,) = await ada.stores.outbox.orphans(CHANNELS)
    assert orphan == replace(status, outcome="done", elapsed_s=orphan.elapsed_s)
    await ada.stores.outbox.put_status_message(replace(status, state="closed"))
    assert await ada.stores.outbox.orphans(CHANNELS) == []


async def test_a_lost_status_is_looked_for_from_what_its_turn_began_with(ada: Person) -> None:
    """The answer replies to what was said last, which may be below the lost message."""
    turn = await working(ada)
    lost = StatusMessage(turn.turn_id, ada.address, None, "", "lost", 1.0)
    await ada.stores.outbox.put_status_message(lost)
    await ada.says("and quickly")
    await ada.stores.turns.context(turn.turn_id, 1)
    await ada.agent_says(turn, 1, "Done.")
    await deliver(ada)
    (orphan,) = await ada.stores.outbox.orphans(CHANNELS)
    assert (orphan.after, orphan.before, orphan.known) == ("m1", "b1", ("b1",))
