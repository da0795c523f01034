"""The supervisor keeps its children in order, brings them back, and leaves nothing behind."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from roost_platform.errors import EXIT_CONFIG, ProcessFailed
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
        self.events: list[tuple[str, str]] = []
        self.retries: list[float] = []
        self.lines: list[str] = []
        self.notes: list[str] = []

    def starting(self, name: str) -> None:
        self.events.append(("starting", name))

    def ready(self, name: str, seconds: float) -> None:
        self.events.append(("ready", name))

    def crashed(self, name: str, code: int, retry_s: float) -> None:
        self.events.append(("crashed", name))
        self.retries.append(retry_s)

    def stopping(self, name: str) -> None:
        self.events.append(("stopping", name))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def output(self, name: str, line: str) -> None:
        self.lines.append(line)

    def close(self) -> None:
        return


Make = Callable[..., Supervisor]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def make(tmp_path: Path, told: Told) -> AsyncIterator[Make]:
    made: list[Supervisor] = []

    def build(bounds: Bounds = QUICK, *, grace_s: float = 5.0, **scripts: str) -> Supervisor:
        parts = [
            ProcessSpec(
                name,
                (sys.executable, "-c", script),
                tmp_path / f"{name}.ready",
                grace_s=grace_s,
                ready_timeout_s=WAIT_S,
            )
            for name, script in scripts.items()
        ]
        made.append(Supervisor(parts, tmp_path / "logs", told, bounds))
        return made[-1]

    yield build
    for supervisor in made:
        await supervisor.stop()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.01)


async def test_a_part_starts_only_when_the_one_before_is_ready(make: Make, told: Told) -> None:
    await make(one=SERVE, two=SERVE).start()
    assert told.events == [
        ("starting", "one"),
        ("ready", "one"),
        ("starting", "two"),
        ("ready", "two"),
    ]


async def test_parts_stop_in_reverse_order(make: Make, told: Told) -> None:
    supervisor = make(one=SERVE, two=SERVE, three=SERVE)
    await supervisor.start()
    await supervisor.stop()
    assert [name for what, name in told.events if what == "stopping"] == ["three", "two", "one"]
    assert supervisor.pids() == {}


async def test_a_killed_part_comes_back_and_is_ready_again(make: Make) -> None:
    supervisor = make(one=SERVE, two=SERVE)
    await supervisor.start()
    first = supervisor.pids()
    os.kill(first["one"], signal.SIGKILL)
    child = supervisor.children[0]
    await until(lambda: child.restarts == 1 and child.ready.is_set())
    assert supervisor.pids()["one"] != first["one"]
    assert supervisor.pids()["two"] == first["two"]


async def test_back_off_doubles_up_to_its_bound_and_a_crash_loop_ends(
    make: Make, told: Told
) -> None:
    supervisor = make(bad="print('no luck'); raise SystemExit(3)")
    with pytest.raises(ProcessFailed) as failure:
        await supervisor.start()
    assert told.retries == [0.02, 0.04, 0.08]
    assert failure.value.part == "bad"
    assert failure.value.code == 3
    assert failure.value.log_tail == ("no luck",) * 4


async def test_a_part_that_can_never_start_is_not_started_again(make: Make, told: Told) -> None:
    supervisor = make(bad=f"print('no such model'); raise SystemExit({EXIT_CONFIG})")
    with pytest.raises(ProcessFailed, match="bad can't run") as failure:
        await supervisor.start()
    assert told.retries == []
    assert failure.value.log_tail == ("no such model",)


async def test_a_part_that_has_worked_is_started_again_whatever_it_says(
    make: Make, told: Told
) -> None:
    supervisor = make(
        bad=f"{READY}; import time; time.sleep(0.3); print('gone'); raise SystemExit({EXIT_CONFIG})"
    )
    await supervisor.start()
    await until(lambda: len(told.retries) >= 2)
    assert "bad: gone" in told.notes


async def test_a_part_that_is_killed_again_and_again_does_not_end_the_others(
    make: Make, told: Told
) -> None:
    killed = f"{READY}; import signal, time; time.sleep(0.3); os.kill(os.getpid(), signal.SIGKILL)"
    supervisor = make(other=SERVE, victim=killed)
    await supervisor.start()
    other = supervisor.pids()["other"]
    await until(lambda: len(told.retries) > QUICK.early_crashes_max)
    waiting = asyncio.create_task(supervisor.wait())
    await asyncio.sleep(0.1)
    assert not waiting.done() and supervisor.pids()["other"] == other
    waiting.cancel()


async def test_a_part_that_was_ready_once_is_not_given_up_while_it_starts(
    make: Make, told: Told, tmp_path: Path
) -> None:
    script = f"""
