"""kill -9 of the worker in the middle of a flow, over a real database and a real Temporal."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select

from roost_channels.message import Address
from roost_platform.db import models
from roost_platform.db.stores import Stores, open_stores
from roost_platform.db.turns.parking import make_ready
from roost_platform.intake import PlatformIntake, TemporalDoorbell
from roost_platform.testing.chats import DoorbellLog, Person
from roost_workflows.server.connection import connect

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ROOTS = ("platform", "channels", "workflows", "inference")
PATIENCE_S = 180.0


async def wake_sleepers(stores: Stores, doorbell: TemporalDoorbell) -> None:
    """What the due-clock does."""
    async with stores.database.write() as session:
        due = await session.scalars(
            select(models.ToolCall).where(
                models.ToolCall.state == "waiting",
                models.ToolCall.due_at <= stores.database.now(),
            )
        )
        rings = [
            await make_ready(session, call.turn_id, call.step, call.call_id) for call in due.all()
        ]
    for conversation_id in filter(None, rings):
        await doorbell.ring(conversation_id)


async def run_killed(
    sqlite_url: str, address: str, folder: Path, text: str, kills: tuple[str, ...]
) -> tuple[models.Turn, list[str], list[str]]:
    """The turn of one message, the worker's log, and what was sent; dead workers are replaced."""
    queue = f"flows-{uuid4().hex[:8]}"
    stores = open_stores(sqlite_url, default_agent="trip")
    client = await connect(address)
    doorbell = TemporalDoorbell(client, queue)
    intake = PlatformIntake(stores, doorbell)
    (folder / "kills").write_text(" ".join(kills))
    (folder / "log").write_text("")
    path = os.pathsep.join(str(ROOT / root) for root in ROOTS)
    command = [sys.executable, str(HERE / "flow_worker.py"), address, queue, sqlite_url]
    worker: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + PATIENCE_S
    try:
        submitted = await intake.say("talk", text)
        while time.monotonic() < deadline:
            if worker is None or worker.poll() is not None:
                with (folder / "output").open("ab") as output:
                    worker = subprocess.Popen(
                        [*command, str(folder)],
                        env={**os.environ, "PYTHONPATH": path},
                        stdout=output,
                        stderr=output,
                    )
            await wake_sleepers(stores, doorbell)
            async with stores.database.read() as session:
                turn = await session.scalar(
                    select(models.Turn).where(
                        models.Turn.conversation_id == submitted.conversation_id
                    )
                )
            if turn is not None and turn.state in ("done", "failed", "stopped"):
                person = Person(stores, intake, DoorbellLog(), Address("console", "local", "talk"))
                sent = [text for _, text in await person.outbox()]
                return turn, (folder / "log").read_text().splitlines(), sent
            await asyncio.sleep(0.1)
        raise AssertionError((folder / "output").read_text()[-3000:])
    finally:
        if worker is not None:
            worker.kill()
            worker.wait()
        await intake.close()
        await stores.close()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("place", ["at-start", "after-effect", "after-sleep"])
async def test_a_flow_survives_kill_9_of_its_worker_at_each_kind_of_step(
    sqlite_url: str, temporal_address: str, tmp_path: Path, place: str
) -> None:
    turn, log, sent = await run_killed(sqlite_url, temporal_address, tmp_path, "Ada", (place,))
    assert (turn.state, sent) == ("done", ["booked Rome for Ada"])
    assert [line for line in log if line.startswith("died")] == [f"died at {place}"]
    # An idempotent tool runs again, with the same key.
    assert log.count("book Rome 2:1") == (2 if place == "after-effect" else 1)


@pytest.mark.timeout(200)
async def test_an_undo_survives_kill_9(
    sqlite_url: str, temporal_address: str, tmp_path: Path
) -> None:
    turn, log, sent = await run_killed(sqlite_url, temporal_address, tmp_path, "fail", ("in-undo",))
    assert (turn.state, turn.reason_code) == ("failed", "flow_failed")
    assert log.count("cancel Rome") == 1
    assert sent == [
        "Something went wrong on the way and I could not finish this. Undone again by: cancel."
    ]
