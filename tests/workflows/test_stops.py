"""A stop in every phase ends the turn at once, keeps what was said, and starts nothing later."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import uuid4

import pytest

from roost import Agent, Context, tool
from roost.builtin.concierge import concierge
from roost_inference.client.assembly import Completed, Delta
from roost_inference.client.engine_client import ChatRequest
from roost_inference.testing.scripts import Call, Hang, Say
from roost_workflows import names
from roost_workflows.testing.lab import Lab
from roost_workflows.testing.records import StoredTurn

VISIBLE_S = 1.0  # the promise; tests allow a loaded machine twice that
ALLOWED_S = 2 * VISIBLE_S


def clock() -> float:
    """Seconds without those in which this thread could run and other programs held the machine."""
    stat = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    queued_ns = int(stat.read_text().split()[1]) if stat.exists() else 0
    return time.monotonic() - queued_ns / 1e9


@pytest.fixture
def talk() -> str:
    """A fresh conversation's id."""
    return f"talk-{uuid4().hex[:12]}"


async def stop_and_time(lab: Lab, talk: str) -> StoredTurn:
    began = clock()
    await lab.stop(talk)
    turn = await lab.turn(talk, patience_s=10)
    assert clock() - began < ALLOWED_S
    return turn


async def nothing_later(lab: Lab, talk: str) -> None:
    """The run closes, and no request or message follows."""
    await lab.closed(talk)
    requests, outbox = len(lab.engine.requests), lab.store.outbox(talk)
    await asyncio.sleep(0.2)
    assert lab.engine.running == 0
    assert len(lab.engine.requests) == requests
    assert lab.store.outbox(talk) == outbox
    assert len(outbox) <= 1


async def test_r22_stop_before_the_worker_begins_answers_nothing(lab: Lab, talk: str) -> None:
    await lab.say(talk, "hello")
    await lab.stop(talk)
    async with lab.worker():
        await lab.closed(talk)
    assert lab.store.turns(talk) == []
    assert lab.engine.requests == []


async def test_r22_stop_recorded_on_a_turn_whose_worker_is_gone_settles_it(
    lab: Lab, talk: str
) -> None:
    lab.store.say(talk, "hello")
    lab.store.call("begin", (talk,), {})
    await lab.stop(talk)
    async with lab.worker():
        turn = await lab.turn(talk)
        await nothing_later(lab, talk)
    assert turn.state == "stopped"
    assert lab.engine.requests == []


async def test_r22_stop_in_a_model_call_keeps_the_partial_text_and_closes_the_stream(
    lab: Lab, talk: str
) -> None:
    async with lab.worker():
        await lab.say(talk, "[[slow:400]]")
        await lab.until(lambda: lab.store.turns(talk) and lab.engine.running == 1)
        await lab.until(lambda: "word5" in lab.store.turns(talk)[0].snapshots[-1].text)
        turn = await stop_and_time(lab, talk)
        await lab.until(lambda: lab.engine.running == 0, patience_s=ALLOWED_S)
        await nothing_later(lab, talk)
    assert turn.state == "stopped"
    last = lab.store.transcript(talk)[-1]
    assert last.content.startswith("word1 word2")
    assert last.note.startswith("stopped by the user")
    assert lab.store.outbox(talk)[0].text.startswith("word1 word2")
    assert lab.engine.aborted == 1


async def test_r22_stop_before_the_first_token(lab: Lab, talk: str) -> None:
    lab.engine.when("silence", Hang())
    async with lab.worker():
        await lab.say(talk, "silence")
        await lab.until(lambda: lab.engine.running == 1)
        turn = await stop_and_time(lab, talk)
        await nothing_later(lab, talk)
    assert turn.state == "stopped"
    assert lab.store.transcript(talk)[-1].content == ""


async def test_the_next_turn_sees_the_marker(lab: Lab, talk: str) -> None:
    async with lab.worker():
        await lab.say(talk, "[[slow:400]]")
        await lab.until(lambda: lab.store.turns(talk) and lab.engine.running == 1)
        await lab.until(lambda: "word2" in lab.store.turns(talk)[0].snapshots[-1].text)
        await stop_and_time(lab, talk)
        await lab.say(talk, "what was that?")
        turn = await lab.turn(talk, 2)
    assert turn.state == "done"
    assert "was stopped by the user" in lab.engine.requests[-1]["messages"][-1]["content"]


