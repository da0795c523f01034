"""Progress: the latest wins, writes are paced, and a storage that fails costs nothing."""

import asyncio
import contextlib

import pytest

from roost.context import plan_lines
from roost_workflows.ports import Snapshot
from roost_workflows.testing import MemoryStore, memory_ports
from roost_workflows.turn import progress
from roost_workflows.turn.progress import (
    BOARD_TURNS_MAX,
    LINES_MAX,
    PLAN_MAX,
    WRITE_EVERY_S,
    WRITES_PER_S_MAX,
    Board,
    ProgressWriter,
)


@pytest.fixture
def store() -> MemoryStore:
    """A store with one running turn, `c-turn-1`."""
    store = MemoryStore()
    store.say("c", "hi")
    store.call("begin", ("c",), {})
    return store


def snapshots(store: MemoryStore) -> list[Snapshot]:
    return store.turns("c")[0].snapshots[1:]


def writer(store: MemoryStore, board: Board | None = None) -> ProgressWriter:
    return ProgressWriter(memory_ports(store).turns, board or Board(), "c-turn-1", "thinking")


async def test_a_burst_is_written_ten_times_a_second_at_most(store: MemoryStore) -> None:
    async with writer(store) as shown:
        for number in range(250):
            shown.show(phase="answering", text="x" * number)
            await asyncio.sleep(0.001)
    written = snapshots(store)
    assert 2 <= len(written) <= 8
    assert [len(one.text) for one in written] == sorted(len(one.text) for one in written)


async def test_many_turns_share_fifty_writes_a_second(store: MemoryStore) -> None:
    board, turns = Board(), 4 * WRITES_PER_S_MAX
    async with contextlib.AsyncExitStack() as running:
        shown = [await running.enter_async_context(writer(store, board)) for _ in range(turns)]
        assert board.write_every_s == 4
        for _ in range(20):
            for one in shown:
                one.show(phase="answering", text="more")
            await asyncio.sleep(0.01)
    assert snapshots(store) == []
    assert board.write_every_s == WRITE_EVERY_S, "who ended is not counted any more"


async def test_a_quiet_turn_is_refreshed(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "REFRESH_EVERY_S", 0.05)
    async with writer(store):
        await asyncio.sleep(0.5)
    assert 3 <= len(snapshots(store)) <= 5


async def test_failing_storage_does_not_fail_the_turn(store: MemoryStore) -> None:
    store.fail("progress", ConnectionError("away"))
    async with writer(store) as shown:
        await asyncio.sleep(0.05)
        store.fail("progress", None)
        shown.show(text="here again")
        await asyncio.sleep(0.2)
    assert snapshots(store)[-1].text == "here again"


async def test_what_is_over_at_once_costs_no_write(store: MemoryStore) -> None:
    async with writer(store) as shown:
        shown.show(text="the whole answer")
    assert snapshots(store) == []


async def test_closing_does_not_wait_for_the_next_write(store: MemoryStore) -> None:
    began = asyncio.get_running_loop().time()
    async with writer(store):
        await asyncio.sleep(0.01)
    assert asyncio.get_running_loop().time() - began < 0.09


async def test_closing_during_a_write_waits_for_nothing_else(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped turn is kept waiting otherwise, for as long as a quiet one is not refreshed."""
    ports = memory_ports(store)
    writes = asyncio.Event()

    async def slow(*_: object) -> None:
        writes.set()
        await asyncio.sleep(0.05)

    monkeypatch.setattr(ports.turns, "progress", slow)
    async with asyncio.timeout(2.0):
        async with ProgressWriter(ports.turns, Board(), "c-turn-1", "thinking"):
            await writes.wait()


def test_the_board_keeps_the_newest_lines_of_the_newest_turns() -> None:
    board = Board()
    for number in range(LINES_MAX + 5):
        board.put("turn", f"call {number}", f"line {number}")
    assert len(board.lines("turn")) == LINES_MAX
    assert board.lines("turn")[-1] == f"line {LINES_MAX + 4}"
    for number in range(BOARD_TURNS_MAX):
        board.put(f"turn {number}", "call", "line")
    assert board.lines("turn") == ()
    board.forget("turn 5")
    assert board.lines("turn 5") == ()


def test_a_plan_is_kept_until_another_comes_and_is_bounded() -> None:
    board = Board()
    board.plan("turn", plan_lines(("look", "read", "write"), 1))
    assert board.steps("turn") == ("✓ look", "▸ read", "· write")
    board.plan("turn", plan_lines(("look",), 1))
    assert board.steps("turn") == ("✓ look",)
    board.plan("turn", ("· step",) * (PLAN_MAX + 5))
    assert len(board.steps("turn")) == PLAN_MAX
    for number in range(BOARD_TURNS_MAX):
        board.plan(f"turn {number}", ("· step",))
    assert board.steps("turn") == ()


async def test_what_a_tool_plans_is_in_the_snapshot(store: MemoryStore) -> None:
    board = Board()
    board.plan("c-turn-1", ("▸ read",))
    async with writer(store, board):
        await asyncio.sleep(2 * WRITE_EVERY_S)
    assert snapshots(store)[-1].phase == "thinking"
    assert snapshots(store)[-1].plan == ("▸ read",)
