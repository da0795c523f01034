"""What one attacker at the bounds of the ports costs everybody else. Run by `make bench` alone."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from roost_inference.benchmarking import report
from roost_inference.benchmarking.figures import Figure, Goal
from roost_platform.testing import World, run_world
from roost_platform.testing.command_line import roost
from roost_platform.testing.processes import eventually

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "benchmarks.md"
ATTACKS = (
    *("connections", "half bodies", "webhooks", "large webhooks", "large forms", "wrong logins"),
    *("wide pages", "large prompts"),
)
TABLES = 12  # on the wide page
SETTLE_S = 2.0
ANSWER_S = 120.0
OVER = ("idle", "failed", "stopped")  # states of a session in which nothing runs
SAMPLES = 60
PAUSE_S = 0.02
DELAY_MS = 50.0
PASSWORD = "correct horse battery"


def wide_page(world: World) -> tuple[str, str]:
    """A session full of wide tables, and an operator's cookie to look at it.

    Nothing runs any more when it returns: what the model still reads would slow everything down.
    """
    row = "|" + " a |" * 200 + "\n"
    table = row + "|" + " --- |" * 200 + "\n" + row * 3
    phone = world.phones.telegram
    for number in range(TABLES):
        last = phone.say(9901, f"{number}\n\n{table}"[:4000])
    phone.answer(9901, last, within_s=ANSWER_S)
    eventually("the session is idle", lambda: is_idle(world), within_s=ANSWER_S)
    roost("admin", "create", "ada", "--password-stdin", data=world.stack.data, stdin=PASSWORD)
    headers = {"sec-fetch-site": "same-origin", "accept": "text/html"}
    with httpx2.Client(base_url=world.stack.url, headers=headers, timeout=ANSWER_S) as http:
        assert http.post("/login", data={"name": "ada", "password": PASSWORD}).is_redirect
        (row_of, *_) = http.get("/sessions.json").json()["list"]["rows"]
        page = f"/sessions/{row_of['id']}"
        assert http.get(page).text.count("<table") >= TABLES
        cookie = "; ".join(f"{name}={value}" for name, value in http.cookies.items())
    return page, cookie


def is_idle(world: World) -> bool:
    """Whether no turn runs or waits, whatever became of the last one."""
    sessions = world.stack.api("/api/sessions")["sessions"]
    return bool(sessions) and all(one["state"] in OVER for one in sessions)


def times_ms(http: httpx2.Client, url: str, headers: dict[str, str]) -> list[float]:
    """How long a small request takes, again and again, each on a connection of its own."""
    took = []
    for _ in range(SAMPLES):
        began = time.perf_counter()
        answer = http.get(url, headers={**headers, "connection": "close"})
        took.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer.text
        time.sleep(PAUSE_S)
    return took


@pytest.mark.benchmark
def test_measure_one_attacker(tmp_path: Path) -> None:
    run = report.BenchmarkRun("the bundled model, one attacker", 1)
    for world in run_world(tmp_path, {}):
        stack = world.stack
        page, cookie = wide_page(world)
        key = (stack.data / "engine-key").read_text().strip()
        token = (stack.data / "api-token").read_text().strip()
        small = {
            "web": (f"{stack.url}/api/agents", {"authorization": f"Bearer {token}"}),
            "engine": (f"{stack.engine_url()}/v1/models", {"authorization": f"Bearer {key}"}),
        }
        with httpx2.Client(timeout=60) as http:
            alone = {port: times_ms(http, *small[port]) for port in small}
            for attack in ATTACKS:
                arguments = [attack, stack.url, stack.engine_url(), key, cookie, page]
                command = [sys.executable, str(FOLDER / "attacker.py"), *arguments]
                attacker = subprocess.Popen(command)
                try:
                    time.sleep(SETTLE_S)
                    port = "engine" if attack == "large prompts" else "web"
                    beside = times_ms(http, *small[port])
                    assert attacker.poll() is None, "the attack went on"
                finally:
                    attacker.kill()
                    attacker.wait()
                add(run, f"{attack} at the {port} port", alone[port], beside)
                time.sleep(SETTLE_S)
    report.append(PAGE, run)


def add(run: report.BenchmarkRun, name: str, alone: list[float], beside: list[float]) -> None:
    """The small request's median and 95th percentile, without and with the attacker."""
    for label, share in (("p50", 50), ("p95", 95)):
        before, after = (statistics.quantiles(one, n=100)[share - 1] for one in (alone, beside))
        said = (
            f"{name}: {label} of a small request, {before:.1f} ms alone, {after:.1f} ms beside it"
        )
        print(said, flush=True)
        goal = Goal(DELAY_MS, 0.0) if label == "p50" else None
        run.add(
            Figure("attacker", f"{name}, {label} of the delay", after - before, "ms", goal=goal)
        )
