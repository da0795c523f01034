"""A part that gives no sign of life is killed and started again, and no other part is."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from roost_platform.stack.beats import ASKED_TIMES
from roost_platform.stack.supervisor import Bounds, ProcessSpec, Supervisor

READY = "import os; open(os.environ['ROOST_READY_FILE'], 'w').write(str(os.getpid()))"
SERVE = f"{READY}; import time; time.sleep(600)"
QUICK = Bounds(
    backoff_min_s=0.02, backoff_max_s=0.08, early_s=1.0, early_crashes_max=4, poll_s=0.01
)
WAIT_S = 10.0


class Told:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.retries: list[float] = []
        self.lines: list[str] = []
        self.notes: list[str] = []

    def starting(self, name: str) -> None:
        return

    def ready(self, name: str, seconds: float) -> None:
        return

    def crashed(self, name: str, code: int, retry_s: float) -> None:
        self.retries.append(retry_s)

    def stopping(self, name: str) -> None:
        return

    def note(self, text: str) -> None:
        self.notes.append(text)

    def output(self, name: str, line: str) -> None:
        self.lines.append(line)

    def close(self) -> None:
        return


@pytest.fixture
def told() -> Told:
    return Told()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.01)


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


BEAT = f"""
import os, time
{READY}
pipe = int(os.environ["ROOST_BEAT_PIPE"])
def beat(times=10**9):
    for _ in range(times):
        os.write(pipe, b".")
        time.sleep(0.02)
"""
WATCHED = replace(QUICK, look_s=0.05, pause_s=5.0)
SILENCE_S = 0.4


def watched(tmp_path: Path, script: str, told: Told, **more: Any) -> Supervisor:
    part = ProcessSpec(
        *("one", (sys.executable, "-c", script), tmp_path / "one.ready"),
        silence_max_s=SILENCE_S,
        ready_timeout_s=WAIT_S,
        **more,
    )
    return Supervisor([part], tmp_path / "logs", told, WATCHED)


async def test_a_part_that_stops_beating_is_killed_and_started_again(
    tmp_path: Path, told: Told
) -> None:
    """It holds the interpreter for good and ignores SIGTERM, as a frozen worker does."""
    frozen = f"{BEAT}\nimport signal; signal.signal(15, signal.SIG_IGN)\n"
    supervisor = watched(tmp_path, f"{frozen}\nbeat(5)\nround(1, -10**9)", told)
    await supervisor.start()
    pid = supervisor.pids()["one"]
    await until(lambda: supervisor.children[0].restarts >= 2)
    assert _gone(pid)
    assert told.notes[0] == "one: no sign of life for 0 s; killed"
    assert "no sign of life for 0 s; killed" in (tmp_path / "logs" / "one.log").read_text()
    assert told.retries[0] == QUICK.backoff_min_s
    await supervisor.stop()


async def test_a_part_that_is_stopped_by_a_signal_is_started_again(
    tmp_path: Path, told: Told
) -> None:
    supervisor = watched(tmp_path, f"{BEAT}\nbeat()", told)
    await supervisor.start()
    pid = supervisor.pids()["one"]
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: supervisor.children[0].restarts == 1)
    assert _gone(pid)
    await supervisor.stop()


async def test_a_part_that_beats_is_left_alone(tmp_path: Path, told: Told) -> None:
    supervisor = watched(tmp_path, f"{BEAT}\nbeat()", told)
    await supervisor.start()
    await asyncio.sleep(3 * SILENCE_S)
    assert supervisor.children[0].restarts == 0 and told.notes == []
    await supervisor.stop()


async def test_a_part_that_starts_slowly_is_not_taken_for_silent(
    tmp_path: Path, told: Told
) -> None:
    supervisor = watched(
        tmp_path, f"import time; time.sleep({3 * SILENCE_S})\n{BEAT}\nbeat()", told
    )
    await supervisor.start()
    assert supervisor.children[0].restarts == 0
    await supervisor.stop()


async def test_a_part_that_can_not_beat_is_asked(tmp_path: Path, told: Told) -> None:
    answers = True

    async def alive() -> bool:
        return answers

    supervisor = watched(tmp_path, SERVE, told, alive=alive)
    await supervisor.start()
    await asyncio.sleep(2 * SILENCE_S)
    assert supervisor.children[0].restarts == 0
    answers = False
    await until(lambda: supervisor.children[0].restarts == 1)
    await supervisor.stop()


async def test_a_part_is_asked_a_few_times_within_its_longest_silence(
    tmp_path: Path, told: Told
) -> None:
    """Each question wakes both: an idle engine would pay for nothing else."""
    asked = 0

    async def alive() -> bool:
        nonlocal asked
        asked += 1
        return True

    part = ProcessSpec(
        *("one", (sys.executable, "-c", SERVE), tmp_path / "one.ready"),
        silence_max_s=4.0,
        alive=alive,
    )
    supervisor = Supervisor([part], tmp_path / "logs", told, WATCHED)
    await supervisor.start()
    await asyncio.sleep(2.0)
    await supervisor.stop()
    assert 1 <= asked <= ASKED_TIMES / 2


async def test_a_supervisor_that_was_stopped_itself_judges_nobody_by_that_time(
    tmp_path: Path, told: Told
) -> None:
    """As when the machine, or the container with all in it, was paused."""
    bounds = replace(WATCHED, pause_s=0.1)
    part = ProcessSpec(
        *("one", (sys.executable, "-c", f"{BEAT}\nbeat()"), tmp_path / "one.ready"),
        silence_max_s=SILENCE_S,
    )
    supervisor = Supervisor([part], tmp_path / "logs", told, bounds)
    await supervisor.start()
    pid = supervisor.pids()["one"]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(3 * SILENCE_S)  # the supervisor's own loop stands still, too
    os.kill(pid, signal.SIGCONT)
    await asyncio.sleep(2 * SILENCE_S)
    assert supervisor.children[0].restarts == 0
    await supervisor.stop()


async def test_a_part_beats_while_its_database_is_away_and_until_its_loop_stands_still(
    tmp_path: Path, told: Told
) -> None:
    """The real beat of the parts, over heartbeats that never return."""
    script = """
