"""A turn that can't succeed ends: the person hears it in plain words, operators see the cause."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowExecutionStatus

from roost import Agent, tool
from roost_inference.client.assembly import Completed, Delta
from roost_inference.client.engine_client import ChatRequest, EngineClient
from roost_inference.testing.raw_server import raw_server
from roost_platform.intake import TemporalDoorbell
from roost_workflows.names import workflow_id
from roost_workflows.policies import ENGINE_FAILURES_MAX, INTERNAL_FAILURES_MAX
from roost_workflows.testing.lab import Lab
from roost_workflows.turn.endings import APOLOGIES, CUT_SHORT, NO_TEXT

SECRET = "kept-from-people-and-models"


@pytest.fixture
def talk() -> str:
    """A fresh conversation's id."""
    return f"talk-{uuid4().hex[:12]}"


@contextlib.asynccontextmanager
async def engine(status: int, body: str, *, kind: str = "") -> AsyncIterator[EngineClient]:
    """A client of a server that answers every request so."""
    kind = kind or ("application/json" if body.startswith("{") else "text/event-stream")
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().splitlines()
        length = next((line for line in lines if line.startswith(b"content-length:")), b":0")
        await reader.readexactly(int(length.split(b":")[1]))
        writer.write(head.encode() + body.encode())
        await writer.drain()

    async with raw_server(serve) as url:
        client = EngineClient(url, model="m")
        try:
            yield client
        finally:
            await client.close()


def chunk(finish_reason: str | None = None, **delta: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


def error(message: str, **more: Any) -> str:
    return json.dumps({"error": {"message": message, **more}})


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, error("Incorrect API key provided", code="invalid_api_key"), "engine_refused"),
        (402, error("Insufficient Balance"), "engine_refused"),
        (403, error("Access to this region is denied"), "engine_refused"),
        (404, error("The model 'm' does not exist", code="model_not_found"), "engine_refused"),
        (200, "<html><title>Sign in to the Wi-Fi</title></html>", "engine_refused"),
        (400, error("flagged", code="content_filter"), "content_refused"),
        (400, error("temperature must be below 1"), "refused"),
        (413, error("too large"), "too_long"),
    ],
)
async def test_a_refusal_of_the_engine_is_told_and_its_words_are_kept_for_operators(
    lab: Lab, talk: str, status: int, body: str, reason: str
) -> None:
    async with engine(status, body) as client, lab.worker(engine=client):
        await lab.say(talk, "hello")
        turn = await lab.turn(talk)
    assert (turn.state, turn.reason) == ("failed", reason)
    assert [sent.text for sent in lab.store.outbox(talk)] == [APOLOGIES[reason]]
    words = "Sign in to the Wi-Fi" if status == 200 else json.loads(body)["error"]["message"]
    assert words in turn.error
    if status != 200:
        assert f"HTTP {status}" in turn.error


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (chunk(content="Half") + chunk("length"), f"Half\n\n_{CUT_SHORT['length'][2]}_"),
        (chunk(reasoning_content="hm") + chunk("length"), NO_TEXT["length"]),
        (
            chunk(content="Half") + "data: [DONE]\n\n",
            f"Half\n\n_{CUT_SHORT['unfinished'][2]}_",
        ),
        (chunk(content="Half"), f"Half\n\n_{CUT_SHORT['unfinished'][2]}_"),
        (
            chunk(content="Half") + chunk("content_filter"),
            f"Half\n\n_{CUT_SHORT['filtered'][2]}_",
        ),
        (chunk("content_filter"), NO_TEXT["filtered"]),
        (chunk(refusal="I can't help with that.") + chunk("stop"), "I can't help with that."),
        (chunk(content="<think>secret</think>Hi") + chunk("stop"), "Hi"),
    ],
)
async def test_an_answer_that_is_not_whole_says_so(
    lab: Lab, talk: str, body: str, text: str
) -> None:
    async with engine(200, body) as client, lab.worker(engine=client):
        await lab.say(talk, "hello")
        turn = await lab.turn(talk)
    assert turn.state == "done"
    assert [sent.text for sent in lab.store.outbox(talk)] == [text]
    assert "secret" not in repr(lab.store.transcript(talk))
    assert all("_This answer" not in m.content for m in lab.store.transcript(talk))


