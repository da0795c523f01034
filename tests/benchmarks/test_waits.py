"""What waits cost: a tap until its tool runs, a thousand schedules of one minute, and ten thousand
parked turns. Run by `make bench`, never by `make test`.
"""

import asyncio
import statistics
import time
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import insert, select

from roost import Agent, Context, tool
from roost_inference.benchmarking import report
from roost_inference.benchmarking.figures import Figure, Goal
from roost_platform.chaos.storm import running_stack, settings_url
from roost_platform.chaos.storm_report import StormConfig
from roost_platform.chaos.usage import resident_mib
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.dueclock import DueClock, due_sources
from roost_platform.intake import PlatformIntake, TemporalDoorbell
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.testing.waiting import press
from roost_platform.testing.workers import ScriptedModel
from roost_platform.wiring import worker_ports
from roost_workflows.agents import AgentRegistry
from roost_workflows.config import WorkerConfig
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.server.connection import connect
from roost_workflows.worker import build_worker

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
TAPS = 30
SCHEDULES, CHATS, WITHIN_S = 1000, 50, 60.0
PARKED = 10_000
SETTLE_S = 20.0
MONTH_S = 30 * 86400.0
BEGAN: list[float] = []


@tool(effect="unsafe", approval="ask")
async def pay(ctx: Context, bill: int) -> str:
    """Pay."""
    BEGAN.append(time.monotonic())
    return "paid"


AGENT = Agent("concierge", "Pay.", tools=[pay])


def write(figures: list[Figure], what: str) -> None:
    run = report.BenchmarkRun(what, 1)
    for figure in figures:
        run.add(figure)
        print(figure)
    report.append(PAGE, run)


async def until_asked(stores: Stores, count: int) -> models.Approval:
    """The newest question, once there are so many and the turn is parked."""
    while True:
        async with stores.database.read() as session:
            rows = (await session.scalars(select(models.Approval))).all()
            waits = await session.scalar(
                select(models.Turn.id).where(models.Turn.state == "waiting")
            )
            if len(rows) == count and waits:
                return max(rows, key=lambda row: row.created_at)
        await asyncio.sleep(0.02)


@pytest.mark.benchmark
async def test_measure_tap_to_tool(sqlite_url: str, temporal_address: str) -> None:
    """From the event in the intake to the first line of the tool; the network's part is not in."""
    BEGAN.clear()
    queue = f"bench-{uuid4().hex[:8]}"
    stores = open_stores(sqlite_url, policies={("telegram", "42"): AccessPolicy("open")})
    bell = TemporalDoorbell(await connect(temporal_address, identity="bell"), queue)
    intake = PlatformIntake(stores, bell)
    ada, model = Person(stores, intake, DoorbellLog()), ScriptedModel()
    model.lines = {
        AGENT.instructions: [
            line for n in range(TAPS) for line in ([("pay", {"bill": n})], "Paid.")
        ]
    }
    client = await connect(temporal_address, identity="worker")
    ports, config = worker_ports(stores, NoHints()), WorkerConfig(task_queue=queue)
    took: list[float] = []
    async with build_worker(client, ports, model, AgentRegistry.of(AGENT), config):
        for number in range(1, TAPS + 1):
            await ada.says("Pay it.")
            question = await until_asked(stores, number)
            tapped = time.monotonic()
            await press(ada, question, "a")
            while len(BEGAN) < number:
                await asyncio.sleep(0.002)
            took.append(1000 * (BEGAN[-1] - tapped))
            while len(await ada.outbox()) < 1 or (await ada.outbox())[-1][0] != "answer":
                await asyncio.sleep(0.01)
    await intake.close()
    await stores.close()
    p50 = statistics.median(took)
    write([Figure("waits", "tap to the tool, p50", p50, "ms", goal=Goal(150, 60))], "taps")


