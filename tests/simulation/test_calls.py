"""What the record of calls says about status messages, deletions and waits."""

from typing import Any

from roost_channels.testing.loopback import Call
from roost_inference.testing.scripts import Say
from roost_platform.chaos.calls import early, finals, removed, status_edits, unknowable
from roost_platform.chaos.engine import ByWord
from roost_platform.chaos.record import Final, Removed, StatusEdit

STOP = {"inline_keyboard": [[{"text": "Stop", "callback_data": "stop:t1"}]]}


def call(
    method: str, at: float, got: int = 0, *, fault: str = "", status: int = 200, **given: Any
) -> Call:
    response = {"ok": status == 200, "result": {"message_id": got}}
    parameters = {"chat_id": "7", **given}
    return Call(method, parameters, at, at, status, response, fault)


STATUS = call("sendMessage", 1.0, 5, text="Thinking…", reply_markup=STOP)


def test_a_status_is_known_by_its_button_and_its_answer_by_its_word() -> None:
    calls = [STATUS, call("sendMessage", 3.0, 6, text="Answer to w1.")]
    assert list(status_edits(calls)) == [StatusEdit("7", "t1", 1.0)]
    assert list(finals([("Answer to w1.", "t1", "7")], calls)) == [Final("7", "t1", 3.0)]


def test_a_deleted_message_is_kept_as_it_last_read() -> None:
    edit = call("editMessageText", 2.0, text="Answer to w1.", message_id=5)
    delete = call("deleteMessage", 3.0, message_id=5)
    assert list(removed([STATUS, edit, delete])) == [Removed("7", "5", "Answer to w1.")]


def test_a_status_may_stay_if_its_answer_got_lost_or_its_sender_died() -> None:
    assert unknowable([STATUS], deaths=()) == set()
    assert unknowable([STATUS], deaths=(1.5,)) == {("7", "5")}
    lost = call("sendMessage", 1.0, 5, fault="drop_after", text="Thinking…", reply_markup=STOP)
    assert unknowable([lost], deaths=()) == {("7", "5")}


def test_a_status_may_stay_if_its_sender_died_before_the_database_was_back() -> None:
    assert unknowable([STATUS], deaths=(9.0,), away=[(1.5, 8.0)]) == {("7", "5")}
    assert unknowable([STATUS], deaths=(12.0,), away=[(1.5, 8.0)]) == set()
    assert unknowable([STATUS], deaths=(9.0,), away=[(3.0, 8.0)]) == set()  # it was stored before


def test_a_status_may_stay_if_its_sender_died_while_the_clock_was_ahead() -> None:
    assert unknowable([STATUS], deaths=(40.0,), set_back_s=60.0) == {("7", "5")}
    assert unknowable([STATUS], deaths=(70.0,), set_back_s=60.0) == set()


def test_a_call_inside_a_wait_counts_unless_the_one_who_was_told_died() -> None:
    refused = call("sendMessage", 1.0, status=429, text="w1")
    hasty = call("sendMessage", 2.5, 5, text="w1")
    hasty.early = True
    assert len(list(early([refused, hasty], deaths=()))) == 1
    assert list(early([refused, hasty], deaths=(1.2,))) == []


def test_the_engine_of_the_storm_answers_every_question_since_the_last_answer() -> None:
    said = [
        {"role": "user", "content": "w1 think=0 fill=0"},
        {"role": "assistant", "content": "Answer to w1."},
        {"role": "user", "content": "w2 think=0 fill=0"},
        {"role": "user", "content": "w3 think=2 fill=3\n\nw4 think=0 fill=0"},
    ]
    (step,) = ByWord().steps({"messages": said})
    assert isinstance(step, Say)
    assert step.text == "Answer to w2, w3, w4.\n\nw3.1 w3.2 w3.3"
