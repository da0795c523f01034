"""One contract for progress and receipts in memory, which tests use, and in the database."""

from dataclasses import replace

from roost_channels.errors import Failure
from roost_channels.outbox import UNDER_WAY_S, EarlierSend, StatusMessage
from roost_channels.rendering.parts import RenderedPart
from roost_platform.testing.contracts import Chat

ACCOUNTS = [("telegram", "42")]


async def begin(chat: Chat) -> str:
    """Claim the lane's first entry, in one part; returns the part's id."""
    head = await chat.outbox.next_entry(chat.address)
    assert head is not None
    [part] = await chat.outbox.plan(head[0].id, [RenderedPart(head[0].text, (), 0, 13)])
    await chat.outbox.sending(part.id, "c1", 30.0)
    return part.id


async def deliver(chat: Chat, message_id: str) -> str:
    part_id = await begin(chat)
    await chat.outbox.sent(part_id, message_id)
    return part_id


async def shown(chat: Chat) -> list[tuple[str, bool]]:
    """(turn, whether it still runs) of each snapshot."""
    snapshots = await chat.outbox.progress(ACCOUNTS)
    return [(one.turn_id, one.phase not in ("done", "stopped", "failed")) for one in snapshots]


async def test_a_status_message_is_read_back_as_it_was_stored(chat: Chat) -> None:
    turn_id = await chat.begin_turn()
    assert await chat.outbox.status_message(turn_id) is None
    planned = StatusMessage(turn_id, chat.address, None, "", "planned", 1.0)
    edited = replace(planned, message_id="s1", shown="Thinking…", state="open", late_until=9.0)
    became = replace(edited, state="closed", answer_part_id="p1", edited_at=2.0)
    for status in (planned, edited, became):
        await chat.outbox.put_status_message(status)
        assert await chat.outbox.status_message(turn_id) == status


async def test_of_two_couriers_that_plan_a_status_message_one_sends_it(chat: Chat) -> None:
    turn_id = await chat.begin_turn()
    planned = StatusMessage(turn_id, chat.address, None, "", "planned", 1.0)
    both = [await chat.outbox.plan_status_message(replace(planned, edited_at=at)) for at in (1, 2)]
    assert both == [True, False]
    assert await chat.outbox.status_message(turn_id) == planned


async def test_one_request_with_a_status_message_leaves_at_a_time_and_none_after_the_fence(
    chat: Chat,
) -> None:
    turn_id = await chat.begin_turn()
    opened = StatusMessage(turn_id, chat.address, "s1", "Thinking…", "open", 1.0)
    await chat.outbox.put_status_message(opened)
    leaving = replace(opened, left_at=chat.now(), late_until=chat.now() + 60.0)
    assert await chat.outbox.plan_status_message(leaving)
    assert await chat.outbox.status_message(turn_id) == leaving
    assert not await chat.outbox.plan_status_message(leaving)
    await chat.outbox.put_status_message(opened)
    assert await chat.outbox.plan_status_message(leaving)
    await chat.pass_time(UNDER_WAY_S)
    again = replace(leaving, left_at=chat.now())
    assert await chat.outbox.plan_status_message(again)
    await chat.outbox.put_status_message(opened)
    await chat.answer(turn_id)
    assert not await chat.outbox.plan_status_message(again)
    assert await chat.outbox.status_message(turn_id) == opened


async def test_a_final_tells_which_request_with_its_status_message_left_before_it(
    chat: Chat,
) -> None:
    turn_id = await chat.begin_turn()
    note = StatusMessage(turn_id, chat.address, None, "still working", "closed", 1.0)
    assert await chat.outbox.plan_status_message(replace(note, left_at=chat.now()))
    await chat.answer(turn_id)
    for left_at in (chat.now(), 0.0):
        await chat.outbox.put_status_message(replace(note, left_at=left_at))
        head = await chat.outbox.next_entry(chat.address)
        assert head is not None and head[0].status_left_at == left_at


async def test_a_turn_is_shown_while_it_runs_and_until_its_status_message_is_closed(
    chat: Chat,
) -> None:
    turn_id = await chat.begin_turn()
    assert await shown(chat) == [(turn_id, True)]
    assert list(await chat.outbox.progress([("telegram", "43")])) == []
    status = StatusMessage(turn_id, chat.address, "s1", "Thinking…", "open", 1.0)
    await chat.outbox.put_status_message(status)
    await chat.answer(turn_id)
    assert await shown(chat) == [(turn_id, False)]
    await chat.outbox.put_status_message(replace(status, state="closed"))
    assert await shown(chat) == []


async def test_the_fence_falls_with_the_final_with_a_stop_and_for_unknown_turns(
    chat: Chat,
) -> None:
    answered = await chat.begin_turn()
    assert not await chat.outbox.fenced(answered)
    await chat.answer(answered)
    assert await chat.outbox.fenced(answered)
    stopped = await chat.begin_turn()
    assert not await chat.outbox.fenced(stopped)
    await chat.stop_turn(stopped)
    assert await chat.outbox.fenced(stopped)
    assert await chat.outbox.fenced("no such turn")