import os, pathlib, signal, time
began = pathlib.Path({str(tmp_path / "began")!r})
if began.exists():
    os.kill(os.getpid(), signal.SIGKILL)
began.touch()
{READY}
time.sleep(0.3)
"""
    supervisor = make(other=SERVE, victim=script)
    await supervisor.start()
    await until(lambda: len(told.retries) > QUICK.early_crashes_max + 1)
    waiting = asyncio.create_task(supervisor.wait())
    await asyncio.sleep(0.1)
    assert not waiting.done() and "other" in supervisor.pids()
    waiting.cancel()


async def test_a_long_life_resets_the_back_off(make: Make, told: Told) -> None:
    bounds = Bounds(0.02, 1.0, healthy_s=0.0, early_s=0.0, early_crashes_max=3, poll_s=0.01)
    supervisor = make(bounds, flaky=f"{READY}; raise SystemExit(1)")
    starting = asyncio.create_task(supervisor.start())
    await until(lambda: len(told.retries) >= 4)
    assert set(told.retries) == {0.02}
    starting.cancel()
    await asyncio.wait({starting})


async def test_a_part_that_ignores_sigterm_is_killed_after_its_grace(
    make: Make, told: Told
) -> None:
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SERVE}"
    supervisor = make(grace_s=0.2, deaf=deaf)
    await supervisor.start()
    pid = supervisor.pids()["deaf"]
    await supervisor.stop()
    assert not psutil.pid_exists(pid)
    assert told.notes == ["deaf did not stop in 0 s; killed"]


async def test_what_a_crashed_part_left_in_its_group_is_swept(make: Make, told: Told) -> None:
    script = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("grandchild", child.pid, flush=True)
{SERVE}
"""
    supervisor = make(parent=script)
    await supervisor.start()
    await until(lambda: bool(told.lines))
    grandchild = int(told.lines[0].split()[1])
    os.kill(supervisor.pids()["parent"], signal.SIGKILL)
    await until(lambda: _gone(grandchild))


async def test_a_part_that_never_gets_ready_is_killed_and_counts_as_a_crash(
    make: Make, tmp_path: Path, told: Told
) -> None:
    supervisor = make()
    part = ProcessSpec(
        "mute",
        (sys.executable, "-c", "import time; time.sleep(600)"),
        tmp_path / "mute.ready",
        ready_timeout_s=0.1,
    )
    supervisor = Supervisor([part], tmp_path / "logs", told, QUICK)
    with pytest.raises(ProcessFailed) as failure:
        await supervisor.start()
    assert "not ready after 0 s; killed" in failure.value.log_tail
    await supervisor.stop()


async def test_a_stale_ready_file_does_not_count(make: Make, tmp_path: Path, told: Told) -> None:
    (tmp_path / "one.ready").write_text("1")
    await make(one=f"import time; time.sleep(0.2); {SERVE}").start()
    assert (tmp_path / "one.ready").read_text() != "1"


async def test_output_goes_to_the_parts_own_log_between_what_the_supervisor_saw(
    make: Make, tmp_path: Path, told: Told
) -> None:
    supervisor = make(loud=f"print('to stdout', flush=True); {SERVE}")
    await supervisor.start()
    await until(lambda: told.lines == ["to stdout"])
    lines = (tmp_path / "logs" / "loud.log").read_text().splitlines()
    notes = [json.loads(line)["event"] for line in lines if line != "to stdout"]
    assert lines.count("to stdout") == 1
    assert notes == ["started", "up"]


