"""One contract for the outbox in memory, which tests use, and the outbox in the database."""

import math
from dataclasses import replace

import pytest

from roost_channels.errors import Failure
from roost_channels.outbox import OutboxEntry, PartOver, StoredPart
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing.memory.outbox import MemoryOutbox, PartUnavailable
from roost_platform.errors import StorageError
from roost_platform.testing.contracts import TEXTS, Chat

ACCOUNTS = [("telegram", "42")]
PARTS = [RenderedPart(text, (), 0, len(text)) for text in TEXTS]
REFUSALS = (StorageError, PartOver, PartUnavailable)


async def head(chat: Chat) -> tuple[OutboxEntry, list[StoredPart]]:
    entry = await chat.outbox.next_entry(chat.address)
    assert entry is not None
    return entry[0], list(entry[1])


async def planned(chat: Chat, rendered: list[RenderedPart]) -> list[StoredPart]:
    """The parts of the lane's first entry."""
    entry, _ = await head(chat)
    return list(await chat.outbox.plan(entry.id, rendered))


async def states(chat: Chat) -> list[str]:
    return [part.state for part in (await head(chat))[1]]


async def is_due(chat: Chat) -> bool:
    due = list(await chat.outbox.due(ACCOUNTS, chat.now()))
    assert due in ([], [chat.address])
    return due != []


async def test_an_entry_is_planned_once(chat: Chat) -> None:
    await chat.notice()
    parts = await planned(chat, PARTS)
    assert [(part.state, part.index, part.count) for part in parts] == [
        ("planned", 0, 3),
        ("planned", 1, 3),
        ("planned", 2, 3),
    ]
    assert {part.next_at for part in parts} == {chat.now()}
    assert await planned(chat, PARTS[:1]) == parts == (await head(chat))[1]


async def test_an_entry_that_needs_no_sending_is_skipped_and_the_lane_goes_on(chat: Chat) -> None:
    await chat.notice()
    await chat.notice()
    first, _ = await head(chat)
    await chat.outbox.skip(first.id)
    second, _ = await head(chat)
    assert second.id != first.id
    assert (second.edits_id, second.edits) == ("", "")
    await chat.outbox.skip(first.id)
    assert (await head(chat))[0].id == second.id


async def test_the_next_due_time_is_that_of_the_first_lane_and_infinite_for_none(
    chat: Chat,
) -> None:
    assert await chat.outbox.next_due(ACCOUNTS) == math.inf
    await chat.notice()
    assert await chat.outbox.next_due(ACCOUNTS) <= chat.now()
    assert await chat.outbox.next_due([("telegram", "another")]) == math.inf
    (part,) = await planned(chat, PARTS[:1])
    await chat.outbox.sending(part.id, "c1", 30.0)
    later = chat.now() + 60.0
    await chat.outbox.not_sent(part.id, Failure("busy"), retry_at=later)
    assert await chat.outbox.next_due(ACCOUNTS) == later


async def test_a_lane_is_due_until_all_parts_are_sent_and_the_first_proof_stands(
    chat: Chat,
) -> None:
    await chat.notice()
    for number, part in enumerate(await planned(chat, PARTS)):
        assert await is_due(chat)
        assert await chat.outbox.sending(part.id, "c1", 30.0) == 1
        await chat.outbox.sent(part.id, f"b{number}")
        await chat.outbox.sent(part.id, "another id")
        if number < 2:
            assert (await head(chat))[1][number].message_id == f"b{number}"
    assert not await is_due(chat) and await chat.outbox.next_entry(chat.address) is None
    assert list(await chat.outbox.due([], chat.now())) == []


async def test_an_entry_that_waits_holds_back_the_next(chat: Chat) -> None:
    await chat.notice()
    await chat.notice()
    first, _ = await head(chat)
    [part] = await planned(chat, PARTS[:1])
    await chat.outbox.sending(part.id, "c1", 30.0)
    await chat.outbox.not_sent(part.id, Failure("slow down"), retry_at=chat.now() + 60)
    assert not await is_due(chat) and await states(chat) == ["not_sent"]
    await chat.pass_time(60)
    assert await is_due(chat)
    await chat.outbox.sent(part.id, "b1")
    assert (await head(chat))[0].id != first.id


