"""Sessions on a real Temporal server: answers, tools, steering, closing, private histories."""

import asyncio
import json
import random
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from roost import Agent, Context, ModelRetry, tool
from roost_inference.client.sessions import EngineSession, EngineSessions, Wait
from roost_inference.testing.scripts import Call, Say
from roost_workflows import names
from roost_workflows.hints.engine_hints import EngineHints
from roost_workflows.session import SessionWorkflow
from roost_workflows.testing.lab import Lab, open_lab, running_server, sandbox

HISTORIES = Path(__file__).parent / "histories"


@pytest.fixture
def talk() -> str:
    """A fresh conversation's id."""
    return f"talk-{uuid4().hex[:12]}"


async def test_a_message_is_answered_and_the_run_closes(lab: Lab, talk: str) -> None:
    async with lab.worker():
        await lab.say(talk, "hello")
        turn = await lab.turn(talk)
        await lab.closed(talk)
    assert turn.state == "done"
    assert [sent.text for sent in lab.store.outbox(talk)] == ["You said: hello"]
    assert turn.steps[1].usage.completion_tokens > 0
    assert turn.steps[1].usage.time_to_first_token_s is not None


async def test_the_engine_is_told_session_salt_and_tools_in_order(lab: Lab, talk: str) -> None:
    async with lab.worker():
        await lab.say(talk, "hello")
        await lab.turn(talk)
    body = lab.engine.requests[0]
    assert body["session_id"] == f"s-{talk}"
    assert body["cache_salt"] == "default"
    assert [one["function"]["name"] for one in body["tools"]] == [
        "calculator",
        "current_time",
        "forget_note",
        "notes_list",
        "read_file",
        "remember",
    ]


async def test_the_engine_knows_what_a_session_waits_for_and_whose_turn_comes_first(
    lab: Lab, talk: str
) -> None:
    async with lab.worker():
        await lab.say(talk, '[[tool:calculator {"expression": "2 + 2"}]]')
        await lab.turn(talk)
        await lab.hints.drain()
    assert lab.engine.orders[-1] == (f"s-{talk}", "pin", "idle")
    assert {reason for _, _, reason in lab.engine.orders} <= {"tool", "idle"}
    assert [body.get("priority", 0) for body in lab.engine.requests] == [0, 1]


async def test_an_engine_that_hangs_over_a_hint_delays_no_turn(lab: Lab, talk: str) -> None:
    asked, never = asyncio.Event(), asyncio.Event()

    class Hanging(EngineSessions):
        async def pin(self, session: EngineSession, wait: Wait, ttl_s: float) -> None:
            asked.set()
            await never.wait()

    lab.hints = EngineHints(Hanging(lab.engine_client))
    async with lab.worker():
        await lab.say(talk, '[[tool:calculator {"expression": "2 + 2"}]]')
        turn = await lab.turn(talk)
    assert asked.is_set()
    assert turn.state == "done"
    await lab.hints.close()


async def test_a_conversation_remembers_its_turns(lab: Lab, talk: str) -> None:
    async with lab.worker():
        await lab.say(talk, "one")
        await lab.turn(talk, 1)
        await lab.closed(talk)
        await lab.say(talk, "two")
        await lab.turn(talk, 2)
    said = [message["content"] for message in lab.engine.requests[-1]["messages"][1:]]
    assert said == ["one", "You said: one", "two"]


@pytest.mark.parametrize("cached", [100, 0])
async def test_tools_run_side_by_side_and_the_answer_uses_them(
    lab: Lab, talk: str, cached: int
) -> None:
    """With no workflow cached every task is a replay, which finds what is not deterministic."""
    together = asyncio.Barrier(2)
    keys = []

    @tool(effect="pure", timeout=5)
    async def meet(ctx: Context, name: str) -> str:
        """Meet."""
        keys.append(ctx.key)
        await together.wait()
        return f"met {name}"

    lab.engine.when(
        "go", Call("meet", '{"name": "a"}'), Call("meet", '{"name": "b"}'), Say("Both met.")
    )
    async with lab.worker(Agent("pair", "Meet.", tools=[meet]), max_cached_workflows=cached):
        await lab.say(talk, "go")
        turn = await lab.turn(talk)
    assert lab.store.outbox(talk)[0].text == "Both met."
    assert [call.state for call in turn.steps[1].calls.values()] == ["ok", "ok"]
    results = [message for message in lab.store.transcript(talk) if message.role == "tool"]
    assert [message.content for message in results] == ["met a", "met b"]
    assert sorted(keys) == sorted(
        f"{turn.record.turn_id}:1:{message.tool_call_id}" for message in results
    )


