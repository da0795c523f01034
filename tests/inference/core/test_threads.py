"""A step gets as many threads as compute it fastest, and the kernels' threads may spin."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from roost_inference.llama.threads import PAUSE_STEPS_MAX, TRIAL_STEPS, ThreadTuner


def run(
    tuner: ThreadTuner, steps: int, cost_ms: Callable[[int], float], rows: int = 1
) -> Counter[int]:
    """So many steps, each taking cost_ms(threads); how many of them had each number of threads."""
    used: Counter[int] = Counter()
    for _ in range(steps):
        threads = tuner.choose(rows)
        used[threads] += 1
        tuner.observe(rows, cost_ms(threads))
    return used


def free(threads: int) -> float:
    return 10.0 / threads


def taken(threads: int) -> float:
    """Another program wants a core: threads that wait for each other wait for that one."""
    return 11.0 if threads == 1 else 80.0


def test_all_threads_are_used_while_the_cores_are_free() -> None:
    used = run(ThreadTuner(2), 4000, free)
    assert used[1] / used[2] < 0.03


def test_another_number_of_threads_is_not_tried_without_a_doubt() -> None:
    tuner = ThreadTuner(2)
    run(tuner, 200, free)
    assert run(tuner, 4000, free)[1] == 0
    assert run(tuner, 20, taken)[1] > 0


def test_a_long_step_is_tried_once_with_another_number_of_threads() -> None:
    used = run(ThreadTuner(2), 4000, lambda threads: 600.0 / threads, rows=256)
    assert used[1] == 1


def test_a_taken_core_is_given_up_within_a_few_steps_and_taken_again_when_free() -> None:
    tuner = ThreadTuner(2)
    run(tuner, 500, free)
    before = run(tuner, 20, taken)
    assert before[1] >= 8
    assert run(tuner, 2000, taken)[2] < 30
    run(tuner, PAUSE_STEPS_MAX + TRIAL_STEPS, free)
    assert run(tuner, 500, free)[2] > 450


def test_a_lost_trial_of_something_hopeless_takes_one_step() -> None:
    tuner = ThreadTuner(2)
    run(tuner, 100, taken)
    assert run(tuner, 4 * PAUSE_STEPS_MAX, taken)[2] <= 5


def test_every_size_of_step_has_its_own_number() -> None:
    tuner = ThreadTuner(4)
    for _ in range(300):
        run(tuner, 1, lambda threads: 5.0 + threads, rows=1)
        run(tuner, 1, lambda threads: 400.0 / threads, rows=512)
    assert run(tuner, 100, lambda threads: 5.0 + threads, rows=1).most_common(1)[0][0] == 1
    assert run(tuner, 100, lambda threads: 400.0 / threads, rows=512).most_common(1)[0][0] == 4


@pytest.mark.parametrize("most", [1, 2, 3, 6, 16])
def test_no_step_ever_has_more_threads_than_allowed_or_none(most: int) -> None:
    used = run(ThreadTuner(most), 1000, lambda threads: 100.0 / threads + 3.0 * threads)
    assert set(used) <= set(range(1, most + 1))


def test_the_thread_that_loads_leaves_no_team_of_compute_threads_behind(tmp_path: Path) -> None:
    code = """
import pathlib, sys, threading, time
from roost_inference.config import EngineConfig
from roost_inference.loading import load_engine

def foreign():
    tasks = pathlib.Path("/proc/self/task").iterdir()
    return len(list(tasks)) - threading.active_count()

before = foreign()
config = EngineConfig(threads=4, context_length=512, kv_ram=0)
engine = load_engine(config, pathlib.Path(sys.argv[1]))
deadline = time.monotonic() + 20
while foreign() > before:
    if time.monotonic() > deadline:
        sys.exit(f"{foreign() - before} compute threads are left of loading")
    time.sleep(0.01)
engine.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=100,
        env={"PYTHONPATH": "inference", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
