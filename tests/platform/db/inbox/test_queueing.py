"""Messages that come in a row or in a running turn: every mode, the quiet windows, their bounds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from roost.agent import QUEUE_MODES, Agent, QueueMode
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.errors import NotAllowed
from roost_platform.intake import PlatformIntake
from roost_platform.queueing import FOLLOWUPS_MAX, WINDOWS_MAX, QueueRules, batch_max
from roost_platform.settings.config import load_settings
from roost_platform.testing.chats import DoorbellLog, HandClock, Person
from roost_workflows.agents import AgentRegistry
from roost_workflows.ports import PlannedCall, Postponed, TurnRecord

CALL = PlannedCall("c1", "look", "{}", "pure")


@asynccontextmanager
async def person(url: str, clock: HandClock, rules: QueueRules) -> AsyncIterator[Person]:
    """Ada, in a chat with these rules."""
    policies = {("telegram", "42"): AccessPolicy("open")}
    opened = open_stores(Database(url, clock=clock), policies=policies, queueing=rules)
    bell = DoorbellLog()
    yield Person(opened, PlatformIntake(opened, bell), bell)
    await opened.close()


async def transcript(ada: Person) -> list[tuple[str, str]]:
    async with ada.stores.database.read() as session:
        rows = await session.scalars(select(models.Transcript).order_by(models.Transcript.position))
        return [(row.role, row.content) for row in rows]


async def answered(ada: Person) -> list[tuple[str, ...]]:
    """Answer until nothing waits; what each turn was asked."""
    turns = []
    conversation = await ada.conversation_id()
    while (begun := await ada.stores.turns.begin(conversation)) is not None:
        assert isinstance(begun, TurnRecord)
        async with ada.stores.database.read() as session:
            rows = await session.scalars(
                select(models.Inbox.text)
                .where(models.Inbox.turn_id == begun.turn_id)
                .order_by(models.Inbox.sequence)
            )
            turns.append(tuple(rows))
        await ada.agent_says(begun, 1, "so")
    return turns


async def test_steer_adds_to_the_running_turn_once_no_tool_group_is_open(ada: Person) -> None:
    await ada.says("go")
    turn = await ada.turn()
    await ada.agent_says(turn, 1, finish="tools", calls=[CALL])
    await ada.says("and quickly")
    assert (await ada.stores.turns.context(turn.turn_id, 1)).steered == 0
    await ada.stores.turns.close_group(turn.turn_id, 1)
    assert (await ada.stores.turns.context(turn.turn_id, 2)).steered == 1


async def test_followup_answers_each_message_by_itself_in_order(ada: Person) -> None:
    await ada.says("/queue followup", "one")
    turn = await ada.turn()
    await ada.says("two", "three")
    assert (await ada.stores.turns.context(turn.turn_id, 1)).steered == 0
    await ada.agent_says(turn, 1, "first")
    assert await answered(ada) == [("two",), ("three",)]


async def test_collect_answers_what_came_in_a_row_together(
    sqlite_url: str, clock: HandClock
) -> None:
    async with person(sqlite_url, clock, QueueRules("collect", collect_s=2.0)) as ada:
        await ada.says("one")
        clock.advance(1.5)
        await ada.says("two")
        conversation = await ada.conversation_id()
        assert await ada.stores.turns.begin(conversation) == Postponed(2.0)
        clock.advance(2.0)
        turn = await ada.turn()
        await ada.says("three")
        assert (await ada.stores.turns.context(turn.turn_id, 1)).steered == 0
        await ada.agent_says(turn, 1, "both")
        assert await ada.stores.turns.begin(conversation) == Postponed(2.0)
        clock.advance(2.0)
        assert await answered(ada) == [("three",)]
        assert [text for role, text in await transcript(ada) if role == "user"] == [
            "one",
            "two",
            "three",
        ]


async def test_interrupt_stops_what_runs_and_the_newest_is_answered_with_what_was_said_before(
    ada: Person,
) -> None:
    await ada.says("/queue interrupt", "a long task")
    turn = await ada.turn()
    await ada.says("no, a short one")
    assert ada.doorbell.stopped == [turn.conversation_id]
    assert (await ada.stores.turns.get(turn.turn_id)).stop_requested
    await ada.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert len(await ada.outbox()) == 1, "nothing was said or done, so nothing is told"
    assert await answered(ada) == [("no, a short one",)]
    assert [text for role, text in await transcript(ada) if role == "user"] == [
        "a long task",
        "no, a short one",
    ]


async def test_an_interrupted_turn_tells_what_it_had_said_and_done(
    ada: Person, clock: HandClock
) -> None:
    await ada.says("/queue interrupt", "go")
    turn = await ada.turn()
    await ada.agent_says(turn, 1, finish="tools", calls=[CALL])
    await ada.stores.turns.begin_call(turn.turn_id, 1, "c1")
    clock.advance(4)
    await ada.says("something else")
    await ada.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert (await ada.outbox())[-1] == (
        "notice",
        f"Interrupted after 4 s: 0 done, 1 undone, 0 unknown. Undone: {CALL.name}.",
    )
    assert ("assistant", "") in await transcript(ada)
    async with ada.stores.database.read() as session:
        stored = await session.get_one(models.Turn, turn.turn_id)
        assert (stored.state, stored.reason_code) == ("stopped", "interrupted")


async def test_a_stop_after_an_interruption_is_a_stop_and_drops_the_newer_message(
    ada: Person,
) -> None:
    await ada.says("/queue interrupt", "go")
    turn = await ada.turn()
    await ada.says("no, this", "/stop")
    await ada.stores.turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    assert [text for _, text in await ada.outbox()][1:] == [
        "1 waiting message dropped.",
        "Stopped after less than a second.",
    ]
    assert await ada.stores.turns.begin(turn.conversation_id) is None


async def test_people_choose_the_mode_of_their_conversation_and_see_which_there_are(
    ada: Person,
) -> None:
    await ada.says("/queue", "/queue Collect", "/queue", "/queue default", "/queue", "/queue what")
    told = [text for _, text in await ada.outbox()]
    assert "/queue steer (now):" in told[0] and "/queue collect:" in told[0]
    assert told[1].startswith("Queue mode collect:")
    assert "/queue collect (now):" in told[2]
    assert told[3].startswith("Queue mode steer:")
    assert told[4] == told[0] == told[5]
    assert ada.doorbell.rung == []


async def test_operators_choose_it_too_and_it_is_written_down(ada: Person) -> None:
    await ada.says("/help")
    conversation = await ada.conversation_id()
    operators = ada.stores.operators
    assert await operators.set_queue(conversation, "followup", "Grace") == "followup"
    assert await operators.set_queue(conversation, "default", "Grace") == "steer"
    with pytest.raises(NotAllowed):
        await operators.set_queue(conversation, "chaos", "Grace")
    async with ada.stores.database.read() as session:
        audited = await session.scalars(select(models.Audit).order_by(models.Audit.id))
        assert [(a.actor, a.action, a.detail) for a in audited] == [
            ("Grace", "conversation.queue", {"mode": "followup"}),
            ("Grace", "conversation.queue", {"mode": "default"}),
        ]


@pytest.mark.parametrize(
    ("channel", "agent", "settings", "mode"),
    [
        ("telegram", "plain", {}, "followup"),
        ("telegram", "eager", {}, "interrupt"),
        ("whatsapp", "plain", {}, "collect"),
        ("whatsapp", "eager", {}, "collect"),
        ("whatsapp", "eager", {"queue": "steer"}, "steer"),
        ("telegram", "eager", {"queue": "steer"}, "steer"),
        ("telegram", "eager", {"queue": "no longer known"}, "interrupt"),
        ("whatsapp", "plain", {"queue": "no longer known"}, "collect"),
    ],
)
def test_a_conversations_own_mode_comes_before_its_channels_its_agents_the_installations(
    channel: str, agent: str, settings: dict[str, Any], mode: QueueMode
) -> None:
    environ = {"ROOST_INBOUND__QUEUE": "followup", "ROOST_INBOUND__QUEUE_WHATSAPP": "collect"}
    rules = replace(
        load_settings(environ=environ).inbound.rules,
        by_agent=AgentRegistry.of(
            Agent("plain", "Be."), Agent("eager", "Be.", queue="interrupt")
        ).queues,
    )
    conversation = models.Conversation(channel=channel, agent=agent, settings=settings)
    assert rules.mode_of(conversation) == mode


async def test_the_mode_of_the_agent_holds_for_its_conversations(
    sqlite_url: str, clock: HandClock
) -> None:
    async with person(sqlite_url, clock, QueueRules(by_agent={"concierge": "interrupt"})) as ada:
        await ada.says("go")
        turn = await ada.turn()
        await ada.says("no, this")
        assert await ada.stores.turns.stop_requested(turn.turn_id)
        assert ada.doorbell.stopped == [await ada.conversation_id()]
        await ada.says("/queue")
        assert "/queue interrupt (now)" in (await ada.outbox())[-1][1]


async def test_a_turn_waits_until_the_person_pauses_and_five_windows_at_most(
    sqlite_url: str, clock: HandClock
) -> None:
    async with person(sqlite_url, clock, QueueRules(debounce_s=1.0)) as ada:
        await ada.says("0")
        conversation = await ada.conversation_id()
        for number in range(1, WINDOWS_MAX):
            clock.advance(0.9)
            await ada.says(str(number))
            assert isinstance(await ada.stores.turns.begin(conversation), Postponed)
        clock.advance(0.9)
        await ada.says("last")
        begun = await ada.stores.turns.begin(conversation)
        assert isinstance(begun, Postponed) and begun.wait_s < 0.6, "five windows end it"
        clock.advance(begun.wait_s)
        assert await answered(ada) == [("0", "1", "2", "3", "4", "last")]


async def test_commands_do_not_wait_for_a_pause_and_stop_drops_what_does(
    sqlite_url: str, clock: HandClock
) -> None:
    async with person(sqlite_url, clock, QueueRules(debounce_s=5.0)) as ada:
        await ada.says("never mind", "/status", "/stop")
        assert await ada.stores.turns.begin(await ada.conversation_id()) is None
        assert (await ada.outbox())[-1][1] == "Stopped before I began. 1 waiting message dropped."


@given(
    st.sampled_from(QUEUE_MODES),
    st.floats(0, 60),
    st.lists(st.floats(0, 30), min_size=1, max_size=20),
)
def test_nobody_waits_longer_than_five_windows(
    mode: QueueMode, window: float, gaps: list[float]
) -> None:
    rules = QueueRules(debounce_s=window, collect_s=window)
    newest = sum(gaps)
    wait = rules.wait_s(mode, 0.0, newest, newest)
    assert 0.0 <= wait <= window + 1e-6
    assert newest + wait <= max(newest, window * WINDOWS_MAX) + 1e-6


@pytest.mark.parametrize(("waiting", "taken"), [(1, 1), (20, 1), (21, 2), (50, 31), (500, 50)])
def test_followups_wait_in_a_bounded_row_of_turns(waiting: int, taken: int) -> None:
    assert batch_max("followup", waiting, 50) == taken
    assert waiting > 69 or waiting - taken < FOLLOWUPS_MAX
    assert batch_max("collect", waiting, 50) == 50


async def test_a_stop_from_the_console_tells_the_chat_what_it_dropped(ada: Person) -> None:
    await ada.says("go")
    turn = await ada.turn()
    await ada.says("and this")
    stopped = await ada.intake.request_stop(turn.conversation_id, "Grace")
    await ada.intake.drain()
    assert (stopped.turn_id, stopped.dropped) == (turn.turn_id, 1)
    assert await ada.outbox() == [("notice", "1 waiting message dropped.")]