async def test_tool_errors_and_made_up_tools_are_results_for_the_model(lab: Lab, talk: str) -> None:
    @tool(effect="pure")
    def fickle(how: str) -> str:
        """Fail."""
        raise ModelRetry(f"Not {how}.")

    agent = Agent("clumsy", "Try.", tools=[fickle])
    async with lab.worker(agent):
        await lab.say(
            talk, '[[tool:fickle {"how": "so"}]] [[tool:fickle {"x": 1}]] [[tool:fly {"to": "x"}]]'
        )
        turn = await lab.turn(talk)
    assert turn.state == "done"
    results = [message for message in lab.store.transcript(talk) if message.role == "tool"]
    assert [message.status for message in results] == ["error"] * 3
    assert results[0].content == "Not so. Correct the call and try again."
    assert "how: Field required" in results[1].content
    assert "There is no tool 'fly'. Tools: fickle." in results[2].content


async def test_the_last_step_forbids_tools_and_still_answers(lab: Lab, talk: str) -> None:
    @tool(effect="pure")
    def again() -> str:
        """Again."""
        return "more"

    lab.engine.when(
        lambda body: body.get("tool_choice") != "none",
        *(Say("Let me look."), Call("again")) * 5,
    )
    lab.engine.when(lambda body: body.get("tool_choice") == "none", Say("Enough."))
    async with lab.worker(Agent("keen", "Go.", tools=[again], max_steps=3)):
        await lab.say(talk, "go")
        turn = await lab.turn(talk)
    assert [step.finish for step in turn.steps.values()] == ["tools", "tools", "answer"]
    assert lab.store.outbox(talk)[0].text == "Enough."
    said = [message.content for message in lab.store.transcript(talk) if message.tool_calls]
    assert said == ["Let me look.", "Let me look."]
    assert lab.engine.requests[-1]["tools"] == lab.engine.requests[0]["tools"]


async def test_tools_asked_for_in_the_last_step_are_not_run(lab: Lab, talk: str) -> None:
    ran = []

    @tool(effect="pure")
    def again() -> str:
        """Again."""
        ran.append(1)
        return "more"

    lab.engine.when(lambda body: True, *(Say(""), Call("again")) * 5)
    async with lab.worker(Agent("deaf", "Go.", tools=[again], max_steps=2)):
        await lab.say(talk, "go")
        turn = await lab.turn(talk)
    assert [step.finish for step in turn.steps.values()] == ["tools", "empty"]
    assert len(ran) == 1
    assert lab.store.outbox(talk)[0].kind == "notice"


async def test_r36_an_empty_answer_becomes_a_visible_notice(lab: Lab, talk: str) -> None:
    async with lab.worker():
        await lab.say(talk, "[[say:]]")
        turn = await lab.turn(talk)
    assert turn.steps[1].finish == "empty"
    assert lab.store.outbox(talk)[0].kind == "notice"