async def test_a_turn_is_overtaken_by_what_arrived_since_it_began_however_early_it_left(
    chat: Chat,
) -> None:
    await chat.notice()
    await deliver(chat, "b1")
    await chat.pass_time(1)
    await chat.notice()
    left_before = await begin(chat)
    await chat.pass_time(1)
    turn_id = await chat.begin_turn()
    assert not await chat.outbox.overtaken(turn_id)
    await chat.outbox.sent(left_before, "b2")
    assert await chat.outbox.overtaken(turn_id)


async def test_a_turn_is_not_overtaken_by_what_did_not_arrive(chat: Chat) -> None:
    turn_id = await chat.begin_turn()
    await chat.notice()
    part_id = await begin(chat)
    await chat.outbox.ambiguous(part_id, Failure("timed out"))
    assert not await chat.outbox.overtaken(turn_id)
    await chat.outbox.failed(part_id, Failure("refused"))
    assert not await chat.outbox.overtaken(turn_id)


async def test_a_status_message_is_an_orphan_once_the_final_is_delivered(chat: Chat) -> None:
    turn_id = await chat.begin_turn()
    status = StatusMessage(turn_id, chat.address, "s1", "Thinking…", "open", 1.0)
    await chat.outbox.put_status_message(status)
    assert list(await chat.outbox.orphans(ACCOUNTS)) == []
    await chat.answer(turn_id)
    assert list(await chat.outbox.orphans(ACCOUNTS)) == []
    await deliver(chat, "b1")
    [orphan] = await chat.outbox.orphans(ACCOUNTS)
    assert orphan == replace(status, outcome="done", elapsed_s=orphan.elapsed_s)
    assert list(await chat.outbox.orphans([("telegram", "43")])) == []
    await chat.outbox.put_status_message(replace(status, state="closed"))
    assert list(await chat.outbox.orphans(ACCOUNTS)) == []


async def test_a_failed_final_makes_its_status_message_an_orphan_too(chat: Chat) -> None:
    turn_id = await chat.begin_turn()
    status = StatusMessage(turn_id, chat.address, "s1", "Thinking…", "open", 1.0)
    await chat.outbox.put_status_message(status)
    await chat.answer(turn_id)
    await chat.outbox.failed(await begin(chat), Failure("blocked"))
    assert [one.turn_id for one in await chat.outbox.orphans(ACCOUNTS)] == [turn_id]


async def test_a_lost_status_is_looked_for_between_the_question_and_the_final(chat: Chat) -> None:
    await chat.notice()
    await deliver(chat, "b0")
    await chat.pass_time(1)
    turn_id = await chat.begin_turn()
    lost = StatusMessage(turn_id, chat.address, None, "", "lost", 1.0)
    await chat.outbox.put_status_message(lost)
    await chat.notice()
    await deliver(chat, "b1")
    await chat.pass_time(1)
    await chat.answer(turn_id)
    await deliver(chat, "b2")
    [orphan] = await chat.outbox.orphans(ACCOUNTS)
    assert orphan.after.startswith("m")
    assert (orphan.before, orphan.known) == ("b2", ("b1", "b2"))


async def test_earlier_sends_are_told_newest_first_with_how_far_they_came(chat: Chat) -> None:
    assert (await chat.receipts.earlier(chat.address, before=""))[1:] == []
    turn_id = await chat.begin_turn()
    await chat.notice()
    first = await deliver(chat, "b1")
    since = chat.now()
    taken = EarlierSend(first, "b1", since)
    assert list(await chat.receipts.earlier(chat.address, before="")) == [taken]
    await chat.receipt(first, "b1", "queued")
    assert list(await chat.receipts.earlier(chat.address, before="")) == [taken]
    for status, known in (("sent", "sent"), ("read", "read"), ("delivered", "read")):
        await chat.receipt("", "b1", status)
        expected = replace(taken, status=known)
        assert list(await chat.receipts.earlier(chat.address, before="")) == [expected]
    await chat.pass_time(1)
    await chat.notice()
    second = await deliver(chat, "b2")
    await chat.receipt(second, "b2", "failed")
    refused = EarlierSend(second, "b2", chat.now(), "failed")
    assert list(await chat.receipts.earlier(chat.address, before="")) == [refused]
    before = await chat.receipts.earlier(chat.address, before=second)
    assert [one.part_id for one in before] == [first]
    await chat.pass_time(1)
    status_message = StatusMessage(turn_id, chat.address, "s1", "…", "closed", chat.now())
    await chat.outbox.put_status_message(status_message)
    both = await chat.receipts.earlier(chat.address, before="", limit=2)
    assert [one.message_id for one in both] == ["s1", "b2"]


async def test_of_status_messages_only_the_newest_turns_counts(chat: Chat) -> None:
    first = await chat.begin_turn()
    old = StatusMessage(first, chat.address, "s1", "…", "closed", chat.now() + 5)
    await chat.outbox.put_status_message(old)
    await chat.answer(first)
    await chat.begin_turn()
    earlier = await chat.receipts.earlier(chat.address, before="", limit=9)
    assert "s1" not in [one.message_id for one in earlier]
