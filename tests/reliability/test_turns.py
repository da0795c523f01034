"""R1, R7, R23, R28, R29, R35: turns survive crashes, stay single, and end."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import pytest

from roost import Agent, tool
from roost.prompt import build_messages
from roost_inference.testing.scripts import Call, Say
from roost_platform.sweeper import Sweeper
from roost_platform.testing.chats import HandClock, Person
from roost_workflows import names
from roost_workflows.ports import PlannedCall, Postponed
from roost_workflows.server.connection import connect
from roost_workflows.testing.lab import Lab

CALLS = [PlannedCall(f"call0000{n}", "look", "{}", "unsafe") for n in (1, 2, 3)]
DEPLOYED_SESSIONS = 24


@pytest.fixture
def talk() -> str:
    return f"talk-{uuid4().hex[:12]}"


@pytest.fixture
async def second(lab: Lab, temporal_address: str) -> Lab:
    """The same conversations as seen by another process: a worker of its own over one store."""
    other = Lab(await connect(temporal_address, identity="other"), lab.engine, lab.engine_client)
    other.queue, other.store = lab.queue, lab.store
    return other


async def test_r1_a_crash_after_the_final_was_committed_sends_it_once_and_asks_no_model_again(
    lab: Lab, talk: str
) -> None:
    async with lab.worker():
        lab.store.lose_reply("commit_step")
        await lab.say(talk, "hello")
        await lab.turn(talk)
        await lab.closed(talk)
    assert [sent.text for sent in lab.store.outbox(talk)] == ["You said: hello"]
    assert len(lab.engine.requests) == 1


async def test_r7_a_long_turn_is_claimed_by_one_worker_however_often_it_is_rung(
    lab: Lab, second: Lab, talk: str
) -> None:
    began, go_on, runs = asyncio.Event(), asyncio.Event(), []

    @tool(effect="unsafe")
    async def build() -> str:
        """Build."""
        runs.append(1)
        began.set()
        await go_on.wait()
        return "built"

    lab.engine.when("go", Call("build"), Say("Done."))
    agent = Agent("builder", "Build.", tools=[build])
    async with lab.worker(agent), second.worker(agent):
        await lab.say(talk, "go")
        await began.wait()
        for _ in range(20):
            await lab.signal(talk, names.SIGNAL_RING)
        go_on.set()
        await lab.turn(talk)
        await lab.closed(talk)
    assert len(runs) == 1 and len(lab.store.turns(talk)) == 1
    assert len(lab.store.outbox(talk)) == 1


async def test_r29_a_rolling_restart_with_many_running_sessions_aborts_and_loses_none(
    lab: Lab, second: Lab
) -> None:
    talks = [f"talk-{uuid4().hex[:12]}" for _ in range(DEPLOYED_SESSIONS)]
    async with contextlib.AsyncExitStack() as new:
        async with lab.worker():
            for one in talks:
                await lab.say(one, "[[slow:15]]")
            await lab.until(lambda: all(lab.store.turns(one) for one in talks))
            await new.enter_async_context(second.worker())
        turns = [await lab.turn(one, patience_s=90.0) for one in talks]
    assert {turn.state for turn in turns} == {"done"}
    assert all(len(lab.store.outbox(one)) == 1 for one in talks)


def check_openai(messages: Sequence[Mapping[str, Any]]) -> None:
    """As OpenAI's and strict templates check: every call has its one result, right behind it."""
    assert messages[0]["role"] == "system"
    open_calls: list[str] = []
    last = "system"
    for message in messages[1:]:
        role = message["role"]
        if role == "tool":
            assert last in ("assistant", "tool")
            open_calls.remove(message["tool_call_id"])
        else:
            assert not open_calls, "a call without a result"
            assert role != last, "the same role twice in a row"
            open_calls = [call["id"] for call in message.get("tool_calls", ())]
            assert message["content"] or open_calls, "an empty message"
        last = role
    assert last == "user" and not open_calls


