"""Commands in a chat, and what only looks like one."""

from dataclasses import replace

import pytest

from roost_channels.message import Address, Attachment
from roost_platform.commands import Command, parse, unknown
from roost_platform.db import models
from roost_platform.db.conversations.settings import ProgressModes
from roost_platform.db.inbox.inbox import InboxStore
from roost_platform.db.people.access import AccessPolicy
from roost_platform.errors import NotAllowed
from roost_platform.settings.config import load_settings
from roost_platform.testing.chats import HandClock, Person, count_rows
from roost_workflows.ports import Snapshot


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/stop", "stop"),
        ("  /STOP  ", "stop"),
        ("/stop@roost_bot", "stop"),
        ("@roost_bot /stop", "stop"),
        ("/new", "new"),
        ("/Status", "status"),
        ("/help", "help"),
        ("/start", "start"),
        ("stop", "stop"),
        ("Stop!", "stop"),
        ("STOP!!!", "stop"),
        ("please stop.", "stop"),
        ("Please  stop", "stop"),
        ("abort", "stop"),
        ("cancel", "stop"),
        ("halt…", "stop"),
        ("@roost_bot stop", "stop"),
        # What keyboards put around a word by themselves.
        ("/stop.", "stop"),
        ("/New!", "new"),
        ("／stop", "stop"),  # noqa: RUF001
        ("／ＳＴＯＰ", "stop"),  # noqa: RUF001
        ("／ｑｕｅｕｅ　ｓｔｅｅｒ", "queue"),  # noqa: RUF001
        ("／ｒｅｍｉｎｄ　９時", "remind"),  # noqa: RUF001
        ("ｓｔｏｐ！", "stop"),  # noqa: RUF001
        ("\u200e/stop\u200f", "stop"),
        ("\ufeffstop\u200b", "stop"),
        ("stop 🛑", "stop"),
        ("🛑️ Stop!!! 😡", "stop"),
        ("“stop”", "stop"),
        ("stop。", "stop"),
        ("/queue steer.", "queue"),
        ("/remind.", "remind"),
    ],
)
def test_r24_a_whole_message_is_a_command(text: str, name: str) -> None:
    command = parse(text)
    assert command is not None and command.name == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wait",
        "wait, also add X",
        "stop the music please",
        "stop at the next station",
        "don't stop",
        "cancel my order",
        "please stop by the shop",
        "full stop, new line",
        "/stop the music",
        "/stopping",
        "/unknown",
        "/ stop",
        "what does /stop do?",
        "abort, retry, fail?",
        "exit",
        "stopp",
        "hi\nstop",
        "//stop",
        "\\stop",
        "stop/",
        "🛑",
        "🛑 stop the music",
    ],
)
def test_r24_other_messages_are_for_the_agent(text: str) -> None:
    assert parse(text) is None


def test_r24_phrases_can_be_chosen() -> None:
    assert parse("para", phrases=("para",)) == Command("stop", is_phrase=True)
    assert parse("stop", phrases=("para",)) is None
    chosen = load_settings(environ={"ROOST_INBOUND__ABORT_PHRASES": "para, alto"})
    assert chosen.inbound.abort_phrases == ("para", "alto")


def test_buttons_and_native_stops_are_commands_and_edits_are_not() -> None:
    assert parse("stop:t1:n1", "callback") == Command("stop", turn_id="t1", nonce="n1")
    assert parse("stop:t1", "callback") == Command("stop", turn_id="t1")
    assert parse("stop:", "callback") is None
    assert parse("other:t1", "callback") is None
    assert parse("", "stop") == Command("stop")
    assert parse("/stop", "edited") is None


async def test_help_start_and_status_answer_without_the_agent(ada: Person) -> None:
    await ada.says("/help", "/start", "/status")
    told = [text for _, text in await ada.outbox()]
    assert "/new starts a new conversation" in told[0]
    assert told[1].startswith("Hello!")
    assert told[2].startswith("Idle.")
    assert {state for _, state in await ada.inbox()} == {"done"}
    assert await ada.stores.turns.begin(await ada.conversation_id()) is None
    assert ada.doorbell.rung == []