async def test_r22_stop_in_a_tool_kills_its_processes_and_types_its_result(
    lab: Lab, talk: str, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"

    @tool(effect="unsafe")
    async def sleep(ctx: Context) -> str:
        """Sleep."""
        await ctx.run(["sh", "-c", f"echo $$ > {pid_file}; sleep 90"])
        return "slept"

    async with lab.worker(Agent("sleeper", "Sleep.", tools=[sleep])):
        await lab.say(talk, "[[tool:sleep {}]] [[say:never said]]")
        await lab.until(lambda: pid_file.exists() and pid_file.read_text().strip())
        turn = await stop_and_time(lab, talk)
        assert not Path(f"/proc/{pid_file.read_text().strip()}").exists()
        await nothing_later(lab, talk)
    result = lab.store.transcript(talk)[-2]
    assert (result.role, result.status) == ("tool", "unknown")
    assert turn.state == "stopped"
    assert "0 done, 0 undone, 1 unknown" in lab.store.outbox(talk)[0].text
    assert len(lab.engine.requests) == 1


async def test_r22_stop_in_parallel_tools_says_what_was_done_undone_and_unknown(
    lab: Lab, talk: str
) -> None:
    waiting: set[str] = set()

    def waiter(name: str) -> None:
        waiting.add(name)

    @tool(effect="pure")
    async def quick() -> str:
        """Quick."""
        return "done"

    @tool(effect="pure")
    async def reader() -> str:
        """Read for ever."""
        waiter("reader")
        await asyncio.sleep(60)
        return ""

    @tool(effect="idempotent")
    async def writer() -> str:
        """Write for ever."""
        waiter("writer")
        await asyncio.sleep(60)
        return ""

    @tool(effect="verifiable", check=lambda key: "paid 5")
    def payer(ctx: Context) -> str:
        """Pay, and wait for the bank."""
        waiter("payer")
        while True:
            time.sleep(0.01)

    agent = Agent("busy", "Work.", tools=[quick, reader, writer, payer])
    lab.engine.when("go", Call("quick"), Call("reader"), Call("writer"), Call("payer"))
    async with lab.worker(agent):
        await lab.say(talk, "go")
        await lab.until(lambda: len(waiting) == 3)
        await lab.until(
            lambda: "ok" in [c.state for c in lab.store.turns(talk)[0].steps[1].calls.values()]
        )
        await stop_and_time(lab, talk)
        await nothing_later(lab, talk)
    results = [message for message in lab.store.transcript(talk) if message.role == "tool"]
    assert [(r.name, r.status) for r in results] == [
        ("quick", "ok"),
        ("reader", "cancelled"),
        ("writer", "unknown"),
        ("payer", "ok"),
    ]
    assert "2 done, 1 undone, 1 unknown" in lab.store.outbox(talk)[0].text


async def test_r22_stop_between_steps_starts_no_later_model_call(lab: Lab, talk: str) -> None:
    """The stop is recorded while a tool ends by itself; its signal comes only later."""

    @tool(effect="pure")
    def note_stop() -> str:
        """Record the stop, as the other half of a race would."""
        lab.store.request_stop(talk)
        return "ok"

    async with lab.worker(Agent("racer", "Race.", tools=[note_stop])):
        await lab.say(talk, "[[tool:note_stop {}]] [[say:never said]]")
        turn = await lab.turn(talk)
        await lab.signal(talk, names.SIGNAL_STOP)
        await nothing_later(lab, talk)
    assert turn.state == "stopped"
    assert len(lab.engine.requests) == 1


class StopAtCommit:
    """An engine whose answer ends just as a stop is recorded."""

    def __init__(self, lab: Lab, talk: str) -> None:
        self._lab = lab
        self._talk = talk

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        yield Delta("All ")
        self._lab.store.request_stop(self._talk)
        yield Completed("All of it", (), "stop", "m", "id", 1, 0, 3)


async def test_r22_a_stop_recorded_before_the_final_commit_wins(lab: Lab, talk: str) -> None:
    async with lab.worker(concierge, engine=StopAtCommit(lab, talk)):
        await lab.say(talk, "hello")
        turn = await lab.turn(talk)
        await nothing_later(lab, talk)
    assert turn.state == "stopped"
    assert lab.store.transcript(talk)[-1].content == "All of it"


async def test_r22_a_stop_after_the_final_commit_changes_nothing(lab: Lab, talk: str) -> None:
    async with lab.worker():
        await lab.say(talk, "hello")
        turn = await lab.turn(talk)
        await lab.stop(talk)
        await nothing_later(lab, talk)
    assert turn.state == "done"
    assert [sent.kind for sent in lab.store.outbox(talk)] == ["answer"]


async def test_a_late_stop_signal_does_not_stop_the_next_turn(lab: Lab, talk: str) -> None:
    async with lab.worker():
        await lab.say(talk, "[[slow:20]]")
        await lab.until(lambda: lab.engine.running == 1)
        await lab.signal(talk, names.SIGNAL_STOP)  # its record was of an earlier turn
        turn = await lab.turn(talk)
    assert turn.state == "done"


@pytest.mark.parametrize("phase_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
async def test_r22_a_stop_at_any_moment_ends_the_turn_once(
    lab: Lab, talk: str, phase_s: float
) -> None:
    @tool(effect="pure")
    async def step() -> str:
        """Step."""
        await asyncio.sleep(0.05)
        return "ok"

    lab.engine.when("go", *(Say("So."), Call("step")) * 5, Say("Done."))
    async with lab.worker(Agent("walker", "Walk.", tools=[step])):
        await lab.say(talk, "go")
        await asyncio.sleep(phase_s)
        began = clock()
        await lab.stop(talk)
        await lab.closed(talk)
        assert clock() - began < ALLOWED_S
        await nothing_later(lab, talk)
    turns = lab.store.turns(talk)
    assert [turn.state for turn in turns] in ([], ["stopped"], ["done"])
    asked = [call for m in lab.store.transcript(talk) for call, _, _ in m.tool_calls]
    answered = [m.tool_call_id for m in lab.store.transcript(talk) if m.role == "tool"]
    assert asked == answered


async def test_r22_twelve_stops_at_once_are_all_visible_in_time(lab: Lab) -> None:
    async with lab.worker():
        # Another program may hold the processors for a moment: the best of three tries counts.
        for _ in range(3):
            talks = [f"many-{uuid4().hex[:8]}" for _ in range(12)]
            for talk in talks:
                await lab.say(talk, "[[slow:400]]")
            await lab.until(lambda: lab.engine.running == 12)
            began = clock()
            await asyncio.gather(*(lab.stop(talk) for talk in talks))
            for talk in talks:
                assert (await lab.turn(talk)).state == "stopped"
            took = clock() - began
            await lab.until(lambda: lab.engine.running == 0, patience_s=ALLOWED_S)
            if took < ALLOWED_S:
                break
        assert took < ALLOWED_S
