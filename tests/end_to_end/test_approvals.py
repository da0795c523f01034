"""Approvals and questions from outside: phones, real processes, and parts that die meanwhile."""

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roost_platform.testing import SOURCES, Process, World, eventually, free_port, run_world

_chats = itertools.count(9001)
_users = itertools.count(1)


@pytest.fixture(scope="module")
def bookings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the agent's tool writes."""
    path = tmp_path_factory.mktemp("bookings") / "bookings"
    path.touch()
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, bookings: Path) -> Iterator[World]:
    """Everything real but the model, with an agent that asks before it books."""
    port = free_port()
    engine = Process(
        [sys.executable, "-m", "roost_inference.testing.scripted", "--port", str(port)],
        dict(os.environ) | {"PYTHONPATH": SOURCES},
    )
    engine.start()
    try:
        engine.wait_for("ready", 20)
        yield from run_world(
            tmp_path_factory.mktemp("approvals"),
            {
                "ROOST_ENGINE__URL": f"http://127.0.0.1:{port}",
                "ROOST_ENGINE__MODEL_NAME": "scripted",
                "ROOST_AGENTS": "roost_workflows.testing.booking:booker",
                "BOOKINGS": str(bookings),
            },
        )
    finally:
        engine.stop()


def order(day: str) -> str:
    """A message that makes the agent book."""
    return f'[[tool:book {{"day": "{day}"}}]][[say:Booked {day}.]]'


def card(world: World, chat: int, label: str = "Approve") -> dict[str, Any]:
    """The card on the phone, once it is there."""

    def found() -> dict[str, Any] | None:
        for message in world.phones.telegram.screen(chat)["messages"]:
            if any(button["text"].startswith(label) for button in message["buttons"]):
                return dict(message)
        return None

    return eventually("the card", found, within_s=40)


def tap(world: World, chat: int, message: dict[str, Any], label: str) -> None:
    """Press the button of that label."""
    data = next(
        str(button["data"]) for button in message["buttons"] if button["text"].startswith(label)
    )
    world.phones.telegram.press(chat, message["message_id"], data)


def text_of(world: World, chat: int, message_id: int) -> str:
    """What a message reads now."""
    messages = world.phones.telegram.screen(chat)["messages"]
    return next(str(one["text"]) for one in messages if one["message_id"] == message_id)


def live_buttons(world: World, chat: int) -> list[str]:
    """The labels of all buttons on the phone."""
    messages = world.phones.telegram.screen(chat)["messages"]
    return [button["text"] for one in messages for button in one["buttons"]]


def booked(bookings: Path, day: str) -> int:
    """How often the tool ran for that day."""
    return sum(line.startswith(f"{day} ") for line in bookings.read_text().splitlines())


def answered(world: World, chat: int, text: str) -> bool:
    return any(one["text"] == text for one in world.phones.telegram.bot_messages(chat))


def test_a_tap_runs_the_call_and_the_card_says_so(world: World, bookings: Path) -> None:
    chat = next(_chats)
    world.phones.telegram.say(chat, order("Monday"))
    asked = card(world, chat)
    assert booked(bookings, "Monday") == 0
    tap(world, chat, asked, "Approve")
    tap(world, chat, asked, "Approve")
    eventually("the answer", lambda: answered(world, chat, "Booked Monday."))
    done = eventually("the card", lambda: "· done" in text_of(world, chat, asked["message_id"]))
    assert done and text_of(world, chat, asked["message_id"]).startswith("Approved by ")
    assert booked(bookings, "Monday") == 1
    assert live_buttons(world, chat) == []


@pytest.mark.parametrize("part", ["worker", "courier", "temporal"])
def test_a_part_that_dies_between_card_and_tap_changes_nothing(
    world: World, bookings: Path, part: str
) -> None:
    chat = next(_chats)
    world.phones.telegram.say(chat, order(part))
    asked = card(world, chat)
    world.stack.kill(part)
    tap(world, chat, asked, "Approve")
    eventually("the answer", lambda: answered(world, chat, f"Booked {part}."), within_s=90)
    assert booked(bookings, part) == 1


