"""Buttons under reminders and echoes: taken once, then the message says what was chosen."""

from dataclasses import replace

import pytest

from roost_channels.message import Quote, Sender
from roost_channels.outbox import OutboxEntry
from roost_channels.rendering.parts import RenderedPart
from roost_platform.approval_rules import ApprovalRules
from roost_platform.testing.scheduling import Reminded


async def deliver(ada: Reminded) -> list[OutboxEntry]:
    """Let the lane deliver everything, each message under its text's length; what left."""
    outbox, left = ada.person.stores.outbox, []
    while (head := await outbox.next_entry(ada.person.address)) is not None:
        entry, _ = head
        (part,) = await outbox.plan(entry.id, [RenderedPart(entry.text, (), 0, len(entry.text))])
        await outbox.sending(part.id, "courier", 60.0)
        await outbox.sent(part.id, entry.edits or f"id-{entry.id}")
        left.append(entry)
    return left


async def remind(ada: Reminded, text: str = "call", day: int = 30) -> OutboxEntry:
    """A reminder that has come; its message."""
    await ada.says(f"/remind in 5 minutes {text}")
    ada.clock.advance(300)
    await ada.due()
    return (await deliver(ada))[-1]


def by_words(ada: Reminded) -> None:
    """Let words stand for buttons in the chat, as where these may not reach people."""
    ada.person.intake._stores.inbox._access._approvals = ApprovalRules(
        by_words=frozenset({("telegram", "42")})
    )


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("Done", "Done 14:10"),
        ("Snooze 10 min", "Put off until 14:20"),
        ("Tomorrow", "Put off until Mon 30 Nov, 14:10"),
    ],
)
async def test_a_tap_settles_the_reminder_for_good(ada: Reminded, label: str, said: str) -> None:
    message = await remind(ada)
    await ada.presses(label)
    (edit,) = await deliver(ada)
    assert (edit.edits, edit.buttons) == (f"id-{message.id}", ())
    assert edit.text == f"{said}\n⏰ call"
    for other in ("Done", "Snooze 10 min", "Tomorrow", label):
        assert await ada.presses(other) == f"{said}."
    assert await deliver(ada) == []
    assert len(await ada.schedules()) == (1 if label == "Done" else 2)


async def test_snooze_by_a_double_tap_is_one_snooze(ada: Reminded) -> None:
    message = await remind(ada)
    data = next(one.data for one in message.buttons if one.label == "Snooze 10 min")
    taps = [
        replace(ada.person.message(data, kind="callback"), message_id=f"id-{message.id}")
        for _ in range(2)
    ]
    accepted = await ada.person.gives(*taps)
    first, second = (accepted.answers[tap.event_id] for tap in taps)
    assert first.startswith("I will remind you again") and second == "Put off until 14:20."
    ada.clock.advance(600)
    assert await ada.due() == ["⏰ call"]
    assert await ada.due() == [] and len(await ada.schedules()) == 2


@pytest.mark.parametrize(
    ("label", "told", "said", "state"),
    [
        ("OK", "Kept.", "Kept 14:05", "active"),
        ("Cancel", "Cancelled.", "Cancelled 14:05", "deleted"),
    ],
)
async def test_a_tap_settles_the_echo(
    ada: Reminded, label: str, told: str, said: str, state: str
) -> None:
    await ada.says("/remind tomorrow 9:00 call")
    await deliver(ada)
    assert await ada.presses(label) == told
    (edit,) = await deliver(ada)
    assert edit.text.startswith(f"{said}\nReminder: call\n") and edit.buttons == ()
    assert [await ada.presses(one) for one in ("OK", "Cancel")] == [f"{said}."] * 2
    assert [one.state for one in await ada.schedules()] == [state]


async def test_change_leaves_in_the_message_how_to_change_it(ada: Reminded) -> None:
    await ada.says("/remind tomorrow 9:00 call")
    await deliver(ada)
    told = await ada.presses("Change")
    (edit,) = await deliver(ada)
    assert "/schedules change" in told and edit.text.startswith(f"{told}\n")


async def test_an_echo_of_what_is_deleted_is_not_kept(ada: Reminded) -> None:
    await ada.says("/remind tomorrow 9:00 call")
    (kept,) = await ada.schedules()
    await ada.says(f"/schedules delete {kept.id[-6:]}")
    assert await ada.presses("OK") == "That schedule is over or deleted."


async def test_a_word_settles_the_reminder_as_a_tap_does(ada: Reminded) -> None:
    await remind(ada)
    assert await ada.says("done") == ["Well done."]
    assert [entry.text for entry in await deliver(ada)] == ["Done 14:10\n⏰ call", "Well done."]
    assert await ada.presses("Snooze 10 min") == "Done 14:10."


async def test_data_of_another_choice_than_the_message_shows_does_nothing(ada: Reminded) -> None:
    message = await remind(ada)
    made_up = message.buttons[0].data.replace(":d", ":p")
    tap = ada.person.message(made_up, kind="callback")
    for forged in (replace(tap, message_id=f"id-{message.id}"), tap):
        event = replace(forged, event_id=f"forged:{forged.message_id}")
        accepted = await ada.person.gives(event)
        assert accepted.answers[event.event_id] == "This button does nothing any more."


async def test_a_stranger_in_the_group_settles_nothing(ada: Reminded) -> None:
    message = await remind(ada)
    tap = replace(
        ada.person.message(message.buttons[0].data, kind="callback"),
        sender=Sender("2002", "Eve", "eve"),
    )
    accepted = await ada.person.gives(tap)
    assert "Only the person" in accepted.answers[tap.event_id]
    assert await deliver(ada) == []


async def test_numbers_stand_for_buttons_where_these_may_not_reach_people(ada: Reminded) -> None:
    by_words(ada)
    await ada.says("/remind every day 9:00 pills")
    echo = (await deliver(ada))[-1]
    assert [(one.word, one.label) for one in echo.buttons] == [
        *(("1", "OK"), ("2", "Change"), ("3", "Cancel")),
    ]
    assert await ada.says("\N{FULLWIDTH DIGIT THREE}.") == ["Cancelled."]
    assert [one.state for one in await ada.schedules()] == ["deleted"]
    assert await ada.says("3") == []  # nothing is open: for the agent


async def test_a_code_is_asked_for_only_when_several_are_open(ada: Reminded) -> None:
    by_words(ada)
    for text in ("pills", "water"):
        await ada.says(f"/remind in 5 minutes {text}")
    ada.clock.advance(300)
    await ada.due()
    await deliver(ada)
    first, second = await ada.schedules()
    (told,) = await ada.says("1")
    assert f"`{first.id[-6:]}` pills" in told and f"`{second.id[-6:]}` water" in told
    assert await ada.says(f"1 {second.id[-6:]}") == ["Well done."]
    assert "⏰ water" in [entry.text.partition("\n")[2] for entry in await deliver(ada)]
    assert await ada.says("1") == ["Well done."]  # one is left


async def test_a_number_in_a_reply_means_the_message_it_replies_to(ada: Reminded) -> None:
    first = await remind(ada, "pills")
    await remind(ada, "water")
    quote = Quote(f"id-{first.id}", "bot", first.text, first.text)
    await ada.person.gives(ada.person.message("1", quote=quote))
    assert "⏰ pills" in [entry.text.partition("\n")[2] for entry in await deliver(ada)]
    assert await ada.says("2") == []  # no reply, and this chat shows buttons: for the agent
