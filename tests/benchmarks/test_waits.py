"""What waits cost: a tap until its tool runs, a thousand schedules of one minute, and ten thousand
parked turns. Run by `make bench`, never by `make test`.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import insert, select

from roost import Agent, Context, tool
from roost_inference.benchmarking import report
from roost_inference.benchmarking.figures import Figure, Goal, percentile
from roost_platform.chaos.storm import calls_of, running_stack, settings_url
from roost_platform.chaos.storm_report import StormConfig
from roost_platform.chaos.usage import resident_mib
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.intake import PlatformIntake, TemporalDoorbell
from roost_platform.testing.chats import DoorbellLog, Person
from roost_platform.testing.phones import TOKEN
from roost_platform.testing.waiting import press
from roost_platform.testing.workers import ScriptedModel
from roost_platform.wiring.worker import worker_ports
from roost_workflows.agents import AgentRegistry
from roost_workflows.config import WorkerConfig
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.server.connection import connect
from roost_workflows.worker import build_worker

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
TAPS = 30
SCHEDULES, WITHIN_S = 1000, 60.0
LOOKS_MAX = 200  # seconds until the last message has come
BOT = TOKEN.split(":")[0]
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
def test_measure_a_minute_of_schedules(tmp_path: Path) -> None:
    """From the due time to the call at a fake of Telegram, by the parts of a running stack.

    Each of a thousand chats is due once within a minute, 17 a second: one bot may send 25, so what
    is late is late by us. A thousand at one instant would take a bot 40 seconds.
    """
    with running_stack(StormConfig(seed=1, minutes=0, database="sqlite"), tmp_path) as world:
        telegram = world.phones.telegram.http
        for number in range(SCHEDULES):
            chat = {"id": group(number), "title": f"Group {number}"}
            telegram.post("/sim/chats", json=chat).raise_for_status()
        time.sleep(SETTLE_S)
        url = settings_url(world.stack)
        due = asyncio.run(plan_minute(url))
        time.sleep(max(due.values()) - time.time())
        came: dict[str, float] = {}
        for _ in range(LOOKS_MAX):
            time.sleep(1.0)
            came = {
                str(call.parameters["chat_id"]): call.started_at
                for call in reversed(calls_of(telegram))
                if call.method == "sendMessage"
            }
            if len(came) == SCHEDULES:
                break
        queued = asyncio.run(delays(url))
    late = [came[chat] - at for chat, at in due.items() if chat in came]
    assert len(late) == len(queued) == SCHEDULES
    figures = [
        Figure("waits", "due to queued, p95", percentile(queued, 95), "s"),
        Figure("waits", "due to the channel, p50", percentile(late, 50), "s"),
        Figure("waits", "due to the channel, p95", percentile(late, 95), "s", goal=Goal(2.0, 1.0)),
    ]
    write(figures, "schedules")


async def plan_minute(url: str) -> dict[str, float]:
    """Write the chats and their schedules; when each chat is due."""
    database, first = Database(url), time.time() + 5.0
    due = {str(group(n)): first + WITHIN_S * n / SCHEDULES for n in range(SCHEDULES)}
    talks = [
        {
            **{**talk(n), "key": f"telegram:{BOT}:{chat}", "account": BOT},
            **{"chat": chat, "is_group": True},
        }
        for n, chat in enumerate(due)
    ]
    rows = [
        {**schedule(n, f"talk-{n}"), "due_at": at, "spec": {"every_s": 86400.0}}
        for n, at in enumerate(due.values())
    ]
    async with database.write() as session:
        await session.execute(insert(models.Conversation), talks)
        await session.execute(insert(models.Schedule), rows)
    await database.close()
    return due


async def delays(url: str) -> list[float]:
    """How late each time fired."""
    database = Database(url)
    async with database.read() as session:
        late = list(await session.scalars(select(models.Occurrence.late_s)))
    await database.close()
    return late


def group(number: int) -> int:
    """The chat of a group."""
    return -1000 - number


@pytest.mark.benchmark
def test_measure_ten_thousand_parked(tmp_path: Path) -> None:
    """Memory of each part with ten thousand sleeps and schedules, and then with as many turns that
    wait for approvals, against none.
    """
    seen: list[dict[str, float]] = []
    with running_stack(StormConfig(seed=1, minutes=0, database="sqlite"), tmp_path) as world:
        time.sleep(SETTLE_S)
        seen.append(resident_mib(world.stack))
        for wait in ("sleep", "approval"):
            asyncio.run(park(settings_url(world.stack), wait))
            time.sleep(SETTLE_S)
            seen.append(resident_mib(world.stack))
    before, asleep, asked = seen
    figures = []
    for what, first, second in (("sleeps", before, asleep), ("approvals", asleep, asked)):
        more = {part: second[part] - first[part] for part in first}
        figures += [
            Figure("waits", f"{part}, more with {PARKED:,} {what}", each, "MiB")
            for part, each in more.items()
        ]
        counted = sum(more[part] for part in more if part.startswith(("worker", "temporal")))
        name = f"worker and Temporal, more with {PARKED:,} {what}"
        figures.append(Figure("waits", name, counted, "MiB", goal=Goal(20, 0)))
    write(figures, "parked turns")


async def park(url: str, wait: str) -> None:
    """Write the rows of turns that sleep for a month, with as many schedules, or that wait for an
    approval as long.
    """
    database = Database(url)
    for first in range(0, PARKED, 1000):
        numbers = range(first, first + 1000)
        async with database.write() as session:
            for model, row in rows_of(wait):
                await session.execute(insert(model), [row(n) for n in numbers])
    await database.close()


def rows_of(wait: str) -> list[tuple[type[models.Base], Callable[[int], dict[str, object]]]]:
    """What a parked turn is in the database: a row of each table, by its number."""
    now, until = time.time(), time.time() + MONTH_S
    is_asked = wait == "approval"

    def key(number: int) -> str:
        return f"{wait}-{number}"

    def turn(number: int) -> dict[str, object]:
        return {
            **{"id": key(number), "conversation_id": key(number), "session_id": key(number)},
            **{"number": 1, "agent": "steward", "state": "waiting", "queued_at": now},
            **{"started_at": now, "waiting_since": now},
        }

    def call(number: int) -> dict[str, object]:
        return {
            **{"turn_id": key(number), "step": 1, "call_id": "c0", "position": 0, "name": "nap"},
            **{"arguments": "{}", "effect": "pure", "wait": wait, "state": "waiting"},
            **{"due_at": None if is_asked else until},
        }

    def step(number: int) -> dict[str, object]:
        return {
            **{"turn_id": key(number), "step": 1, "state": "open", "finish": "tools", "text": ""},
            **{"model": "m", "started_at": now, "created_at": now},
        }

    def approval(number: int) -> dict[str, object]:
        return {
            **{"id": key(number), "conversation_id": key(number), "chat_id": key(number)},
            **{"turn_id": key(number), "step": 1, "call_id": "c0", "kind": "approve"},
            **{"agent": "steward", "tool": "nap", "preview": "Nap?", "state": "pending"},
            **{"nonce": f"nonce-{number:016}", "code": "ABC", "questions": [], "answers": []},
            **{"due_at": now + MONTH_S / 2, "created_at": now, "expires_at": until},
        }

    rows = [
        (
            models.Conversation,
            lambda n: {**talk(n), "id": key(n), "key": f"telegram:{key(n)}", "chat": key(n)},
        ),
        (
            models.Session,
            lambda n: {
                **{"id": key(n), "conversation_id": key(n), "number": 1, "agent": "steward"},
                **{"transcript_length": 0, "created_at": now},
            },
        ),
        (models.Turn, turn),
        (models.TurnStep, step),
        (models.ToolCall, call),
    ]
    if is_asked:
        return [*rows, (models.Approval, approval)]
    return [*rows, (models.Schedule, lambda n: {**schedule(n, key(n)), "due_at": until})]


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
