"""What the gateway adds to a call, with key, budget and streaming, against the upstream itself.

All parts share this machine's processors, though the clients and the upstream stand for others: so
these are made to cost little, and a relay that passes bytes on without a look at them shows what a
process in between costs that does nothing.
LITELLM=1 measures LiteLLM's proxy beside it, in the same run; it is installed into an environment
of its own (LITELLM_DIR), at a version that was not compromised. GATEWAY_ROUNDS=n measures longer.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest

from roost_inference.benchmarking import report
from roost_inference.benchmarking.figures import Figure, Goal, median, percentile
from roost_inference.benchmarking.parameters import Parameters
from roost_platform.stack.local_ports import free_port

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "benchmarks.md"
# 1.82.7, 1.82.8 and 1.107.0 were compromised; its makers name this one as safe.
LITELLM = "litellm[proxy]==1.106.2"
LITELLM_DIR = Path(os.environ.get("LITELLM_DIR") or Path.home() / ".cache" / "roost-litellm")
LITELLM_START_S = 180.0
ROUNDS = int(os.environ.get("GATEWAY_ROUNDS", "30"))
TTFB_TOKENS, STREAM_TOKENS, PAUSE_MS = 8, 64, 20
CLIENTS = 32

pytestmark = pytest.mark.benchmark
Targets = Mapping[str, Mapping[str, str]]


@contextlib.contextmanager
def part(*arguments: str) -> Iterator[dict[str, str]]:
    """A process of the benchmark; what it says of itself."""
    command = [sys.executable, str(FOLDER / "gateway_parts.py"), *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield {**json.loads(process.stdout.readline()), "pid": str(process.pid)}
        finally:
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def litellm(folder: Path, upstream: str) -> Iterator[dict[str, str]]:
    """LiteLLM's proxy with a key; budgets would need a PostgreSQL of its own, so it has none."""
    program = LITELLM_DIR / "bin" / "litellm"
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        **{"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"},
        "LITELLM_LOG": "ERROR",
    }
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(LITELLM_DIR)], check=True)
        pip = [str(LITELLM_DIR / "bin" / "pip"), "install", "-q", "--only-binary", ":all:"]
        subprocess.run([*pip, LITELLM], check=True, env=environment)
    model = {"model": "openai/scripted", "api_base": f"{upstream}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": "fast", "litellm_params": model}],
        "general_settings": {"master_key": "sk-bench"},
        "litellm_settings": {"telemetry": False, "drop_params": False},
    }
    file, port = folder / "litellm.yaml", free_port()
    file.write_text(json.dumps(config))
    command = [str(program), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + LITELLM_START_S
            while True:
                with contextlib.suppress(OSError):
                    urlopen(f"{url}/health/liveliness", timeout=5).close()
                    break
                assert process.poll() is None, (folder / "litellm.log").read_text()
                assert time.monotonic() < deadline, "LiteLLM does not start"
                time.sleep(0.5)
            yield {"url": url, "key": "sk-bench", "model": "fast", "pid": str(process.pid)}
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    folder = tmp_path_factory.mktemp("gateway")
    with part("upstream") as upstream, contextlib.ExitStack() as stack:
        found = {"direct": {**upstream, "key": "none", "model": "scripted"}}
        profile = [os.environ["PROFILE"]] if os.environ.get("PROFILE") else []
        relay = stack.enter_context(part("relay", upstream["url"]))
        found["relay"] = {**relay, "key": "none", "model": "scripted"}
        gateway = stack.enter_context(part("gateway", str(folder), upstream["url"], *profile))
        found["gateway"] = {**gateway, "model": "fast"}
        if os.environ.get("LITELLM"):
            found["litellm"] = stack.enter_context(litellm(folder, upstream["url"]))
        yield found


@pytest.fixture(scope="module")
def record() -> Iterator[report.BenchmarkRun]:
    run = report.BenchmarkRun("scripted upstream; gateway over SQLite, key and budget on", 1)
    if os.environ.get("LITELLM"):
        run.peers.append(f"{LITELLM}, one worker, a master key, no budget")
    yield run
    if run.figures and Parameters.from_environment().record:
        report.append(PAGE, run)


def measure(targets: Targets, **plan: int) -> Any:
    """Run the clients as a process of their own. cpu_ms: what a call took of each processor."""
    text = json.dumps({"targets": dict(targets), **plan})
    command = [sys.executable, str(FOLDER / "gateway_clients.py"), text]
    before = {name: processor_s(target) for name, target in targets.items()}
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    calls = (plan["rounds"] + 1) * plan["clients"] * plan["each"]
    found["cpu_ms"] = {
        name: 1000 * (processor_s(target) - before[name]) / calls
        for name, target in targets.items()
    }
    return found


def processor_s(target: Mapping[str, str]) -> float:
    """Seconds of the processor that the target's processes have used."""
    process = psutil.Process(int(target["pid"]))
    every = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(times.user + times.system for times in every)


@dataclass(frozen=True, slots=True)
class Load:
    """How clients come. spread_ms: see gateway_clients.clients."""

    name: str
    clients: int
    each: int
    tokens: int = TTFB_TOKENS
    pause_ms: int = 0
    spread_ms: int = 0


LOADS = (
    Load("1 client", 1, 10),
    # Each stream has its own beginning, and no two of them send their tokens at the same moment.
    Load("32 clients with streams of 50 tokens a second", CLIENTS, 3, 32, PAUSE_MS, 33 * PAUSE_MS),
    # As an engine sends them that computes all in one batch: the tokens of all streams come at
    # once, and a call begins where another one has ended, in the middle of them.
    Load("32 clients with such streams in step", CLIENTS, 3, 32, PAUSE_MS, 32 * PAUSE_MS),
    # All ask at one instant, and again as soon as they are answered: what is measured is the queue
    # before one processor, the time of a call thirty-two times over.
    Load("32 clients at the same instant", CLIENTS, 3),
)


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_measure_gateway_first_byte(
    targets: Targets, record: report.BenchmarkRun, load: Load
) -> None:
    """Added time until the first token, at p50 and p99."""
    rounds = ROUNDS if not load.pause_ms else max(3, ROUNDS // 6)
    measured = measure(
        targets,
        **{"clients": load.clients, "each": load.each, "rounds": rounds, "tokens": load.tokens},
        **{"pause_ms": load.pause_ms, "spread_ms": load.spread_ms},
    )
    first, cpu_ms = measured["first_ms"], measured["cpu_ms"]
    record.add(
        Figure(
            *("gateway", f"processor time of a call, {load.name}", cpu_ms["gateway"], "ms"),
            against="LiteLLM" if "litellm" in cpu_ms else "",
            other=cpu_ms.get("litellm"),
        )
    )
    for percent, goal in ((50, Goal(1.0, 0.5)), (99, Goal(5.0, 2.0))):
        direct = percentile(first["direct"], percent)
        added = percentile(first["gateway"], percent) - direct
        name = f"added time to the first token, {load.name}, p{percent}"
        is_goal = load.clients == 1 or percent == 50
        record.add(Figure("gateway", name, added, "ms", goal=goal if is_goal else None))
        record.add(Figure("gateway", f"{name}: asked directly", direct, "ms"))
        floor = percentile(first["relay"], percent) - direct
        record.add(Figure("gateway", f"{name}: added by a relay without logic", floor, "ms"))
        if "litellm" in first:
            other = percentile(first["litellm"], percent) - direct
            record.add(
                Figure(
                    *("gateway", f"{name}, against LiteLLM", added, "ms"),
                    against="LiteLLM",
                    other=other,
                    goal=Goal(4.0, 10.0),
                )
            )


def test_measure_gateway_streams(targets: Targets, record: report.BenchmarkRun) -> None:
    """Tokens a second that 32 streams lose at an engine's pace, and the most that go through."""
    for name, pause_ms in (("50 tokens a second each", PAUSE_MS), ("as fast as they come", 0)):
        rates = measure(
            targets,
            **{"clients": CLIENTS, "each": 1, "rounds": max(3, ROUNDS // 6)},
            **{"tokens": STREAM_TOKENS, "pause_ms": pause_ms},
        )["tokens_per_s"]
        ours, direct = median(rates["gateway"]), median(rates["direct"])
        scenario = f"{CLIENTS} streams, {name}"
        record.add(Figure("gateway", scenario, ours, "tok/s", lower_is_better=False))
        if pause_ms:
            lost = 100 * (1 - ours / direct)
            record.add(Figure("gateway", f"{scenario}: lost", lost, "%", goal=Goal(5.0, 1.0)))
        if "litellm" in rates:
            other = median(rates["litellm"])
            record.add(
                Figure(
                    *("gateway", f"{scenario}, against LiteLLM", ours, "tok/s"),
                    lower_is_better=False,
                    against="LiteLLM",
                    other=other,
                )
            )