@pytest.mark.benchmark
async def test_measure_a_minute_of_schedules(sqlite_url: str) -> None:
    """From the due time to the message in the outbox; limits of providers come after it."""
    stores = open_stores(sqlite_url, policies={("telegram", "42"): AccessPolicy("open")})
    database, now = stores.database, time.time()
    async with database.write() as session:
        await session.execute(insert(models.Conversation), [talk(n) for n in range(CHATS)])
        await session.execute(
            insert(models.Schedule),
            [
                {
                    **schedule(n, f"talk-{n % CHATS}"),
                    "due_at": now + 5.0 + WITHIN_S * n / SCHEDULES,
                }
                for n in range(SCHEDULES)
            ],
        )
    clock = asyncio.create_task(DueClock(database, due_sources(database), lambda _: None).run())
    await asyncio.sleep(5.0 + WITHIN_S + 10.0)
    clock.cancel()
    async with database.read() as session:
        late = sorted(await session.scalars(select(models.Occurrence.late_s)))
    await stores.close()
    assert len(late) == SCHEDULES
    p95 = late[int(0.95 * len(late))]
    write([Figure("waits", "due to queued, p95", p95, "s", goal=Goal(2.0, 1.0))], "schedules")


@pytest.mark.benchmark
def test_measure_ten_thousand_parked(tmp_path: Path) -> None:
    """Memory of each part with ten thousand parked turns and schedules against none."""
    with running_stack(StormConfig(seed=1, minutes=0, database="sqlite"), tmp_path) as world:
        time.sleep(SETTLE_S)
        before = resident_mib(world.stack)
        asyncio.run(park(settings_url(world.stack)))
        time.sleep(SETTLE_S)
        after = resident_mib(world.stack)
    figures = [
        Figure("waits", f"{part}, more with {PARKED:,} parked", after[part] - before[part], "MiB")
        for part in before
    ]
    counted = [part for part in before if part == "worker" or part.startswith("temporal")]
    both = sum(after[part] - before[part] for part in counted)
    figures.append(Figure("waits", "worker and Temporal, more", both, "MiB", goal=Goal(20, 0)))
    write(figures, "parked turns")


async def park(url: str) -> None:
    """Write the rows of turns that sleep for a month, and of as many schedules."""
    database, now = Database(url), time.time()
    for first in range(0, PARKED, 1000):
        numbers = range(first, first + 1000)
        async with database.write() as session:
            await session.execute(insert(models.Conversation), [talk(n) for n in numbers])
            await session.execute(
                insert(models.Session),
                [
                    {
                        **{"id": f"session-{n}", "conversation_id": f"talk-{n}", "number": 1},
                        **{"agent": "steward", "transcript_length": 0, "created_at": now},
                    }
                    for n in numbers
                ],
            )
            await session.execute(
                insert(models.Turn),
                [
                    {
                        **{"id": f"turn-{n}", "conversation_id": f"talk-{n}", "number": 1},
                        **{"session_id": f"session-{n}", "agent": "steward", "state": "waiting"},
                        **{"queued_at": now, "started_at": now, "waiting_since": now},
                    }
                    for n in numbers
                ],
            )
            await session.execute(
                insert(models.ToolCall),
                [
                    {
                        **{"turn_id": f"turn-{n}", "step": 1, "call_id": "c0", "position": 0},
                        **{"name": "nap", "arguments": "{}", "effect": "pure", "wait": "sleep"},
                        **{"state": "waiting", "due_at": now + MONTH_S},
                    }
                    for n in numbers
                ],
            )
            rows = [{**schedule(n, f"talk-{n}"), "due_at": now + MONTH_S} for n in numbers]
            await session.execute(insert(models.Schedule), rows)
    await database.close()


def talk(number: int) -> dict[str, object]:
    """A conversation."""
    return {
        **{"id": f"talk-{number}", "key": f"telegram:42:{number}", "channel": "telegram"},
        **{"account": "42", "chat": str(number), "agent": "steward", "settings": {}},
        **{"inbox_sequence": 0, "turn_count": 0, "created_at": time.time()},
    }


def schedule(number: int, chat: str) -> dict[str, object]:
    """A reminder that comes every hour."""
    return {
        **{"id": f"schedule-{number}", "conversation_id": chat, "key": f"k{number}"},
        **{"agent": "steward", "kind": "reminder", "text": "look", "zone": "UTC"},
        **{"spec": {"every_s": 3600.0}, "missed": "late", "overlap": "skip", "options": {}},
        **{"state": "active", "created_by": "bench", "created_at": time.time()},
    }
