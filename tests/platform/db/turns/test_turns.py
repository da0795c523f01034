"""The life of a turn in storage: every step once, whole or not at all, whatever is repeated."""

import re
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from roost_channels.message import Quote
from roost_platform.db import models
from roost_platform.db.enqueue import CUT_NOTICE, OUTBOX_TEXT_MAX
from roost_platform.db.turns import steps, transcript
from roost_platform.db.turns.transcript import TURN_MESSAGES_MAX
from roost_platform.errors import NotAllowed, NotFound, TurnOver
from roost_platform.testing.chats import HandClock, Person, count_rows
from roost_workflows.ports import PlannedCall, Snapshot, TranscriptMessage
from roost_workflows.reasons import FAILURE_REASONS
from roost_workflows.turn import endings

TIME = PlannedCall("c1", "time", "{}", "pure")
BOOK = PlannedCall("c2", "book", '{"people": 2}', "unsafe")
NOTE = PlannedCall("c3", "note", "{}", "idempotent")


async def seen(ada: Person, turn_id: str, step: int = 9) -> list[TranscriptMessage]:
    return list((await ada.stores.turns.context(turn_id, step)).messages)


async def said(ada: Person) -> list[tuple[str, str, str, str]]:
    """(role, content, status, note) of the whole transcript."""
    async with ada.stores.database.read() as session:
        rows = await session.scalars(select(models.Transcript).order_by(models.Transcript.position))
        return [(row.role, row.content, row.status, row.note) for row in rows]


async def progress_of(ada: Person, turn_id: str) -> models.RunProgress:
    async with ada.stores.database.read() as session:
        return await session.get_one(models.RunProgress, turn_id)


async def test_a_message_becomes_a_turn_and_one_answer(ada: Person, clock: HandClock) -> None:
    quote = Quote("m0", "bot", "Yes. No.", "No.", 5, is_manual=True)
    await ada.gives(replace(ada.message("why?"), quote=quote))
    turn = await ada.turn()
    assert (turn.number, turn.agent, turn.stop_requested) == (1, "concierge", False)
    assert (await progress_of(ada, turn.turn_id)).phase == "queued"
    context = await ada.stores.turns.context(turn.turn_id, 1)
    assert (context.person_name, context.channel) == ("Ada", "telegram")
    assert context.session_key == "telegram:42:1001"
    (message,) = context.messages
    assert message.role == "user" and message.content == "why?" and message.name == "Ada"
    assert message.quoted is not None and message.quoted["excerpt"] == "No."
    record = await ada.agent_says(turn, 1, "Because.")
    assert (record.finish, record.calls) == ("answer", ())
    assert await ada.outbox() == [("answer", "Because.")]
    assert await ada.inbox() == [("why?", "done")]
    assert (await progress_of(ada, turn.turn_id)).phase == "done"
    assert await ada.stores.turns.begin(turn.conversation_id) is None


async def test_every_step_repeated_changes_nothing(ada: Person) -> None:
    await ada.says("book a table")
    turn = await ada.turn()
    for _ in range(2):
        await ada.agent_says(turn, 1, "Let me see.", finish="tools", calls=[TIME, BOOK])
        for call in (TIME, BOOK):
            await ada.stores.turns.begin_call(turn.turn_id, 1, call.call_id)
            await ada.stores.turns.finish_call(
                turn.turn_id, 1, call.call_id, status="ok", result=f"{call.name} done"
            )
        await ada.stores.turns.close_group(turn.turn_id, 1)
    for _ in range(2):
        assert (await ada.agent_says(turn, 2, "Booked.")).finish == "answer"
    again = await ada.agent_says(turn, 2, "Booked, but said otherwise.")
    assert again.finish == "answer"
    assert await said(ada) == [
        ("user", "book a table", "", ""),
        ("assistant", "Let me see.", "", ""),
        ("tool", "time done", "ok", ""),
        ("tool", "book done", "ok", ""),
        ("assistant", "Booked.", "", ""),
    ]
    assert await ada.outbox() == [("answer", "Booked.")]


async def test_a_step_is_remembered_with_its_calls(ada: Person) -> None:
    await ada.says("book a table")
    turn = await ada.turn()
    assert await ada.stores.turns.step(turn.turn_id, 1) is None
    committed = await ada.agent_says(turn, 1, finish="tools", calls=[TIME, BOOK])
    assert await ada.stores.turns.step(turn.turn_id, 1) == committed
    assert committed.calls == (TIME, BOOK)