async def test_a_dead_letter_leaves_later_parts_planned_and_the_lane_goes_on(chat: Chat) -> None:
    await chat.notice()
    first, second, third = await planned(chat, PARTS)
    await chat.notice()
    await chat.outbox.sent(first.id, "b1")
    await chat.outbox.sending(second.id, "c1", 30.0)
    await chat.outbox.failed(second.id, Failure("Bad Request"))
    assert await states(chat) == []  # the second entry, which is not planned yet
    for part in (second, third):
        with pytest.raises(REFUSALS):
            await chat.outbox.sending(part.id, "c1", 30.0)
    if isinstance(chat.outbox, MemoryOutbox):
        [entry] = [one for one in chat.outbox.entries.values() if one.id == first.outbox_id]
        assert chat.outbox.states(entry) == ["sent", "failed", "planned"]


async def test_what_was_sent_is_not_changed_by_late_news(chat: Chat) -> None:
    await chat.notice()
    part, *_ = await planned(chat, PARTS)
    await chat.outbox.sending(part.id, "c1", 30.0)
    await chat.outbox.sent(part.id, "b1")
    await chat.outbox.ambiguous(part.id, Failure("timed out"))
    await chat.outbox.not_sent(part.id, Failure("refused"), retry_at=chat.now())
    await chat.outbox.replan(part.id, RenderedPart("other"))
    await chat.outbox.failed(part.id, Failure("refused"))
    known, *_ = (await head(chat))[1]
    assert (known.state, known.message_id, known.rendered) == ("sent", "b1", PARTS[0])


async def test_a_part_belongs_to_one_courier_until_its_lease_ends(chat: Chat) -> None:
    await chat.notice()
    part, *_ = await planned(chat, PARTS)
    await chat.outbox.sending(part.id, "c1", 30.0)
    with pytest.raises(REFUSALS):
        await chat.outbox.sending(part.id, "c2", 30.0)
    await chat.pass_time(31)
    assert await states(chat) == ["ambiguous", "planned", "planned"]
    assert await chat.outbox.sending(part.id, "c2", 30.0) == 2


async def test_a_new_courier_doubts_what_another_was_sending(chat: Chat) -> None:
    await chat.notice()
    part, *_ = await planned(chat, PARTS)
    await chat.outbox.sending(part.id, "c1", 600.0)
    assert [await chat.outbox.recover(owner) for owner in ("c1", "c2", "c2")] == [0, 1, 0]
    assert await states(chat) == ["ambiguous", "planned", "planned"] and await is_due(chat)


async def test_a_part_in_doubt_becomes_a_labelled_repeat_and_a_refused_one_plainer(
    chat: Chat,
) -> None:
    await chat.answer(await chat.begin_turn())
    first, second, _ = await planned(chat, PARTS)
    await chat.outbox.sending(first.id, "c1", 30.0)
    await chat.outbox.ambiguous(first.id, Failure("timed out"))
    await chat.outbox.replan(first.id, RenderedPart("(again) one ", (), 0, 4))
    await chat.outbox.sending(second.id, "c1", 30.0)
    assert (await head(chat))[0].reply_to is not None
    await chat.outbox.replan(second.id, PARTS[1], drop_reply=True)
    entry, (one, two, _) = await head(chat)
    assert (one.state, one.duplicate_label, one.plain) == ("not_sent", True, False)
    assert one.rendered.text == "(again) one "
    assert (two.state, two.duplicate_label, two.plain) == ("not_sent", False, True)
    assert entry.reply_to is None and await is_due(chat)


