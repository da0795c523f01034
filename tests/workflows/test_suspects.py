"""What a worker computes for is noted while it computes, and read once it is dead."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roost_workflows.policies import SUSPECTS_MAX
from roost_workflows.turn.suspects import Suspects, left_behind, open_suspects

PROGRAM = """
import asyncio, sys, time
from pathlib import Path
from roost_workflows.turn.suspects import open_suspects

suspects = open_suspects(Path(sys.argv[1]))

async def waits():
    await asyncio.sleep(600)

async def computes():
    await asyncio.sleep(0.2)
    print("computing", flush=True)
    while True:
        pass

async def main():
    tasks = [suspects.watched(f"waiting-{n}", waits()) for n in range(5)]
    if sys.argv[2] == "computes":
        def sleeps():
            with suspects.in_thread("asleep"):
                time.sleep(600)
        tasks.append(asyncio.to_thread(sleeps))
        tasks.append(suspects.watched("guilty", computes()))
    elif sys.argv[2] == "thread":
        def hold():
            with suspects.in_thread("threaded"):
                print("computing", flush=True)
                round(1, -10**9)
        tasks.append(asyncio.to_thread(hold))
    else:
        print("computing", flush=True)
    await asyncio.gather(*tasks)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("how", "blamed"), [("computes", ["guilty"]), ("thread", ["threaded"]), ("waits", [])]
)
def test_only_the_turn_that_was_computed_for_is_left_behind(
    tmp_path: Path, how: str, blamed: list[str]
) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path), how],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"computing\n"
    time.sleep(0.3)
    assert left_behind(tmp_path) == []  # it lives
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    assert left_behind(tmp_path) == blamed
    assert left_behind(tmp_path) == []  # told once


async def test_watched_work_gives_its_result_its_error_and_its_cancellation(tmp_path: Path) -> None:
    suspects = open_suspects(tmp_path)

    async def adds(a: int) -> int:
        await asyncio.sleep(0)
        return await asyncio.to_thread(lambda: a + 1)

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    ended = []

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append(1)

    assert await suspects.watched("t", adds(1)) == 2
    with pytest.raises(ValueError, match="no"):
        await suspects.watched("t", fails())
    task = asyncio.create_task(suspects.watched("t", waits()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]
    suspects.close()
    assert list(tmp_path.iterdir()) == []


async def test_without_a_folder_nothing_is_noted() -> None:
    async def one() -> int:
        return 1

    suspects = Suspects()
    assert await suspects.watched("t", one()) == 1
    with suspects.in_thread("t"):
        pass
    suspects.close()


def test_more_threads_than_slots_are_not_noted_and_not_refused(tmp_path: Path) -> None:
    suspects = open_suspects(tmp_path)
    blocks = [suspects.in_thread(f"t{n}") for n in range(SUSPECTS_MAX + 5)]
    for block in blocks:
        block.__enter__()
    for block in blocks:
        block.__exit__(None, None, None)
    suspects.close()