async def test_status_tells_what_runs_and_waits(ada: Person, clock: HandClock) -> None:
    await ada.says("a long task")
    await ada.turn()
    clock.advance(12)
    await ada.says("and one more", "/status")
    (_, status), *_ = await ada.outbox()
    assert status.startswith("Working for 12 s.\n1 message waiting.\nAgent: concierge.")


async def test_stop_is_recorded_before_it_is_rung_and_drops_what_waits(ada: Person) -> None:
    await ada.says("a long task")
    turn = await ada.turn()
    await ada.says("also this", "and that", "/stop", "but this afterwards")
    assert (await ada.stores.turns.get(turn.turn_id)).stop_requested
    assert ada.doorbell.stopped == [turn.conversation_id]
    assert await ada.inbox() == [
        ("a long task", "taken"),
        ("also this", "dropped"),
        ("and that", "dropped"),
        ("/stop", "done"),
        ("but this afterwards", "pending"),
    ]
    assert await ada.outbox() == [("notice", "2 waiting messages dropped.")]


async def test_a_stop_with_nothing_running_says_so(ada: Person) -> None:
    await ada.says("/stop")
    assert await ada.outbox() == [("notice", "Nothing is running.")]
    await ada.says("a question", "/stop")
    assert (await ada.outbox())[1] == (
        "notice",
        "Stopped before I began. 1 waiting message dropped.",
    )
    assert ada.doorbell.stopped == []


async def test_the_word_stop_is_for_the_agent_when_nothing_runs(ada: Person) -> None:
    await ada.says("cancel")
    assert await ada.inbox() == [("cancel", "pending")]
    turn = await ada.turn()
    await ada.says("Stop!")
    assert (await ada.stores.turns.get(turn.turn_id)).stop_requested


async def test_a_stop_button_stops_its_own_turn_only(ada: Person) -> None:
    await ada.says("first")
    first = await ada.turn()
    old = await ada.stop_button()
    await ada.agent_says(first, 1, "Done.")
    await ada.says("second")
    second = await ada.turn()
    await ada.gives(ada.message(old, kind="callback"))
    assert not (await ada.stores.turns.get(second.turn_id)).stop_requested
    await ada.gives(ada.message(await ada.stop_button(), kind="callback"))
    assert (await ada.stores.turns.get(second.turn_id)).stop_requested
    assert ada.doorbell.stopped == [second.conversation_id]


async def test_new_starts_a_session_that_knows_nothing_of_before(ada: Person) -> None:
    await ada.says("my name is Ada")
    await ada.agent_says(await ada.turn(), 1, "Hello, Ada.")
    await ada.says("/new", "who am I?")
    assert (await ada.outbox())[-1] == (
        "notice",
        "New conversation. I no longer see what was said before.",
    )
    turn = await ada.turn()
    context = await ada.stores.turns.context(turn.turn_id, 1)
    assert [m.content for m in context.messages] == ["who am I?"]
    assert await count_rows(ada.stores, models.Session) == 2


async def test_new_stops_the_running_turn_which_ends_in_its_own_session(ada: Person) -> None:
    await ada.says("a long task")
    turn = await ada.turn()
    await ada.says("/new", "something else")
    assert ada.doorbell.stopped == [turn.conversation_id]
    resumed = await ada.turn()
    assert resumed.turn_id == turn.turn_id and resumed.stop_requested
    await ada.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    after = await ada.turn()
    assert after.session_id != turn.session_id
    context = await ada.stores.turns.context(after.turn_id, 1)
    assert [m.content for m in context.messages] == ["something else"]


async def test_a_stop_from_the_console_is_the_same_stop(ada: Person) -> None:
    await ada.says("a long task")
    turn = await ada.turn()
    stopped = await ada.intake.request_stop(turn.conversation_id, "olga")
    await ada.intake.drain()
    assert stopped.turn_id == turn.turn_id
    assert ada.doorbell.stopped == [turn.conversation_id]
    idle = await ada.intake.say("idle", "/help")
    assert not (await ada.intake.request_stop(idle.conversation_id, "olga")).found_something


