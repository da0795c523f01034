"""Synchronous tools run in processes that are killed: nothing they do holds the worker."""

import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from roost import Context, ToolFailed, tool
from roost.context import Person, SessionInfo
from roost.execution.call import Outcome, run_tool, verify
from roost.execution.tool_process import address_of
from roost.execution.tool_processes import IDLE_MAX, ToolProcesses
from roost.program import run as run_program
from roost.testing import MemoryNotes
from roost.tools import Tool
from roost_workflows.testing import slow_tools

SHOWN: list[str] = []


def make_context(key: str = "turn:1:call") -> Context:
    return Context(
        key=key,
        person=Person("ada", "Ada"),
        session=SessionInfo("s", "telegram:1"),
        notes=MemoryNotes(),
        payload="ref_7",
        attempt=2,
        on_progress=SHOWN.append,
        on_plan=SHOWN.extend,
    )


@pytest.fixture
async def processes() -> AsyncIterator[ToolProcesses]:
    SHOWN.clear()
    made = ToolProcesses(slow_tools.agent.tools)
    yield made
    await made.close()
    assert children() == []


def children() -> list[int]:
    """Processes of tools that live now."""
    found = psutil.Process().children()
    return [one.pid for one in found if "roost.execution.tool_child" in " ".join(_command(one))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def run(
    processes: ToolProcesses, tool: Tool, arguments: str = "{}", context: Context | None = None
) -> Outcome:
    return await run_tool(tool, arguments, context or make_context(), processes)


async def test_a_call_runs_in_another_process_which_is_used_again(processes: ToolProcesses) -> None:
    first = await run(processes, slow_tools.where)
    assert first.status == "ok" and int(first.text) != os.getpid()
    began = time.perf_counter()
    assert await run(processes, slow_tools.where) == first
    assert time.perf_counter() - began < 0.25  # measured alone: 1 ms


async def test_a_tool_that_holds_the_interpreter_is_ended_by_its_time_limit(
    processes: ToolProcesses,
) -> None:
    await run(processes, slow_tools.where)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    began = time.perf_counter()
    outcome = await run(processes, slow_tools.hold)
    ticking.cancel()
    assert time.perf_counter() - began < 3
    assert outcome == Outcome("cancelled", "It was ended after 0.5 s.")
    assert ticks > 10  # the worker went on
    assert (await run(processes, slow_tools.where)).status == "ok"


async def test_a_stop_kills_the_process_and_the_programs_it_started(
    processes: ToolProcesses, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    task = asyncio.create_task(run(processes, slow_tools.hold_long, f'{{"pid_file": "{pids}"}}'))
    while not pids.exists() or len(pids.read_text().split()) < 2:
        await asyncio.sleep(0.01)
    began = time.perf_counter()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.perf_counter() - began < 0.5
    for pid in map(int, pids.read_text().split()):
        await gone(pid)


async def gone(pid: int) -> None:
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it still runs"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("how", "status", "text"),
    [
        ("retry", "error", "No such place. Correct the call and try again."),
        ("failed", "error", "The kitchen is closed."),
        ("exit", "error", "ends failed with an unexpected error (SystemExit)."),
        ("interrupt", "error", "ends failed with an unexpected error (KeyboardInterrupt)."),
        ("exception", "error", "ends failed with an unexpected error (ZeroDivisionError)."),
        ("stop iteration", "error", "ends failed with an unexpected error (StopIteration)."),
        ("death", "error", "Its process ended with code 3."),
        ("signal", "error", "Its process was killed by signal 9."),
        ("print", "ok", "real"),
        ("nothing", "ok", "done"),
        ("?", "ok", '{"place":"Rome","at":1.5}'),
    ],
)
async def test_every_end_of_a_call_is_typed_and_the_next_call_runs(
    processes: ToolProcesses, how: str, status: str, text: str
) -> None:
    outcome = await run(processes, slow_tools.ends, f'{{"how": "{how}"}}')
    assert (outcome.status, outcome.text) == (status, text)
    assert (await run(processes, slow_tools.where)).status == "ok"


@pytest.mark.parametrize(
    "line",
    ["garbage", "[1]", "5", "null", "[" * 60_000, '{"progress": 5}', '{"plan": 7}', '{"end": [1]}'],
)
async def test_a_tool_that_writes_between_our_lines_ends_its_process_alone(
    processes: ToolProcesses, line: str
) -> None:
    outcome = await run(processes, slow_tools.scribbles, json.dumps({"line": line}))
    assert (outcome.status, outcome.text) == ("error", "Its process was killed by signal 9.")
    assert (await run(processes, slow_tools.where)).status == "ok"


async def test_results_are_bounded_and_wrong_arguments_are_told(processes: ToolProcesses) -> None:
    long = await run(processes, slow_tools.ends, '{"how": "long"}')
    assert len(long.text) < 20_000 and "left out" in long.text
    wrong = await run(processes, slow_tools.ends, '{"why": 1}')
    assert wrong.status == "error" and "how: Field required" in wrong.text


async def test_an_unsafe_call_whose_process_died_has_an_unknown_outcome(
    processes: ToolProcesses,
) -> None:
    outcome = await run(processes, slow_tools.dies_unsafe)
    assert outcome.status == "unknown" and "Do not repeat it" in outcome.text


async def test_the_context_crosses_over_and_progress_comes_back(processes: ToolProcesses) -> None:
    outcome = await run(processes, slow_tools.about, '{"word": "caffè \\ud83d\\ude00"}')
    assert outcome.status == "ok"
    for piece in (
        '"key":"turn:1:call"',
        '"attempt":2',
        '"Ada"',
        '"telegram:1"',
        "ref_7",
        "caffè 😀",
    ):
        assert piece in outcome.text
    assert SHOWN == ["✓ look", "▸ book", "half way"] or SHOWN[0] == "half way"


async def test_a_call_that_returns_on_stop_keeps_its_result(
    processes: ToolProcesses, tmp_path: Path
) -> None:
    began = tmp_path / "began"
    task = asyncio.create_task(run(processes, slow_tools.polite, f'{{"began": "{began}"}}'))
    while not began.exists():
        await asyncio.sleep(0.01)
    task.cancel()
    assert (await task).text == "put everything back"


async def test_a_synchronous_check_runs_in_a_process_too(processes: ToolProcesses) -> None:
    assert await verify(slow_tools.pay, "none", processes=processes) is None
    found = await run(processes, slow_tools.pay, context=make_context("paid"))
    assert found.status == "ok" and found.text.startswith("paid paid in ")
    assert int(found.text.split()[-1]) != os.getpid()


async def test_calls_beyond_the_bound_wait_and_few_processes_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = ToolProcesses(slow_tools.agent.tools, processes_max=2)
    try:
        ran = await asyncio.gather(*(run(pool, slow_tools.where) for _ in range(12)))
        assert {one.status for one in ran} == {"ok"}
        assert len({one.text for one in ran}) <= 2
        assert len(children()) <= IDLE_MAX
        monkeypatch.setattr("roost.execution.tool_processes.WAIT_S", 0.05)
        async with pool.one(slow_tools.where), pool.one(slow_tools.where):
            refused = await run(pool, slow_tools.dies_unsafe)
            assert refused.status == "error" and "was not begun" in refused.text
    finally:
        await pool.close()
    assert children() == []


async def test_closing_kills_what_runs(tmp_path: Path) -> None:
    pool = ToolProcesses(slow_tools.agent.tools)
    pids = tmp_path / "pids"
    task = asyncio.create_task(run(pool, slow_tools.hold_long, f'{{"pid_file": "{pids}"}}'))
    while not pids.exists() or len(pids.read_text().split()) < 2:
        await asyncio.sleep(0.01)
    await pool.close()
    assert (await task).status == "error"
    assert children() == []
    for pid in map(int, pids.read_text().split()):
        await gone(pid)


async def test_what_no_process_can_import_runs_in_a_thread(processes: ToolProcesses) -> None:
    @tool(effect="pure")
    def local() -> int:
        """Tell the process."""
        return os.getpid()

    assert address_of(local) is None and not processes.takes(local)
    assert (await run(processes, local)).text == str(os.getpid())
    assert address_of(slow_tools.renamed) == ("roost_workflows.testing.slow_tools", "renamed")
    assert (await run(processes, slow_tools.renamed)).text == "raw"


async def test_a_tool_whose_module_a_process_can_not_load_falls_back_to_a_thread(
    processes: ToolProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    @tool(effect="pure", name="made_later")
    def made_later() -> int:
        """Tell the process."""
        return os.getpid()

    made_later.function.__module__ = "roost_workflows.testing.slow_tools"
    monkeypatch.setattr(slow_tools, "made_later", made_later, raising=False)
    assert processes.takes(made_later)
    assert (await run(processes, made_later)).text == str(os.getpid())
    assert not processes.takes(made_later)


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_whatever_a_tool_raises_in_the_worker_is_its_failure(
    raised: BaseException, kind: str
) -> None:
    @tool(effect="pure", name="ends")
    async def in_loop() -> None:
        """End badly."""
        raise raised

    @tool(effect="pure", name="ends")
    def in_thread() -> None:
        """End badly."""
        raise raised

    outcome = await run_tool(in_loop if kind == "async" else in_thread, "{}", make_context())
    assert outcome.status == "error" and outcome.text.startswith(
        "ends failed with an unexpected error"
    )


async def test_notes_are_not_for_synchronous_tools() -> None:
    from roost.execution.tool_child import _NoNotes

    with pytest.raises(ToolFailed, match="async def"):
        await _NoNotes().list("ada")


async def test_a_process_that_is_being_started_when_all_are_closed_is_gone_as_well() -> None:
    def left_open() -> list[object]:
        return [
            each
            for each in gc.get_objects()
            if isinstance(each, asyncio.SubprocessTransport) and not each.is_closing()
        ]

    for moment in range(12):
        pool = ToolProcesses(slow_tools.agent.tools)
        pool.warm()
        for _ in range(moment):
            await asyncio.sleep(0.01)
        await pool.close()
        assert not left_open(), moment


async def test_the_end_of_a_tool_is_noticed_though_its_daemon_holds_the_stream(
    processes: ToolProcesses, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    arguments = json.dumps({"pid_file": str(file), "dies": True})
    async with asyncio.timeout(30):  # the tool's own limit is a minute
        outcome = await run(processes, slow_tools.leaves, arguments)
    assert outcome.status == "error" and "ended with code 3" in outcome.text
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(file.read_text()), signal.SIGKILL)


async def test_a_killed_tool_takes_along_programs_in_sessions_of_their_own(
    processes: ToolProcesses, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    arguments = json.dumps({"pid_file": str(file), "dies": False})
    running = asyncio.ensure_future(run(processes, slow_tools.leaves, arguments))
    while not (file.exists() and file.read_text()):
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait((running,))
    pid = int(file.read_text())
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        await asyncio.sleep(0.01)


async def test_a_tool_sees_no_setting_of_the_platform(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROOST_TELEGRAM__TOKEN", "42:secret")
    monkeypatch.setenv("roost_database__password", "secret")
    monkeypatch.setenv("WEATHER_API_KEY", "the tool's own")
    started = ToolProcesses(slow_tools.agent.tools)
    seen = (await run(started, slow_tools.secrets_seen)).text.split()
    program = await run_program([sys.executable, "-c", "import os; print(*os.environ)"])
    await started.close()
    for names in (seen, program.stdout.split()):
        assert "WEATHER_API_KEY" in names
        assert not [name for name in names if name.upper().startswith("ROOST_")]


@pytest.mark.parametrize("kind", ["ask", "approve", "sleep", "spawn"])
async def test_what_a_synchronous_tool_waits_for_comes_out_of_its_process(
    processes: ToolProcesses, kind: str
) -> None:
    outcome = await run(processes, slow_tools.asks, json.dumps({"kind": kind}))
    assert outcome == Outcome("ok", "", wait=slow_tools.asks(kind))


async def test_a_wait_that_json_cannot_hold_is_the_tools_error(processes: ToolProcesses) -> None:
    outcome = await run(processes, slow_tools.asks, '{"kind": "unsendable"}')
    assert (outcome.status, outcome.wait) == ("error", None)
    assert (await run(processes, slow_tools.where)).status == "ok"


async def test_a_flow_gets_the_type_of_what_a_synchronous_tool_returned(
    processes: ToolProcesses,
) -> None:
    found = [
        await run_tool(
            slow_tools.nobody, json.dumps({"name": name}), make_context(), processes, is_typed=True
        )
        for name in ("", "null", "done")
    ]
    assert [outcome.text for outcome in found] == ["null", '"null"', '"done"']
    assert (await run(processes, slow_tools.nobody, '{"name": ""}')).text == "done"