import asyncio, time
from roost_platform.stack import lifeline
from roost_platform.processes.beating import beating
lifeline.attach_to_supervisor()
lifeline.BEAT_EVERY_S = 0.02
lifeline.STUCK_S = 0.2
class Away:
    async def beat(self, part):
        lifeline.tell_ready()
        await asyncio.sleep(600)
async def main():
    ready = asyncio.Event()
    ready.set()
    async with beating(Away(), "one", ready):
        await asyncio.sleep(1.5)
        stuck_here()
def stuck_here():
    time.sleep(600)
asyncio.run(main())
"""
    supervisor = watched(tmp_path, script, told)
    await supervisor.start()
    await asyncio.sleep(1.0)
    assert supervisor.children[0].restarts == 0
    await until(lambda: supervisor.children[0].restarts == 1)
    assert any("in stuck_here" in line for line in told.lines)
    await supervisor.stop()


async def test_a_part_that_nobody_supervises_ends_itself_and_says_where_it_is_stuck() -> None:
    script = """
import asyncio, os
from roost_platform.stack import lifeline
from roost_platform.processes.beating import beating
lifeline.end_itself_when_silent()
lifeline.BEAT_EVERY_S = 0.02
lifeline.SILENCE_MAX_S = 0.5
class Rows:
    async def beat(self, part):
        return
async def main():
    ready = asyncio.Event()
    ready.set()
    async with beating(Rows(), "one", ready):
        await asyncio.sleep(1.0)
        print("lives", flush=True)
        stuck_here()
def stuck_here():
    round(1, -(10**9))
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    said, why = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 1
    assert said == b"lives\n" and b"in stuck_here" in why