async def test_writing_wakes_what_waits_for_the_person_and_no_providers_wait(chat: Chat) -> None:
    await chat.notice()
    [part] = await planned(chat, PARTS[:1])
    later = chat.now() + 86_400
    await chat.outbox.sending(part.id, "c1", 30.0)
    await chat.outbox.not_sent(part.id, Failure("closed"), retry_at=later, held=True)
    assert not await is_due(chat)
    await chat.pass_time(1)
    await chat.person_writes()
    assert await is_due(chat)
    await chat.outbox.sending(part.id, "c1", 30.0)
    await chat.outbox.not_sent(part.id, Failure("too many requests"), retry_at=later)
    await chat.pass_time(1)
    await chat.person_writes()
    assert not await is_due(chat)


async def test_who_wrote_while_the_request_was_under_way_is_not_waited_for(chat: Chat) -> None:
    await chat.notice()
    [part] = await planned(chat, PARTS[:1])
    await chat.outbox.sending(part.id, "c1", 30.0)
    await chat.pass_time(1)
    await chat.person_writes()
    later = chat.now() + 86_400
    await chat.outbox.not_sent(
        part.id, Failure("closed"), retry_at=later, held=True, invitation="Write!"
    )
    assert await is_due(chat) and (await head(chat))[0].kind == "answer"


async def test_one_invitation_goes_first_and_is_dropped_when_the_person_writes(chat: Chat) -> None:
    await chat.notice()
    first, second, _ = await planned(chat, PARTS)
    later = chat.now() + 86_400
    for part in (first, second):
        await chat.outbox.sending(part.id, "c1", 30.0)
        await chat.outbox.not_sent(
            part.id, Failure("closed"), retry_at=later, held=True, invitation="Write!"
        )
    entry, parts = await head(chat)
    assert (entry.kind, entry.text, parts) == ("invitation", "Write!", [])
    assert await is_due(chat)
    await chat.pass_time(1)
    await chat.person_writes()
    assert (await head(chat))[0].kind == "answer" and await is_due(chat)


async def test_a_chat_that_moved_takes_its_lane_along(chat: Chat) -> None:
    await chat.notice()
    [part] = await planned(chat, PARTS[:1])
    await chat.outbox.moved(chat.address, "-100500")
    moved = replace(chat.address, chat="-100500")
    assert list(await chat.outbox.due(ACCOUNTS, chat.now())) == [moved]
    entry = await chat.outbox.next_entry(moved)
    assert entry is not None and entry[1][0].id == part.id


async def test_an_attempt_that_another_courier_has_overtaken_concludes_nothing(chat: Chat) -> None:
    """Two couriers settle one send in doubt: the slower one must not take back what the other sends
    meanwhile, nor send it a second time.
    """
    await chat.notice()
    part, *_ = await planned(chat, PARTS[:1])
    await chat.outbox.sending(part.id, "c1", 30.0, after=0)
    await chat.outbox.ambiguous(part.id, Failure("timed out"), attempt=1)
    await chat.outbox.not_sent(part.id, Failure("absent"), retry_at=chat.now(), attempt=1)
    assert await chat.outbox.sending(part.id, "c1", 30.0, after=1) == 2
    for _ in range(2):  # while the second attempt is under way, and while it is in doubt
        before = (await head(chat))[1]
        await chat.outbox.not_sent(part.id, Failure("absent"), retry_at=chat.now(), attempt=1)
        await chat.outbox.replan(part.id, RenderedPart("again"), attempt=1)
        await chat.outbox.failed(part.id, Failure("no tries left"), attempt=1)
        await chat.outbox.ambiguous(part.id, Failure("timed out"), attempt=1)
        await chat.outbox.evidence(part.id, "sent again", attempt=1)
        assert (await head(chat))[1] == before
        with pytest.raises(REFUSALS):
            await chat.outbox.sending(part.id, "c2", 30.0, after=1)
        await chat.outbox.ambiguous(part.id, Failure("timed out"), attempt=2)
    await chat.outbox.sent(part.id, "b1")  # a proof counts, whatever attempt it is of
    assert not await is_due(chat)