async def test_a_preparing_part_that_fails_is_told_with_its_last_lines(
    make: Make, tmp_path: Path
) -> None:
    part = ProcessSpec(
        "prepare", (sys.executable, "-c", "raise SystemExit('broken')"), tmp_path / "p"
    )
    with pytest.raises(ProcessFailed) as failure:
        await make().run_once(part)
    assert failure.value.log_tail == ("broken",)


async def test_kill_nine_of_the_supervisor_leaves_no_orphans(tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
from pathlib import Path
from roost_platform.stack.reporter import PlainReporter
from roost_platform.stack.supervisor import ProcessSpec, Supervisor

GRANDCHILD = "import time; time.sleep(600)"
CHILD = '''
import subprocess, sys
from roost_platform.stack.lifeline import attach_to_supervisor, die_with_parent
attach_to_supervisor()
child = subprocess.Popen([sys.executable, "-c", {"import time; time.sleep(600)"!r}],
                         preexec_fn=die_with_parent)
{SERVE}
'''

async def main():
    here = Path({str(tmp_path)!r})
    part = ProcessSpec("one", (sys.executable, "-c", CHILD), here / "one.ready")
    supervisor = Supervisor([part], here / "logs", PlainReporter())
    await supervisor.start()
    print("up", flush=True)
    await supervisor.wait()

asyncio.run(main())
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, env=env
    )
    assert supervisor.stdout is not None
    line = await asyncio.wait_for(supervisor.stdout.readline(), 30)
    assert line == b"up\n"
    descendants = psutil.Process(supervisor.pid).children(recursive=True)
    assert len(descendants) == 2
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: all(_gone(process.pid) for process in descendants))


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_part_that_died_is_up_again_and_its_log_says_after_how_long(
    make: Make, tmp_path: Path
) -> None:
    seen: list[set[int]] = []
    supervisor = make(one=SERVE)
    supervisor._on_pids = lambda pids: seen.append(set(pids.values()))
    await supervisor.start()
    first = supervisor.pids()["one"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervisor.pids().get("one", first) != first)
    await until(lambda: "up again after" in (tmp_path / "logs" / "one.log").read_text())
    assert "killed by signal 9" in (tmp_path / "logs" / "one.log").read_text()
    assert first not in seen[-1]
    assert set() in seen


async def renewed(supervisor: Supervisor, name: str) -> None:
    """Restart a part, and wait until another process runs it."""
    before = supervisor.pids()[name]
    await supervisor.restart(name)
    await until(lambda: supervisor.pids().get(name) not in (None, before))


async def test_a_part_that_is_restarted_ends_in_order_and_counts_as_no_crash(
    make: Make, told: Told, tmp_path: Path
) -> None:
    goodbye = tmp_path / "goodbye"
    orderly = (
        f"import signal, sys; from pathlib import Path\n"
        f"signal.signal(15, lambda *_: (Path({str(goodbye)!r}).touch(), sys.exit(0)))\n{SERVE}"
    )
    supervisor = make(one=orderly, two=SERVE)
    await supervisor.start()
    first, child = supervisor.pids(), supervisor.children[0]
    for _ in range(6):  # more often than crashes are borne
        await renewed(supervisor, "one")
        await until(child.ready.is_set)
    assert goodbye.exists() and child.restarts == 0
    assert not [event for event in told.events if event[0] == "crashed"]
    assert supervisor.pids()["two"] == first["two"]
    await supervisor.restart("nobody")  # a part that runs elsewhere


async def test_a_part_that_does_not_end_in_order_is_killed_and_comes_back(
    make: Make, told: Told
) -> None:
    stubborn = f"import signal; signal.signal(15, signal.SIG_IGN)\n{SERVE}"
    supervisor = make(one=stubborn, grace_s=0.2)
    await supervisor.start()
    await renewed(supervisor, "one")
    assert any("did not stop in" in note for note in told.notes)
