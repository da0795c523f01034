"""Running a tool call: every way it can end has a typed outcome."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roost import Context, ModelRetry, ToolFailed, tool
from roost.context import Person, SessionInfo
from roost.effects import Effect
from roost.execution.call import interrupted, run_tool
from roost.program import OUTPUT_BYTES_MAX
from roost.testing import MemoryNotes


def make_context(progress: Callable[[str], None] | None = None) -> Context:
    return Context(
        key="turn:1:call",
        person=Person("ada", "Ada"),
        session=SessionInfo("s"),
        notes=MemoryNotes(),
        on_progress=progress,
    )


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\tZ" not in Path(f"/proc/{pid}/status").read_text().replace("State:", "")


async def test_errors_of_a_tool_are_results_the_model_reads() -> None:
    @tool(effect="pure")
    def fickle(how: str) -> str:
        """Fail in some way."""
        if how == "retry":
            raise ModelRetry("No such place.")
        if how == "failed":
            raise ToolFailed("The kitchen is closed.")
        raise ZeroDivisionError("by zero")

    retry = await run_tool(fickle, '{"how": "retry"}', make_context())
    assert retry.status == "error"
    assert retry.text == "No such place. Correct the call and try again."
    failed = await run_tool(fickle, '{"how": "failed"}', make_context())
    assert (failed.status, failed.text) == ("error", "The kitchen is closed.")
    crashed = await run_tool(fickle, '{"how": "?"}', make_context())
    assert crashed.text == "fickle failed with an unexpected error (ZeroDivisionError)."
    assert "ZeroDivisionError: by zero" in crashed.trace, "operators read the rest"
    wrong = await run_tool(fickle, "{}", make_context())
    assert "how: Field required" in wrong.text


@pytest.mark.parametrize(
    ("effect", "status"), [("pure", "cancelled"), ("idempotent", "unknown"), ("unsafe", "unknown")]
)
async def test_time_out_is_typed_by_effect(effect: Effect, status: str) -> None:
    @tool(effect=effect, timeout=0.05)
    async def slow() -> str:
        """Be slow."""
        await asyncio.sleep(30)
        return "never"

    context = make_context()
    outcome = await run_tool(slow, "{}", context)
    assert outcome.status == status
    assert "0.05 s" in outcome.text
    assert context.stopped


async def test_a_tools_own_timeout_error_is_its_error() -> None:
    @tool(effect="unsafe")
    async def asks() -> str:
        """Ask a slow service."""
        raise TimeoutError("service")

    assert (await run_tool(asks, "{}", make_context())).status == "error"


async def test_synchronous_tools_do_not_block_and_are_interrupted_by_a_stop() -> None:
    @tool(effect="pure")
    def spin() -> str:
        """Spin."""
        while True:
            time.sleep(0.01)

    task = asyncio.create_task(run_tool(spin, "{}", make_context()))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 0.5


async def test_a_tool_in_a_thread_is_noted_while_it_runs() -> None:
    noted: list[str] = []

    @contextlib.contextmanager
    def note() -> Iterator[None]:
        noted.append("in")
        yield
        noted.append("out")

    @tool(effect="pure")
    def work() -> int:
        """Work."""
        return len(noted)

    assert (await run_tool(work, "{}", make_context(), note=note)).text == "1"
    assert noted == ["in", "out"]


async def test_a_synchronous_tool_that_returns_on_stop_keeps_its_result() -> None:
    @tool(effect="unsafe")
    def polite(ctx: Context) -> str:
        """Work until stopped."""
        while not ctx.stopped:
            time.sleep(0.005)
        return "put everything back"

    task = asyncio.create_task(run_tool(polite, "{}", make_context()))
    await asyncio.sleep(0.05)
    task.cancel()
    assert (await task).text == "put everything back"


async def test_a_thread_blocked_in_c_is_left_behind_within_the_grace() -> None:
    @tool(effect="unsafe")
    def blocked() -> None:
        """Block where Python can't interrupt."""
        time.sleep(2)

    task = asyncio.create_task(run_tool(blocked, "{}", make_context()))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 0.8


@pytest.mark.parametrize("how", ["stop", "time-out"])
async def test_a_stop_kills_the_whole_process_group(tmp_path: Path, how: str) -> None:
    pids = tmp_path / "pids"

    @tool(effect="unsafe", timeout=1 if how == "time-out" else 60)
    async def shell(ctx: Context) -> str:
        """Run a shell with a child that ignores polite requests."""
        script = f"trap '' TERM; sleep 60 & echo $$ $! > {pids}; wait"
        return (await ctx.run(["sh", "-c", script])).stdout

    task = asyncio.create_task(run_tool(shell, "{}", make_context()))
    while not pids.exists() or not pids.read_text().strip():
        await asyncio.sleep(0.01)
    if how == "stop":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        assert (await task).status == "unknown"
    await asyncio.sleep(0.05)
    assert [pid for pid in map(int, pids.read_text().split()) if is_alive(pid)] == []


async def test_children_left_behind_by_a_finished_program_are_killed() -> None:
    result = await make_context().run(["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"])
    assert result.exit_code == 0
    await asyncio.sleep(0.05)
    assert not is_alive(int(result.stdout))


async def test_program_output_input_and_exit_code_come_back_bounded() -> None:
    context = make_context()
    result = await context.run(["sh", "-c", "cat; echo oops >&2; exit 3"], input="hello")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "hello", "oops\n")
    flood = await context.run(["head", "-c", str(3 * OUTPUT_BYTES_MAX), "/dev/zero"])
    assert len(flood.stdout) == OUTPUT_BYTES_MAX
    with pytest.raises(TimeoutError):
        await context.run(["sleep", "60"], timeout_s=0.05)


@pytest.mark.parametrize(
    ("found", "status", "text"),
    [
        (None, "cancelled", "It had no effect."),
        (False, "cancelled", "It had no effect."),
        (True, "ok", "done"),
        ({"id": 7}, "ok", '{"id":7}'),
    ],
)
async def test_an_interrupted_verifiable_call_is_asked_about(
    found: Any, status: str, text: str
) -> None:
    asked = []

    async def check(key: str) -> Any:
        asked.append(key)
        return found

    @tool(effect="verifiable", check=check)
    async def pay(amount: int) -> None:
        """Pay."""

    outcome = await interrupted(pay, "turn:1:call", "It was stopped.")
    assert (outcome.status, asked) == (status, ["turn:1:call"])
    assert text in outcome.text


async def test_a_check_that_fails_or_hangs_leaves_the_outcome_unknown() -> None:
    async def hangs(key: str) -> None:
        await asyncio.sleep(60)

    def fails(key: str) -> None:
        raise ConnectionError("bank")

    for check in (hangs, fails):

        @tool(effect="verifiable", check=check)
        async def pay() -> None:
            """Pay."""

        outcome = await interrupted(pay, "key", "It was stopped.", check_s=0.05)
        assert outcome.status == "unknown"
        assert "Do not repeat it" in outcome.text


async def test_progress_may_come_from_any_thread() -> None:
    shown: list[str] = []

    @tool(effect="pure")
    def work(ctx: Context) -> str:
        """Work."""
        ctx.progress("half way")
        return "ok"

    await run_tool(work, "{}", make_context(shown.append))
    assert shown == ["half way"]