async def test_the_model_sees_calls_and_results_as_pairs(ada: Person) -> None:
    await ada.says("time?")
    turn = await ada.turn()
    await ada.agent_says(turn, 1, finish="tools", calls=[TIME])
    await ada.says("and hurry")
    assert [m.role for m in await seen(ada, turn.turn_id)] == ["user"]  # the group is open
    await ada.stores.turns.close_group(turn.turn_id, 1)
    context = await ada.stores.turns.context(turn.turn_id, 2)
    assert context.steered == 1
    assistant, result, steered = context.messages[1:]
    assert assistant.tool_calls == (("c1", "time", "{}"),)
    assert (result.tool_call_id, result.name, result.status) == ("c1", "time", "skipped")
    assert (steered.role, steered.content) == ("user", "and hurry")
    assert (await ada.stores.turns.context(turn.turn_id, 2)).steered == 0


async def test_the_answer_replies_to_the_newest_message_it_saw(ada: Person) -> None:
    await ada.says("one")
    turn = await ada.turn()
    await ada.says("two")
    await ada.stores.turns.context(turn.turn_id, 1)
    await ada.says("three")
    await ada.agent_says(turn, 1, "An answer.")
    found = await ada.stores.outbox.next_entry(ada.address)
    assert found is not None and found[0].reply_to is not None
    assert (found[0].reply_to.message_id, found[0].reply_to.excerpt) == ("m2", "two")
    assert not found[0].reply_to.is_latest  # "three" came meanwhile, and gets its own turn
    assert (await ada.turn()).number == 2


async def test_one_turn_takes_a_bounded_number_of_messages(ada: Person) -> None:
    await ada.says(*(f"message {n}" for n in range(TURN_MESSAGES_MAX + 3)))
    turn = await ada.turn()
    states = [state for _, state in await ada.inbox()]
    assert states == ["taken"] * TURN_MESSAGES_MAX + ["pending"] * 3
    assert (await ada.stores.turns.context(turn.turn_id, 1)).steered == 3


async def test_a_long_transcript_begins_at_a_users_message(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "CONTEXT_MESSAGES_MAX", 4)
    for number in range(4):
        await ada.says(f"question {number}")
        await ada.agent_says(await ada.turn(), 1, f"answer {number}")
    await ada.says("last question")
    messages = await seen(ada, (await ada.turn()).turn_id)
    assert [m.content for m in messages] == ["question 3", "answer 3", "last question"]


async def test_an_empty_answer_is_told(ada: Person) -> None:
    await ada.says("hello")
    await ada.agent_says(await ada.turn(), 1, "  \n", finish="empty")
    ((kind, text),) = await ada.outbox()
    assert kind == "notice" and text.startswith("I have no answer")


async def test_an_endless_answer_is_cut_and_says_so(ada: Person) -> None:
    await ada.says("hello")
    await ada.agent_says(await ada.turn(), 1, "x" * (OUTBOX_TEXT_MAX + 1), finish="length")
    ((_, text),) = await ada.outbox()
    assert len(text) == OUTBOX_TEXT_MAX and text.endswith(CUT_NOTICE)
    assert (await said(ada))[-1][3] == "cut off at the length limit"