def check_anthropic(messages: Sequence[Mapping[str, Any]]) -> None:
    """As Anthropic's API checks: users and assistants take turns, and all results of a group come
    first in the one user message after it.
    """
    blocks: list[tuple[str, list[tuple[str, str]]]] = []
    for message in messages[1:]:
        role = "user" if message["role"] in ("user", "tool") else "assistant"
        content = [("result", message["tool_call_id"])] if message["role"] == "tool" else []
        content += [("use", call["id"]) for call in message.get("tool_calls", ())]
        content += [("text", message["content"])] if message["role"] == "user" else []
        if blocks and blocks[-1][0] == role == "user":
            blocks[-1][1].extend(content)
        else:
            assert not blocks or blocks[-1][0] != role
            blocks.append((role, content))
    assert blocks[0][0] == "user"
    for (_, asked), (_, given) in itertools.pairwise(blocks):
        uses = [id for kind, id in asked if kind == "use"]
        results = [id for kind, id in given[: len(uses)] if kind == "result"]
        assert sorted(uses) == sorted(results)


@pytest.mark.parametrize("begun", range(4))
@pytest.mark.parametrize("finished", range(2))
async def test_r23_a_stop_at_any_call_leaves_a_history_that_strict_providers_accept(
    ada: Person, begun: int, finished: int
) -> None:
    turns = ada.stores.turns
    await ada.says("go")
    turn = await ada.turn()
    await ada.agent_says(turn, 1, "Let me look.", finish="tools", calls=CALLS)
    for number, call in enumerate(CALLS[:begun]):
        await turns.begin_call(turn.turn_id, 1, call.call_id)
        if number < finished:
            await turns.finish_call(turn.turn_id, 1, call.call_id, status="ok", result="seen")
    await ada.says("/stop")
    await turns.settle(turn.turn_id, outcome="stopped", reason="stopped")
    await ada.says("and now?")
    after = await ada.turn()
    context = await turns.context(after.turn_id, 1)
    messages = build_messages("Be kind.", context.messages)
    check_openai(messages)
    check_anthropic(messages)
    states = [m.status for m in context.messages if m.role == "tool"]
    done = min(begun, finished)
    assert states == ["ok"] * done + ["unknown"] * (begun - done) + ["skipped"] * (3 - begun)


async def test_r28_after_an_hour_of_lost_doorbells_and_dying_workers_every_session_is_idle(
    ada: Person, clock: HandClock
) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    sweeper = Sweeper(ada.stores, ada.doorbell)
    await ada.says("hello")
    conversation = await ada.conversation_id()
    said = 1

    async def work() -> None:
        """What a rung workflow does, unless its worker dies on the way."""
        begun = await ada.stores.turns.begin(conversation)
        if begun is None or isinstance(begun, Postponed) or chance.random() < 0.5:
            return
        if begun.stop_requested:
            await ada.stores.turns.settle(begun.turn_id, outcome="stopped", reason="stopped")
            return
        await ada.stores.turns.context(begun.turn_id, 1)
        if chance.random() < 0.7:
            await ada.agent_says(begun, 1, "so")

    for _ in range(180):  # an hour in steps of 20 s
        clock.advance(20.0)
        ada.doorbell.broken = chance.random() < 0.5
        if chance.random() < 0.2:
            await ada.says("/stop" if chance.random() < 0.2 else "and this?")
            said += 1
        await sweeper.sweep()
        if ada.doorbell.rung or ada.doorbell.stopped:
            ada.doorbell.rung.clear()
            ada.doorbell.stopped.clear()
            await work()
    ada.doorbell.broken = False
    for _ in range(200):
        clock.advance(40.0)
        if not await sweeper.sweep():
            break
        await work()
    inbox = await ada.inbox()
    assert len(inbox) == said
    assert {state for _, state in inbox} <= {"done", "dropped"}, f"seed {seed}"
    assert await ada.stores.turns.begin(conversation) is None, f"seed {seed}"


async def test_r35_five_minutes_without_a_workflow_server_lose_and_refuse_nothing(
    ada: Person, clock: HandClock
) -> None:
    ada.doorbell.broken = True
    sweeper = Sweeper(ada.stores, ada.doorbell)
    for number in range(30):
        assert (await ada.says(f"message {number}")).stored == 1
        clock.advance(10.0)
        await sweeper.sweep()
    assert ada.doorbell.rung == []
    ada.doorbell.broken = False
    clock.advance(5.0)
    assert await sweeper.sweep() == 1
    assert ada.doorbell.rung == [await ada.conversation_id()]
    context = await ada.stores.turns.context((await ada.turn()).turn_id, 1)
    assert [m.content for m in context.messages] == [f"message {n}" for n in range(30)]