def test_tap_after_restart_runs_the_same_call_once_without_temporals_file(
    world: World, bookings: Path
) -> None:
    chat = next(_chats)
    world.phones.telegram.say(chat, order("Friday"))
    asked = card(world, chat)
    world.stack.stop()
    files = [path for path in world.stack.data.rglob("temporal*.db*") if path.is_file()]
    assert files
    for path in files:
        path.unlink()
    tap(world, chat, asked, "Approve")
    world.stack.start()
    eventually("the answer", lambda: answered(world, chat, "Booked Friday."), within_s=90)
    assert booked(bookings, "Friday") == 1
    assert live_buttons(world, chat) == []


@pytest.mark.parametrize("word", ["/stop", "/new"])
def test_stop_while_waiting_leaves_no_live_button(world: World, bookings: Path, word: str) -> None:
    chat = next(_chats)
    day = word.removeprefix("/")
    world.phones.telegram.say(chat, order(day))
    asked = card(world, chat)
    world.phones.telegram.say(chat, word)
    eventually("no buttons", lambda: not live_buttons(world, chat))
    after = world.phones.telegram.say(chat, "[[say:Next.]]")
    world.phones.telegram.answer(chat, after)
    assert booked(bookings, day) == 0
    assert text_of(world, chat, asked["message_id"]).startswith("Cancelled")


def test_a_question_is_answered_by_its_button_and_by_words(world: World) -> None:
    chat = next(_chats)
    question = {"question": "Which day?", "options": ["Friday", "Monday"]}
    world.phones.telegram.say(chat, f"[[tool:ask_user {json.dumps(question)}]][[say:Thanks.]]")
    asked = card(world, chat, "Friday")
    tap(world, chat, asked, "Monday")
    eventually("the answer", lambda: answered(world, chat, "Thanks."))
    assert "Monday" in text_of(world, chat, asked["message_id"])
    again = world.phones.telegram.say(
        chat, f"[[tool:ask_user {json.dumps(question)}]][[say:Fine.]]"
    )
    card(world, chat, "Friday")
    world.phones.telegram.say(chat, "in May")
    eventually("the answer", lambda: answered(world, chat, "Fine."))
    assert again and live_buttons(world, chat) == []


def test_a_number_decides_on_whatsapp(world: World, bookings: Path) -> None:
    user = f"whatsapp:+1555100{next(_users):04}"
    phone = world.phones.whatsapp
    phone.say(user, order("Sunday"))
    eventually("the card", lambda: any("may I run" in m["body"] for m in phone.bot_messages(user)))
    phone.say(user, "1")
    eventually(
        "the answer", lambda: any(m["body"] == "Booked Sunday." for m in phone.bot_messages(user))
    )
    assert booked(bookings, "Sunday") == 1


def test_roost_chat_ends_with_the_question_and_goes_on_with_the_answer(world: World) -> None:
    asked = world.stack.cli("chat", "-m", order("Tuesday"), "--session", "waits", "--json")
    assert asked.returncode == 0, asked.stderr
    reply = json.loads(asked.stdout)
    assert reply["waiting"] is True and "may I run `book`" in reply["answer"]
    held = world.stack.cli("chat", "-m", "hello?", "--session", "waits")
    assert held.returncode == 0 and "I am waiting for your decision" in held.stdout
    done = world.stack.cli("chat", "-m", "1", "--session", "waits", "--json")
    assert done.returncode == 0, done.stderr
    assert "Booked Tuesday." in json.loads(done.stdout)["answer"]


def test_a_sleep_ends_by_itself(world: World) -> None:
    chat = next(_chats)
    world.phones.telegram.say(chat, '[[tool:nap {"seconds": 2}]][[say:Awake.]]')
    eventually("the answer", lambda: answered(world, chat, "Awake."), within_s=40)