class Faulty:
    """An engine's client with a fault in its code."""

    def __init__(self) -> None:
        self.tries = 0

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        self.tries += 1
        raise TypeError(SECRET)
        yield Delta()


async def test_a_fault_of_code_ends_the_turn_after_a_few_attempts(lab: Lab, talk: str) -> None:
    faulty = Faulty()
    async with lab.worker(engine=faulty):
        await lab.say(talk, "hello")
        turn = await lab.turn(talk)
        await lab.closed(talk)
        history = await lab.history(talk)
    assert (turn.state, turn.reason) == ("failed", "internal")
    assert faulty.tries == INTERNAL_FAILURES_MAX
    assert f"TypeError: {SECRET}" in turn.error, "operators read the trace"
    assert [sent.text for sent in lab.store.outbox(talk)] == [APOLOGIES["internal"]]
    assert SECRET not in history.to_json()


async def test_a_fault_of_storage_that_is_no_outage_ends_the_turn(lab: Lab, talk: str) -> None:
    async with lab.worker():
        lab.store.fail("commit_step", KeyError("column"))
        await lab.say(talk, "hello")
        turn = await lab.turn(talk)
    assert (turn.state, turn.reason) == ("failed", "internal")
    assert len(lab.engine.requests) == INTERNAL_FAILURES_MAX < ENGINE_FAILURES_MAX * 10


async def test_what_a_broken_tool_raised_is_for_operators_alone(lab: Lab, talk: str) -> None:
    @tool(effect="pure")
    async def breaks() -> str:
        """Break."""
        raise RuntimeError(SECRET)

    async with lab.worker(Agent("host", "Help.", tools=[breaks])):
        await lab.say(talk, "[[tool:breaks {}]] [[say:done]]")
        turn = await lab.turn(talk)
    (call,) = turn.steps[1].calls.values()
    assert call.result == "breaks failed with an unexpected error (RuntimeError)."
    assert f"RuntimeError: {SECRET}" in call.error
    assert SECRET not in repr(lab.store.transcript(talk))
    assert SECRET not in repr(lab.engine.requests)


class Small:
    """An engine with a small context that refuses in llama-server's words, with its numbers."""

    def __init__(self, characters: int) -> None:
        self.characters = characters
        self.refused = 0

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        from roost_inference.client.refusals import error_of

        size = sum(len(str(m["content"])) for m in request.messages)
        if size > self.characters:
            self.refused += 1
            said = {"type": "exceed_context_size_error", "message": "too big", "code": 400}
            numbers = {"n_prompt_tokens": size, "n_ctx": self.characters}
            refused = error_of({"error": {**said, **numbers}})
            assert refused is not None
            raise refused
        yield Completed("ok", (), "stop", "m", "id", 1, 0, 1)


async def test_the_size_that_fits_is_learned_from_the_engines_numbers(lab: Lab, talk: str) -> None:
    small = Small(2000)
    async with lab.worker(Agent("host", "Help."), engine=small):
        for number in range(1, 21):
            await lab.say(talk, f"{number} " + "x" * 400)
            assert (await lab.turn(talk, number)).state == "done"
    assert 1 <= small.refused <= 4, "later messages begin with a history that fits"


async def test_a_stuck_run_is_ended_and_the_next_ring_opens_another(lab: Lab, talk: str) -> None:
    doorbell = TemporalDoorbell(lab.client)
    handle = lab.client.get_workflow_handle(workflow_id(talk))
    await doorbell.end(talk)  # no run is open
    await doorbell.ring(talk)
    first = (await handle.describe()).run_id
    await doorbell.end(talk)
    assert (await handle.describe()).status == WorkflowExecutionStatus.TERMINATED
    await doorbell.ring(talk)
    latest = await handle.describe()
    assert latest.status == WorkflowExecutionStatus.RUNNING and latest.run_id != first
    await doorbell.end(talk)