async def test_progress_is_chosen_per_conversation_and_told_to_the_channels(ada: Person) -> None:
    await ada.says("/progress")
    (kind, text), *_ = await ada.outbox()
    assert kind == "notice" and "/progress stream" in text and "default (now)" in text
    await ada.says("/progress stream", "work")
    turn = await ada.turn()
    (snapshot,) = await ada.stores.outbox.progress([("telegram", "42")])
    assert snapshot.mode == "stream"
    steps = ("✓ look", "▸ read")
    await ada.stores.turns.progress(turn.turn_id, Snapshot("tool", tools=("Search",), plan=steps))
    (snapshot,) = await ada.stores.outbox.progress([("telegram", "42")])
    assert (snapshot.tools, snapshot.plan) == (("Search",), steps)
    await ada.says("/progress default")
    (snapshot,) = await ada.stores.outbox.progress([("telegram", "42")])
    assert snapshot.mode == ""
    usual = "Progress is shown as usual here, which is status: a message tells what I am doing"
    assert (await ada.outbox())[-1][1].startswith(usual)


async def test_progress_says_what_is_in_force_where_the_account_has_a_setting(ada: Person) -> None:
    policies = {("telegram", "42"): AccessPolicy("open")}
    modes: ProgressModes = {("telegram", "42"): "stream"}
    inbox = InboxStore(ada.stores.database, policies, progress_modes=modes)
    await inbox.accept("telegram", "42", [ada.message("/progress"), ada.message("/progress off")])
    await inbox.accept("telegram", "42", [ada.message("/progress")])
    usual, _, chosen = [text for _, text in await ada.outbox()]
    assert usual.endswith("/progress default (now): as usual here, which is stream")
    assert "/progress off (now)" in chosen and "default: as usual here, which is stream" in chosen


async def test_an_unknown_command_is_answered_and_the_agent_does_not_read_it(ada: Person) -> None:
    await ada.says("/sumarize", "/weather Berlin", "/etc/hosts", "/new york", "/tmp is full")
    assert [state for _, state in await ada.inbox()] == ["done", "done", *["pending"] * 3]
    told = [text for _, text in await ada.outbox()]
    assert told[0] == "I know no command /sumarize. /help shows those that I know."
    assert len(told) == 2
    picture = replace(ada.message("/look"), attachments=(Attachment("photo", "f1"),))
    await ada.gives(picture)
    assert (await ada.inbox())[-1] == ("/look", "pending")


async def test_in_a_group_an_unknown_command_is_answered_where_it_names_the_bot(
    ada: Person,
) -> None:
    team = replace(ada, address=Address("telegram", "42", "-9", is_group=True))
    await team.says("/other", "/other@roost_bot", "@roost_bot /other")
    assert [state for _, state in await team.inbox()] == ["pending", "done", "done"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/foo", "foo"),
        ("  /FOO_2  ", "foo_2"),
        ("/foo@roost_bot", "foo"),
        ("/foo bar", "foo"),
        ("/foo 10:30", "foo"),
        ("\u200e/foo.", "foo"),
        ("／ｆｏｏ", "foo"),  # noqa: RUF001
        ("/etc/hosts", ""),
        ("/path/like this", ""),
        ("/srv/my files", ""),
        ("/tmp is full, help", ""),
        ("/foo\nbar", ""),
        ("/", ""),
        ("/ foo", ""),
        ("//foo", ""),
        ("/1", ""),
        ("/2026-01-01", ""),
        ("/c++", ""),
        ("/привет", ""),
        ("/" + "x" * 33, ""),
        ("/stop the", ""),
        ("/help", ""),
        ("what is /foo?", ""),
    ],
)
def test_a_command_is_a_slash_and_a_word_and_at_most_one_word_more(text: str, name: str) -> None:
    assert unknown(text, is_group=False) == name


async def test_an_operator_may_choose_it_as_well(ada: Person) -> None:
    await ada.says("hello")
    conversation_id = await ada.conversation_id()
    said = await ada.stores.operators.set_progress(conversation_id, "off", "eve")
    assert "nothing else" in said
    with pytest.raises(NotAllowed):
        await ada.stores.operators.set_progress(conversation_id, "loud", "eve")
