"""`roost chat`: the answer alone on stdout, exit codes that scripts can trust."""

import json
from typing import Any

import pytest

from roost_platform.testing.command_line import FakeStack, roost


def message(kind: str, text: str, sequence: int = 1) -> tuple[str, Any]:
    return kind, {"id": f"o{sequence}", "text": text, "sequence": sequence}


DONE = ("done", {"outcome": "answered"})


def test_a_refused_message_is_told_in_words(fake: FakeStack) -> None:
    problem = {"loc": ["body", "text"], "msg": "String should have at least 1 character"}
    fake.refusal = (422, {"detail": [problem]})
    done = roost("chat", "-m", "", data=fake.data)
    assert (done.returncode, done.stdout) == (1, "")
    expected = "text: String should have at least 1 character (HTTP 422)"
    assert done.stderr.strip() == f"roost: {expected}"


def test_chat_prints_the_answer_and_nothing_else(fake: FakeStack) -> None:
    fake.events = [
        ("tool", {"line": "Looking at the clock"}),
        ("delta", {"text": "It ", "reset": False}),
        message("answer", "It is noon."),
        DONE,
    ]
    done = roost("chat", "-m", "What time is it?", "--session", "a b", data=fake.data)
    assert (done.returncode, done.stdout, done.stderr) == (0, "It is noon.\n", "")
    request, authorization, body = fake.requests[0]
    assert request == "POST /api/sessions/a%20b/messages"
    assert authorization == "Bearer roost_local"
    assert json.loads(body) == {"text": "What time is it?"}


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029"])
def test_an_answer_may_hold_any_mark_that_ends_a_line(fake: FakeStack, mark: str) -> None:
    text = f"One{mark}two"
    fake.events = [("delta", {"text": text, "reset": False}), message("answer", text), DONE]
    done = roost("chat", "-m", "Count.", "--json", data=fake.data)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["answer"] == text


def test_chat_as_json_tells_figures_too(fake: FakeStack) -> None:
    fake.events = [message("answer", "Noon."), DONE]
    done = roost("chat", "-m", "?", "--json", "--agent", "waiter", data=fake.data)
    said = json.loads(done.stdout)
    assert (said["answer"], said["outcome"], said["session"]) == ("Noon.", "answered", "cli")
    assert said["first_text_s"] <= said["total_s"]
    assert json.loads(fake.requests[0][2])["agent"] == "waiter"


def test_a_failed_turn_is_told_on_stderr_with_exit_1(fake: FakeStack) -> None:
    fake.events = [message("error", "The engine is down."), ("done", {"outcome": "failed"})]
    done = roost("chat", "-m", "?", data=fake.data)
    assert (done.returncode, done.stdout) == (1, "")
    assert "The engine is down." in done.stderr


def test_a_notice_before_the_answer_is_no_part_of_it(fake: FakeStack) -> None:
    fake.events = [message("notice", "This takes longer.", 7), message("answer", "Yes.", 9), DONE]
    done = roost("chat", "-m", "?", data=fake.data)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Yes.\n", "This takes longer.\n")
    done = roost("chat", "-m", "?", "--json", data=fake.data)
    told = json.loads(done.stdout)
    assert told["answer"] == "Yes." and len(told["messages"]) == 2
    fake.events = [message("notice", "Nothing is running.", 7), DONE]
    assert roost("chat", "-m", "/stop", data=fake.data).stdout == "Nothing is running.\n"


def test_a_lost_event_stream_is_taken_up_after_the_last_message_seen(fake: FakeStack) -> None:
    fake.events = [message("notice", "First.", 7), message("answer", "Second.", 9), DONE]
    fake.hang_up_after = 1
    done = roost("chat", "-m", "?", data=fake.data)
    assert done.returncode == 0
    followed = [request for request, _, _ in fake.requests if "/events" in request]
    assert len(followed) == 2
    assert "after=-1" in followed[0]
    assert "after=7" in followed[1]


def test_chat_ends_when_the_answer_takes_longer_than_allowed(fake: FakeStack) -> None:
    done = roost("chat", "-m", "hello", "--timeout", "0.5", data=fake.data)
    assert (done.returncode, done.stdout) == (1, "")
    assert "takes longer than --timeout allows" in done.stderr


def test_a_conversation_goes_on_until_the_input_ends(fake: FakeStack) -> None:
    fake.events = [
        ("delta", {"text": "Go", "reset": False}),
        ("delta", {"text": "od", "reset": False}),
        message("answer", "Good day."),
        DONE,
    ]
    done = roost("chat", data=fake.data, stdin="hello\n\nagain\n")
    assert done.returncode == 0
    assert done.stdout.count("Good day.") == 2
    assert [json.loads(b)["text"] for _, _, b in fake.requests if b] == ["hello", "again"]
