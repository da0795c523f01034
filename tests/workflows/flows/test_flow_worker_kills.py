"""kill -9 of the worker in the middle of a flow, over a real database and a real Temporal."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
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


class Workers:
    """A worker, and a spare one that has started and begins to work when the first is dead.

    All tests share them, the database and the task queue: a start costs more than a test.
    """

    def __init__(self, url: str, address: str, folder: Path) -> None:
        self.url, self.address, self.folder = url, address, folder
        self.queue = f"flows-{uuid4().hex[:8]}"
        path = os.pathsep.join(str(ROOT / root) for root in ROOTS)
        self._env = {**os.environ, "PYTHONPATH": path}
        script = str(HERE / "flow_worker.py")
        self._command = [sys.executable, script, address, self.queue, url, str(folder)]
        self._live: subprocess.Popen[bytes] | None = None
        self._spare = self._start()

    def look(self) -> None:
        """Let the spare worker begin where the live one has died."""
        if self._live is not None and self._live.poll() is None:
            return
        self._live, self._spare = self._spare, self._start()
        assert self._live.stdin is not None
        self._live.stdin.write(b"\n")
        self._live.stdin.close()

    def output(self) -> str:
        """The end of what they have printed."""
        return (self.folder / "output").read_text()[-3000:]

    def close(self) -> None:
        """End both."""
        for process in filter(None, (self._live, self._spare)):
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()

    def _start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )


@pytest.fixture(scope="module")
def workers(
    sqlite_template: Path, temporal_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workers]:
    folder = tmp_path_factory.mktemp("flows")
    shutil.copy(sqlite_template, folder / "roost.db")
    running = Workers(f"sqlite:///{folder / 'roost.db'}", temporal_address, folder)
    yield running
    running.close()


async def run_killed(
    workers: Workers, text: str, kills: tuple[str, ...]
) -> tuple[models.Turn, list[str], list[str]]:
    """The turn of one message, the workers' log, and what was sent; dead workers are replaced."""
    stores = open_stores(workers.url, default_agent="trip")
    client = await connect(workers.address)
    doorbell = TemporalDoorbell(client, workers.queue)
    intake = PlatformIntake(stores, doorbell)
    (workers.folder / "kills").write_text(" ".join(kills))
    (workers.folder / "log").write_text("")
    talk = uuid4().hex
    deadline = time.monotonic() + PATIENCE_S
    try:
        submitted = await intake.say(talk, text)
        while time.monotonic() < deadline:
            workers.look()
            await wake_sleepers(stores, doorbell)
            async with stores.database.read() as session:
                turn = await session.scalar(
                    select(models.Turn).where(
                        models.Turn.conversation_id == submitted.conversation_id
                    )
                )
            if turn is not None and turn.state in ("done", "failed", "stopped"):
                person = Person(stores, intake, DoorbellLog(), Address("console", "local", talk))
                sent = [text for _, text in await person.outbox()]
                return turn, (workers.folder / "log").read_text().splitlines(), sent
            await asyncio.sleep(0.1)
        raise AssertionError(workers.output())
    finally:
        await intake.close()
        await stores.close()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("place", ["at-start", "after-effect", "after-sleep"])
async def test_a_flow_survives_kill_9_of_its_worker_at_each_kind_of_step(
    workers: Workers, place: str
) -> None:
    turn, log, sent = await run_killed(workers, "Ada", (place,))
    assert (turn.state, sent) == ("done", ["booked Rome for Ada"])
    assert [line for line in log if line.startswith("died")] == [f"died at {place}"]
    # An idempotent tool runs again, with the same key.
    assert log.count("book Rome 2:1") == (2 if place == "after-effect" else 1)


@pytest.mark.timeout(200)
async def test_an_undo_survives_kill_9(workers: Workers) -> None:
    turn, log, sent = await run_killed(workers, "fail", ("in-undo",))
    assert (turn.state, turn.reason_code) == ("failed", "flow_failed")
    assert log.count("cancel Rome") == 1
    assert sent == [
        "Something went wrong on the way and I could not finish this. Undone again by: cancel."
    ]
