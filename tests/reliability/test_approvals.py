"""R30, R39, R40, R41: a decision counts once, whatever dies between the card and the tap."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from roost import Agent, Context, tool
from roost.waits import Ask, Question
from roost_platform.approval_rules import ApprovalRules
from roost_platform.chaos.sim.plan import Crash, Habits, Plan, Says
from roost_platform.chaos.sim.schedule import simulate
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.due.questions import DueQuestions
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.intake import PlatformIntake, TemporalDoorbell
from roost_platform.queueing import QueueRules
from roost_platform.sweeper import Sweeper
from roost_platform.testing.chats import DoorbellLog, HandClock, Person
from roost_platform.testing.waiting import press
from roost_platform.testing.workers import InProcessWorker, ScriptedModel
from roost_platform.wiring.worker import worker_ports
from roost_workflows.agents import AgentRegistry
from roost_workflows.config import WorkerConfig
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.ports import TurnRecord
from roost_workflows.server.connection import connect
from roost_workflows.testing.lab import running_server
from roost_workflows.worker import build_worker

Chat = Callable[[QueueRules], AbstractAsyncContextManager[Person]]
WEEK_S = 7 * 86400.0
PATIENCE_S = 60.0
BOOKED: list[str] = []


@tool(effect="unsafe", approval="ask")
async def book(ctx: Context, day: str) -> str:
    """Book a table."""
    BOOKED.append(ctx.key)
    return f"booked {day}"


@tool(effect="pure")
async def wonder() -> Ask:
    """Ask which day."""
    return Ask((Question("Which day?", ("Friday", "Monday")),))


AGENT = Agent("concierge", "Book.", tools=[book, wonder])
CALL: tuple[str, dict[str, str]] = ("book", {"day": "Friday"})


async def asked(person: Person) -> models.Approval:
    """The newest question."""
    async with person.stores.database.read() as session:
        row = await session.scalar(
            select(models.Approval).order_by(models.Approval.created_at.desc()).limit(1)
        )
        assert row is not None
        return row


async def parked(person: Person, *calls: tuple[str, dict[str, str]]) -> InProcessWorker:
    """A turn that waits after these calls, by a worker that did it."""
    BOOKED.clear()
    worker = InProcessWorker(person, AGENT)
    worker.model.lines = {AGENT.instructions: [list(calls or [CALL]), "It is done."]}
    await person.says("Book it.")
    await worker.work()
    assert BOOKED == []
    return worker


async def test_r30_a_decision_across_restarts_counts_once_and_the_same_call_runs_once(
    ada: Person,
) -> None:
    worker = await parked(ada)
    second = InProcessWorker(ada, AGENT)  # the first is gone, and nothing of it is needed
    second.model.lines = worker.model.lines
    question = await asked(ada)
    assert await press(ada, question, "a") == "Approved."
    again = await press(ada, question, "d")
    assert again.startswith("Approved by Ada")
    await second.work()
    assert len(BOOKED) == 1
    assert (await ada.outbox())[-1] == ("answer", "It is done.")
    assert (await asked(ada)).state == "approved"


@pytest.mark.parametrize("choice", ["a", "d"])
async def test_r30_a_tap_that_rings_nobody_is_found_by_the_sweeper(
    ada: Person, clock: HandClock, choice: str
) -> None:
    worker = await parked(ada)
    ada.doorbell.broken = True
    await press(ada, await asked(ada), choice)
    ada.doorbell.broken = False
    assert await worker.work() == []
    clock.advance(5.0)
    assert await Sweeper(ada.stores, ada.doorbell).sweep() == 1
    await worker.work()
    assert len(BOOKED) == (choice == "a")
    assert (await ada.outbox())[-1][0] == "answer"


async def test_r30_silence_is_a_no_also_when_nothing_ran_for_days(
    ada: Person, clock: HandClock
) -> None:
    worker = await parked(ada)
    clock.advance(3 * 86400.0)
    rung = await DueQuestions(ada.stores.database).fire(clock.now, 10)
    ada.intake.ring(rung)
    assert "ended without a decision" in await press(ada, await asked(ada), "a") or (
        (await asked(ada)).state == "expired"
    )
    await worker.work()
    assert BOOKED == [] and (await asked(ada)).state == "expired"
    assert (await ada.outbox())[-1][0] == "answer"


async def test_r39_a_worker_that_dies_after_the_tap_and_before_the_tool_began_loses_nothing(
    ada: Person,
) -> None:
    worker = await parked(ada)
    await press(ada, await asked(ada), "a")
    turn = await ada.turn()  # the worker took the turn up, and died
    assert turn.first_step == 1
    await worker.work()
    await worker.run_session(await ada.conversation_id())
    assert len(BOOKED) == 1 and (await ada.outbox())[-1] == ("answer", "It is done.")


async def test_r25_r39_an_approved_call_whose_worker_died_in_it_is_not_run_again(
    ada: Person,
) -> None:
    worker = await parked(ada)
    await press(ada, await asked(ada), "a")
    turn = await ada.turn()
    async with ada.stores.database.read() as session:
        call = await session.scalar(select(models.ToolCall))
    assert call is not None
    await ada.stores.turns.begin_call(turn.turn_id, 1, call.call_id)
    BOOKED.append("in the worker that died")
    await worker.run_session(await ada.conversation_id())
    assert len(BOOKED) == 1
    async with ada.stores.database.read() as session:
        call = await session.scalar(select(models.ToolCall))
    assert call is not None and call.state == "unknown" and "Do not repeat it" in call.result


@pytest.mark.parametrize("word", ["/stop", "/new"])
async def test_r39_a_stop_between_card_and_tap_ends_the_question(ada: Person, word: str) -> None:
    worker = await parked(ada)
    question = await asked(ada)
    await ada.says(word)
    await press(ada, question, "a")
    await worker.work()
    assert BOOKED == [] and (await asked(ada)).state == "cancelled"
    async with ada.stores.database.read() as session:
        states = set(await session.scalars(select(models.Turn.state)))
    assert states == {"stopped"}


@pytest.mark.parametrize("part", ["courier", "worker"])
@pytest.mark.parametrize("chat", ["101", "whatsapp:+4915550010001"])
def test_r39_a_part_that_dies_between_the_card_and_the_tap_costs_nothing(
    part: str, chat: str
) -> None:
    """Deaths at awaits from the card to the end; the person thinks for some seconds."""
    paying = Plan(7, (Says(0.5, chat, "w1", does="pay"),), habits=Habits(delay_s=8.0))
    whole = simulate(paying)
    awaits = whole.points[part]
    for point in range(awaits // 3, awaits, awaits // 5 + 1):
        outcome = simulate(replace(paying, crashes=(Crash(part, point, 0.5),)))
        assert outcome.crashes == 1 and outcome.violations == []
        assert [(call.verdicts, call.runs) for call in outcome.record.waits.acted] == [
            (("approved",), 1)
        ]


async def test_r41_taps_at_the_same_moment_give_one_verdict_and_one_run(ada: Person) -> None:
    worker = await parked(ada)
    question = await asked(ada)
    told = await asyncio.gather(*(press(ada, question, choice) for choice in "adada"))
    first = {"Approved.", "Denied."} & set(told)
    assert len(first) == 1 and sum(text in first for text in told) == 1
    await worker.work()
    await worker.run_session(await ada.conversation_id())
    assert len(BOOKED) == (first == {"Approved."})


async def test_r41_answers_of_two_questions_reach_their_own_calls(ada: Person) -> None:
    worker = await parked(ada, ("wonder", {}), CALL)
    async with ada.stores.database.read() as session:
        rows = {row.kind: row for row in await session.scalars(select(models.Approval))}
    await press(ada, rows["ask"], "0.1")
    await worker.work()
    assert BOOKED == []
    await press(ada, rows["approve"], "a")
    await worker.work()
    async with ada.stores.database.read() as session:
        results = {row.name: row.result for row in await session.scalars(select(models.ToolCall))}
    assert results == {"wonder": "Monday", "book": "booked Friday"}
    assert len(BOOKED) == 1


class House:
    """A chat over a database that stays, and workers on Temporal servers that come and go."""

    def __init__(self, stores: Stores) -> None:
        self.stores, self.model = stores, ScriptedModel()

    @contextlib.asynccontextmanager
    async def open(self, folder: Path) -> AsyncIterator[Person]:
        """A Temporal server with nothing in it, a worker, and the person."""
        folder.mkdir()
        with running_server(folder) as address:
            intake = PlatformIntake(
                self.stores, TemporalDoorbell(await connect(address, identity="bell"))
            )
            client = await connect(address, identity="worker")
            ports = worker_ports(self.stores, NoHints())
            config = WorkerConfig(graceful_shutdown_s=0)
            registry = AgentRegistry.of(AGENT)
            async with build_worker(client, ports, self.model, registry, config):
                yield Person(self.stores, intake, DoorbellLog())
            await intake.close()
        shutil.rmtree(folder)


async def until(person: Person, query: object) -> None:
    """Wait until the database has a row."""
    end = time.monotonic() + PATIENCE_S
    while True:
        async with person.stores.database.read() as session:
            if await session.scalar(query) is not None:  # type: ignore[call-overload]
                return
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def test_r40_temporals_file_is_deleted_and_a_week_passes_and_the_call_runs_once(
    sqlite_url: str, tmp_path: Path, clock: HandClock
) -> None:
    BOOKED.clear()
    stores = open_stores(
        Database(sqlite_url, clock=clock),
        policies={("telegram", "42"): AccessPolicy("open")},
        approvals=ApprovalRules(expire_s=2 * WEEK_S),
    )
    house = House(stores)
    house.model.lines = {AGENT.instructions: [[CALL], "It is done."]}
    async with house.open(tmp_path / "first") as ada:
        await ada.says("Book it.")
        await until(ada, select(models.Turn.id).where(models.Turn.state == "waiting"))
    clock.advance(WEEK_S)
    async with house.open(tmp_path / "second") as ada:
        assert BOOKED == []
        question = await asked(ada)
        await ada.gives(
            ada.message("hello?"),  # the ids of a new week
            ada.message(f"ap:{question.nonce}:a", kind="callback"),
        )
        done = models.Outbox.text == "It is done."
        await until(ada, select(models.Outbox.id).where(done))
    assert len(BOOKED) == 1
    await stores.close()


async def test_r39_the_turn_of_a_tap_is_taken_up_by_one_worker_only(ada: Person) -> None:
    worker = await parked(ada)
    await press(ada, await asked(ada), "a")
    turn = await ada.turn()
    assert isinstance(turn, TurnRecord)
    async with ada.stores.database.read() as session:
        (call_id,) = await session.scalars(select(models.ToolCall.call_id))
    one, two = (worker.turn(turn.turn_id) for _ in range(2))
    await one.call_tool(1, call_id)
    await two.call_tool(1, call_id)  # rung twice, or a worker that only seemed dead
    assert len(BOOKED) == 1