async def test_messages_that_arrive_in_a_turn_are_steered_in_after_the_group(
    lab: Lab, talk: str
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    @tool(effect="pure")
    async def look() -> str:
        """Look."""
        began.set()
        await go_on.wait()
        return "seen"

    lab.engine.when(lambda body: True, Say("Done."))
    lab.engine.when("go", Call("look"), times=1)
    async with lab.worker(Agent("looker", "Look.", tools=[look])):
        await lab.say(talk, "go")
        await began.wait()
        await lab.say(talk, "and quickly")
        go_on.set()
        await lab.turn(talk)
        await lab.closed(talk)
    assert [message.role for message in lab.store.transcript(talk)] == [
        "user",
        "assistant",
        "tool",
        "user",
        "assistant",
    ]
    assert len(lab.store.turns(talk)) == 1


async def test_a_postponed_turn_begins_after_its_wait_and_takes_what_came_meanwhile(
    lab: Lab, talk: str
) -> None:
    lab.store.postponements = [0.3, 0.0]
    async with lab.worker():
        await lab.say(talk, "one")
        await lab.until(lambda: len(lab.store.postponements) == 1)
        await lab.say(talk, "two")
        await lab.turn(talk)
        await lab.closed(talk)
        history = await lab.history(talk)
    assert len(lab.store.turns(talk)) == 1
    assert [m.content for m in lab.store.transcript(talk)][:2] == ["one", "two"]
    assert history.to_json().count("EVENT_TYPE_TIMER_FIRED") == 2
    await Replayer(workflows=[SessionWorkflow], workflow_runner=sandbox()).replay_workflow(history)


async def test_r28_no_message_is_lost_while_runs_close_under_a_storm(lab: Lab) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    talks = [f"storm-{uuid4().hex[:8]}" for _ in range(4)]
    sent: dict[str, list[str]] = {talk: [] for talk in talks}

    async def chatter(talk: str) -> None:
        for number in range(25):
            sent[talk].append(f"m{number}.")
            await lab.say(talk, f"m{number}.")
            for _ in range(chance.randrange(3)):
                await lab.signal(talk, chance.choice([names.SIGNAL_RING, names.SIGNAL_STOP]))
            await asyncio.sleep(chance.random() * 0.08)

    async with lab.worker():
        await asyncio.gather(*(chatter(talk) for talk in talks))
        for talk in talks:
            await lab.closed(talk)
    for talk in talks:
        said = [m.content for m in lab.store.transcript(talk) if m.role == "user"]
        assert said == sent[talk], f"seed {seed}"
        turns = lab.store.turns(talk)
        assert all(turn.state == "done" for turn in turns), f"seed {seed}"
        assert len(lab.store.outbox(talk)) == len(turns)


async def test_a_long_burst_continues_as_new_and_loses_nothing(tmp_path: Path) -> None:
    settings = {"limit__historyCount__suggestContinueAsNew": "40"}
    talk = f"burst-{uuid4().hex[:8]}"
    with running_server(tmp_path, **settings) as address:
        async with open_lab(address) as lab, lab.worker():
            for number in range(40):
                await lab.say(talk, f"m{number}.")
                await asyncio.sleep(0.02)
            await lab.closed(talk)
            runs = [
                run async for run in lab.client.list_workflows(f"WorkflowId = 'session:{talk}'")
            ]
    said = [m.content for m in lab.store.transcript(talk) if m.role == "user"]
    assert said == [f"m{number}." for number in range(40)]
    assert WorkflowExecutionStatus.CONTINUED_AS_NEW in [run.status for run in runs]


async def test_content_never_enters_history_even_in_failures(lab: Lab, talk: str) -> None:
    canary = "canary-7f3a"

    @tool(effect="pure")
    async def leak(ctx: Context, text: str) -> str:
        """Leak."""
        ctx.progress(canary)
        raise RuntimeError(canary)

    async with lab.worker(Agent("leaky", canary, tools=[leak])):
        lab.store.fail("close_group", RuntimeError(f"INSERT ... ({canary})"))
        await lab.say(talk, f'{canary} [[tool:leak {{"text": "{canary}"}}]] [[say:{canary}]]')
        await lab.until(lambda: any(t.steps.get(1) for t in lab.store.turns(talk)))
        await asyncio.sleep(0.5)
        lab.store.fail("close_group", None)
        await lab.turn(talk)
        await lab.closed(talk)
        history = (await lab.history(talk)).to_json()
    assert canary in str(lab.store.transcript(talk))
    assert canary not in history
    assert "leak" not in history  # tools' names are the developers', but a model may make them up


async def test_a_finished_history_replays(lab: Lab, talk: str) -> None:
    async with lab.worker():
        await lab.say(talk, '[[tool:calculator {"expression": "6*7"}]] [[say:42]]')
        await lab.turn(talk)
        await lab.closed(talk)
        history = await lab.history(talk)
    replayer = Replayer(workflows=[SessionWorkflow], workflow_runner=sandbox())
    await replayer.replay_workflow(history)


@pytest.mark.parametrize("is_sandboxed", [True, False])
@pytest.mark.parametrize("path", sorted(HISTORIES.glob("*.json")), ids=lambda path: path.stem)
async def test_r29_recorded_histories_of_released_code_replay(
    path: Path, is_sandboxed: bool
) -> None:
    """These were recorded by earlier code: a run that is open during an upgrade must go on."""
    history = WorkflowHistory.from_json("session:recorded", json.loads(path.read_text()))
    runner = sandbox() if is_sandboxed else UnsandboxedWorkflowRunner()
    replayer = Replayer(workflows=[SessionWorkflow], workflow_runner=runner)
    await replayer.replay_workflow(history)


async def test_progress_shows_partial_text_and_tools_and_never_too_often(
    lab: Lab, talk: str
) -> None:
    async with lab.worker():
        await lab.say(talk, '[[tool:calculator {"expression": "6*7"}]] [[slow:20]]')
        turn = await lab.turn(talk)
    phases = [snapshot.phase for snapshot in turn.snapshots]
    assert phases[0] == "queued"
    assert "answering" in phases
    assert any("Calculating ✓" in snapshot.tools for snapshot in turn.snapshots)
    answering = [shot.text for shot in turn.snapshots if shot.phase == "answering"]
    assert answering[0].startswith("word1")
    assert len(answering) <= 14  # about a second of text, at most ten a second