@pytest.mark.parametrize("point", ["end_turn", "append", "enqueue"])
async def test_a_crash_inside_the_final_commit_leaves_no_half_answer(
    ada: Person, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    real = getattr(steps, point)

    async def killed(*arguments: Any, **named: Any) -> None:
        await real(*arguments, **named)
        raise ConnectionAbortedError("killed here")

    with monkeypatch.context() as patch, pytest.raises(ConnectionAbortedError):
        patch.setattr(steps, point, killed)
        await ada.agent_says(turn, 1, "Hello.")
    assert await ada.stores.turns.step(turn.turn_id, 1) is None
    assert await said(ada) == [("user", "hello", "", "")]
    assert (await ada.outbox(), await ada.inbox()) == ([], [("hello", "taken")])
    await ada.agent_says(turn, 1, "Hello.")
    assert await ada.outbox() == [("answer", "Hello.")]


async def test_a_call_counts_its_attempts_and_keeps_its_key(ada: Person) -> None:
    await ada.says("book")
    turn = await ada.turn()
    await ada.agent_says(turn, 1, finish="tools", calls=[BOOK])
    first = await ada.stores.turns.begin_call(turn.turn_id, 1, "c2")
    second = await ada.stores.turns.begin_call(turn.turn_id, 1, "c2")
    assert (first.state, first.attempt, second.state, second.attempt) == (
        "planned",
        1,
        "running",
        2,
    )
    assert first.key == second.key == f"{turn.turn_id}:1:c2"
    await ada.stores.turns.finish_call(turn.turn_id, 1, "c2", status="ok", result="table 4")
    await ada.stores.turns.finish_call(turn.turn_id, 1, "c2", status="error", result="late")
    done = await ada.stores.turns.begin_call(turn.turn_id, 1, "c2")
    assert (done.state, done.result, done.attempt) == ("ok", "table 4", 2)
    with pytest.raises(NotFound):
        await ada.stores.turns.begin_call(turn.turn_id, 1, "nope")


async def test_after_a_stop_no_call_begins(ada: Person) -> None:
    await ada.says("book")
    turn = await ada.turn()
    await ada.agent_says(turn, 1, finish="tools", calls=[TIME, BOOK])
    await ada.stores.turns.begin_call(turn.turn_id, 1, "c1")
    await ada.says("/stop")
    assert await ada.stores.turns.stop_requested(turn.turn_id)
    assert (await ada.stores.turns.begin_call(turn.turn_id, 1, "c2")).state == "skipped"
    assert (await ada.stores.turns.begin_call(turn.turn_id, 1, "c1")).state == "running"


async def test_a_stop_closes_the_group_and_tells_done_undone_and_unknown(
    ada: Person, clock: HandClock
) -> None:
    await ada.says("do four things")
    turn = await ada.turn()
    done = [PlannedCall(f"d{n}", "note", "{}", "idempotent") for n in range(3)]
    await ada.agent_says(turn, 1, "Working.", finish="tools", calls=[*done, BOOK, TIME])
    for call in done:
        await ada.stores.turns.begin_call(turn.turn_id, 1, call.call_id)
        await ada.stores.turns.finish_call(
            turn.turn_id, 1, call.call_id, status="ok", result="kept"
        )
    await ada.stores.turns.begin_call(turn.turn_id, 1, "c2")  # and then its worker is killed
    clock.advance(42.2)
    await ada.says("/stop")
    settled = await ada.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert (settled.done, settled.undone, settled.unknown) == (3, 1, 1)
    counted = "Stopped after 42 s: 3 done, 1 undone, 1 unknown."
    named = f"Undone: {TIME.name}. Unknown: {BOOK.name}."
    assert await ada.outbox() == [("notice", f"{counted} {named}")]
    statuses = [status for role, _, status, _ in await said(ada) if role == "tool"]
    assert statuses == ["ok", "ok", "ok", "unknown", "skipped"]
    again = await ada.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert again == replace(settled, already=True)
    assert len(await ada.outbox()) == 1


async def test_a_stopped_answer_keeps_what_was_said_and_marks_it(
    ada: Person, clock: HandClock
) -> None:
    await ada.says("tell me a story")
    turn = await ada.turn()
    clock.advance(2)
    await ada.says("/stop")
    record = await ada.agent_says(turn, 1, "Once upon a", finish="stopped")
    assert record.finish == "stopped"
    told = [("notice", "Once upon a\n\nStopped after 2 s.")]
    assert await ada.outbox() == told, "at once, not when the session hears of it"
    again = await ada.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert again.already and await ada.outbox() == told
    await ada.says("go on")
    marker = (await seen(ada, (await ada.turn()).turn_id))[1]
    assert (marker.role, marker.content) == ("assistant", "Once upon a")
    assert marker.note == "stopped by the user after 2 s"
    assert marker.engine_message_id == "e1"


async def test_a_stop_from_the_console_is_not_told_as_the_users(
    ada: Person, clock: HandClock
) -> None:
    await ada.says("tell me all")
    turn = await ada.turn()
    clock.advance(2)
    await ada.stores.request_stop(turn.conversation_id, "olga")
    await ada.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    async with ada.stores.database.read() as session:
        stored = await session.get_one(models.Turn, turn.turn_id)
        note = await session.scalar(
            select(models.Transcript.note).where(models.Transcript.note_kind == "stopped")
        )
    assert (stored.stop_requested_by, stored.reason_code) == ("olga", "stopped")
    assert note == "stopped by an operator after 2 s"


async def test_an_answer_that_lost_the_race_against_a_stop_is_kept_as_partial(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    await ada.says("/stop")
    assert (await ada.agent_says(turn, 1, "Hello, Ada.")).finish == "stopped"
    assert await ada.outbox() == [("notice", "Hello, Ada.\n\nStopped after less than a second.")]


async def test_a_stop_after_the_answer_changes_nothing(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    await ada.agent_says(turn, 1, "Hello.")
    settled = await ada.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert settled.already
    assert await ada.outbox() == [("answer", "Hello.")]


async def test_the_partial_text_of_a_killed_worker_is_taken_from_its_progress(ada: Person) -> None:
    await ada.says("tell me a story")
    turn = await ada.turn()
    await ada.stores.turns.progress(turn.turn_id, Snapshot("answering", "Once upon"))
    await ada.says("/stop")
    await ada.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert (await said(ada))[-1][1] == "Once upon"


@pytest.mark.parametrize("reason", [*FAILURE_REASONS, "unheard of"])
async def test_every_failure_is_told_in_words(sqlite_ada: Person, reason: str) -> None:
    ada = sqlite_ada
    await ada.says("hello")
    turn = await ada.turn()
    await ada.stores.turns.settle(turn.turn_id, outcome="failed", reason=reason)
    ((kind, text),) = await ada.outbox()
    assert kind == "error" and re.fullmatch(r"[A-Z].*\.", text)
    assert set(endings.APOLOGIES) == set(FAILURE_REASONS)
    assert await ada.inbox() == [("hello", "done")]


async def test_a_late_writer_of_a_settled_turn_is_fenced_off(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    await ada.stores.turns.settle(turn.turn_id, outcome="failed", reason="timeout")
    with pytest.raises(TurnOver):
        await ada.agent_says(turn, 1, "Hello at last.")
    with pytest.raises(TurnOver):
        await ada.stores.turns.context(turn.turn_id, 1)
    before = await progress_of(ada, turn.turn_id)
    await ada.stores.turns.progress(turn.turn_id, Snapshot("answering", "late"))
    after = await progress_of(ada, turn.turn_id)
    assert (after.phase, after.text, after.version) == ("failed", before.text, before.version)
    assert len(await ada.outbox()) == 1


async def test_progress_is_overwritten_and_counted(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    await ada.stores.turns.progress(turn.turn_id, Snapshot("tool", "", ("Looking up the time",)))
    await ada.stores.turns.progress(turn.turn_id, Snapshot("answering", "It is"))
    row = await progress_of(ada, turn.turn_id)
    assert (row.phase, row.text, row.tools, row.version) == ("answering", "It is", [], 3)
    assert await count_rows(ada.stores, models.RunProgress) == 1


async def test_an_operator_answers_in_the_agents_place(ada: Person) -> None:
    await ada.says("hello")
    await ada.agent_says(await ada.turn(), 1, "Hello.")
    conversation = await ada.conversation_id()
    await ada.stores.say_as_operator(conversation, "Olga here: it is fixed.", "olga")
    assert (await ada.outbox())[-1] == ("answer", "Olga here: it is fixed.")
    await ada.says("thanks")
    message = (await seen(ada, (await ada.turn()).turn_id))[2]
    assert (message.role, message.content) == ("assistant", "Olga here: it is fixed.")
    assert message.note == "written by a person in your place" and message.name == "olga"
    with pytest.raises(NotAllowed):
        await ada.stores.say_as_operator(conversation, "  ", "olga")


async def test_notes_are_kept_per_person_and_added_once(ada: Person) -> None:
    await ada.says("hello")
    context = await ada.stores.turns.context((await ada.turn()).turn_id, 1)
    notes = ada.stores.notes
    first = await notes.add(context.person_id, "likes tea", "t:1:c1")
    assert await notes.add(context.person_id, "likes tea, again", "t:1:c1") == first
    await notes.add(context.person_id, "lives in Ghent", "t:1:c2")
    assert [n.text for n in await notes.list(context.person_id)] == ["likes tea", "lives in Ghent"]
    assert not await notes.remove("somebody else", first.id)
    assert await notes.remove(context.person_id, first.id)
    assert [n.text for n in await notes.list(context.person_id)] == ["lives in Ghent"]


async def test_r7_the_database_refuses_a_second_running_turn(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    with pytest.raises(IntegrityError):
        async with ada.stores.database.write() as session:
            first = await session.get_one(models.Turn, turn.turn_id)
            second = {
                column.name: getattr(first, column.name) for column in models.Turn.__table__.columns
            }
            session.add(models.Turn(**{**second, "id": "second", "number": 2}))


async def test_deaths_of_workers_are_counted_while_the_turn_runs(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    assert turn.worker_deaths == 0
    assert await ada.stores.turns.worker_died(turn.turn_id) == 1
    assert await ada.stores.turns.worker_died(turn.turn_id) == 2
    assert (await ada.turn()).worker_deaths == 2
    await ada.stores.turns.settle(turn.turn_id, outcome="failed", reason="worker_died")
    assert await ada.stores.turns.worker_died(turn.turn_id) == 0
    assert await ada.stores.turns.worker_died("no such turn") == 0
