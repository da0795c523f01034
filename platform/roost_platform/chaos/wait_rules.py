"""Rules about what waited, as pure functions over a record: each yields (rule, chat, evidence)."""

import json
from collections import Counter
from collections.abc import Iterator

from roost_channels.rendering.parts import REPEAT_LABEL
from roost_platform.chaos.record import Record

Broken = tuple[str, str, str]
GUARDED = ("pay",)
STRANGER = "Eve"  # who is in a group and is never asked anything


def an_unsafe_call_runs_only_when_approved_and_once(record: Record) -> Iterator[Broken]:
    """A guarded call runs after exactly one approval; no unsafe call runs twice or is lost."""
    for call in record.waits.acted:
        what = f"{call.tool} {call.key}, {call.state}, {call.verdicts}, ran {call.runs} times"
        approved = call.verdicts.count("approved")
        if call.runs > 1:
            yield "ran twice", "", what
        if call.tool in GUARDED and call.runs and approved != 1:
            yield "ran without one approval", "", what
        if call.runs and call.state in ("skipped", "error", "cancelled", "planned"):
            yield "ran and is told otherwise", "", what
        if not call.runs and call.state == "ok":
            yield "did not run and is told otherwise", "", what
        if approved and call.turn == "done" and call.state not in ("ok", "unknown"):
            yield "approved and never ran", "", what


def what_runs_is_what_the_card_showed(record: Record) -> Iterator[Broken]:
    """A guarded call runs with the arguments that somebody saw and approved."""
    for call in record.waits.acted:
        if call.tool not in GUARDED:
            continue
        shown = {json.loads(arguments)["mark"] for arguments in call.approved if arguments}
        for mark in call.marks:
            if mark not in shown:
                yield "ran other arguments", "", f"{call.key} ran {mark}, approved was {shown}"


def only_who_is_asked_decides(record: Record) -> Iterator[Broken]:
    """No stranger's tap or word counts, also in a group that all can write in."""
    for one in record.waits.verdicts:
        what = f"{one.state} by {one.name} ({one.person}), asked for {one.requester}"
        if one.name == STRANGER:
            yield "a stranger decided", one.chat, what
        elif one.rule == "requester" and one.person != one.requester:
            yield "another person decided", one.chat, what


def a_result_of_an_agent_arrives_once(record: Record) -> Iterator[Broken]:
    """The call that waited has the answer; in the background one message brings it."""
    for task in record.waits.handed:
        what = f"task {task.id} is {task.state}, its parent's turn {task.parent}"
        if task.is_waited and task.parent == "done" and not task.is_told:
            yield "lost result", "", what
        if task.is_waited and task.brought:
            yield "result twice", "", what
        if not task.is_waited and task.state in ("done", "failed") and task.brought != 1:
            yield "lost result", "", f"{what}; {task.brought} messages brought it"


def a_reminder_fires_once_for_each_time(record: Record) -> Iterator[Broken]:
    """Each time that fired is shown once, and one that comes once fired once."""
    shown = Counter(
        (one.chat, one.text.removeprefix("⏰ ").split()[0])
        for one in record.shown
        if one.text.startswith("⏰ ") and not one.text.startswith(REPEAT_LABEL)
    )
    labelled = {
        (one.chat, word)
        for one in record.shown
        if one.text.startswith(REPEAT_LABEL)
        for word in one.text.split()
    }
    fired: Counter[tuple[str, str]] = Counter()
    for one in record.waits.reminded:
        fired[one.chat, one.text] += one.fired
        if one.is_single and one.state == "done" and one.fired != 1:
            yield "occurrence", one.chat, f"{one.text} fired {one.fired} times"
    for (chat, text), count in fired.items():
        if shown[chat, text] > count or (
            shown[chat, text] < count and (chat, text) not in labelled
        ):
            what = f"{text} fired {count} times and is shown {shown[chat, text]} times"
            yield "occurrence", chat, what


def no_button_of_a_question_stays(record: Record) -> Iterator[Broken]:
    """No card is live after the decision, unless nobody was told its id."""
    for chat, message_id in record.waits.live_cards:
        if (chat, message_id) not in record.unknowable:
            yield "live card", chat, f"message {message_id} still has its buttons"


def nothing_broke_a_rule_on_the_way(record: Record) -> Iterator[Broken]:
    """What holds at every moment held whenever it was looked at."""
    for what in record.waits.wrong:
        yield "waits", "", what


WAIT_RULES = (
    an_unsafe_call_runs_only_when_approved_and_once,
    what_runs_is_what_the_card_showed,
    only_who_is_asked_decides,
    a_result_of_an_agent_arrives_once,
    a_reminder_fires_once_for_each_time,
    no_button_of_a_question_stays,
    nothing_broke_a_rule_on_the_way,
)
