"""A step's prompt is built again exactly as the model got it, without a stored copy."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import update
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from roost import Agent, tool
from roost.agent import ModelSettings
from roost_channels.message import Attachment, Quote
from roost_inference.client.assembly import Completed, Delta, ToolCall
from roost_inference.client.engine_client import ChatRequest
from roost_inference.errors import InvalidRequest, PromptTooLong
from roost_platform.db import models
from roost_platform.testing.chats import Person
from roost_platform.views.faults.prompt import AGENT_GONE, NOT_KEPT, PromptView, stored_step, view
from roost_workflows.agents import AgentRegistry
from roost_workflows.definitions.versions import sha256
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.ports import TurnRecord
from roost_workflows.state import GenerateInput
from roost_workflows.turn.files import FileReader
from roost_workflows.turn.model_call import ModelCaller
from roost_workflows.turn.progress import Board

Reply = Completed | Exception


@tool(effect="pure")
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} means much"


AGENT = Agent(
    "concierge",
    "You help.",
    tools=[look_up],
    model=ModelSettings(temperature=0.3, max_tokens=77),
)


@dataclass
class Engine:
    """Answers as told, and keeps what it was asked."""

    replies: list[Reply]
    asked: list[ChatRequest] = field(default_factory=list)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        self.asked.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        yield reply


def answer(text: str, *calls: ToolCall) -> Completed:
    reason = "tool_calls" if calls else "stop"
    return Completed(text, calls, reason, "tiny-1", "e1", 90, 40, 7)


async def ask(person: Person, engine: Engine, turn: TurnRecord, step: int) -> None:
    caller = ModelCaller(
        *(person.stores.turns, engine, AgentRegistry.of(AGENT), Board(), NoHints()),
        files=FileReader(person.stores.artifacts),
    )
    call = GenerateInput(turn.turn_id, step, last=False)
    await ActivityEnvironment().run(caller.run, call)


async def shown(
    person: Person, turn: TurnRecord, step: int, agent: Agent | None = AGENT
) -> PromptView:
    async with person.stores.database.read() as session:
        stored = await stored_step(session, turn.conversation_id, turn.turn_id, step)
    assert stored is not None
    return view(stored, lambda _: agent)


async def manifest_of(person: Person, turn: TurnRecord, step: int) -> dict[str, Any]:
    async with person.stores.database.read() as session:
        row = await session.get_one(models.TurnStep, (turn.turn_id, step))
        assert row.manifest is not None
        return row.manifest


def assert_same(page: PromptView, request: ChatRequest) -> None:
    """The page's request is the engine's, and its sections are that request in order."""
    assert json.loads(page.request)["messages"] == json.loads(json.dumps(request.messages))
    assert json.loads(page.request)["tools"] == json.loads(json.dumps(request.tools))
    whole = "\n".join(str(message["content"]) for message in request.messages)
    at = 0
    for section in page.sections:
        for entry in section.entries:
            if entry.kind not in ("tool", "call"):
                at = whole.index(entry.text, at) + len(entry.text)


async def test_each_step_shows_what_the_model_got_also_after_more_was_said(ada: Person) -> None:
    quote = Quote(ref="m0", author="other", text="the old plan", excerpt="", resolved=True)
    message = ada.message("What now?", quote=quote)
    await ada.gives(replace(message, attachments=(Attachment("document", "f1", "plan.txt"),)))
    (due,) = await ada.stores.artifacts.fetches([("telegram", "42")], ada.stores.database.now(), 5)
    await ada.stores.artifacts.fetched(due.artifact_id, b"Meet at six.")
    turn = await ada.turn()
    engine = Engine([answer("Let me see.", ToolCall("c1", "look_up", '{"word": "six"}'))])
    await ask(ada, engine, turn, 1)
    record = await ada.stores.turns.step(turn.turn_id, 1)
    assert record is not None
    call_id = record.calls[0].call_id
    await ada.stores.turns.begin_call(turn.turn_id, 1, call_id)
    await ada.stores.turns.finish_call(turn.turn_id, 1, call_id, status="ok", result="six means 6")
    await ada.stores.turns.close_group(turn.turn_id, 1)
    await ada.says("and hurry")  # steered into the second step
    engine.replies = [answer("At six.")]
    await ask(ada, engine, turn, 2)
    await ada.says("Thanks")
    later = await ada.turn()
    engine.replies = [answer("You are welcome.")]
    await ask(ada, engine, later, 1)

    first, second = await shown(ada, turn, 1), await shown(ada, turn, 2)
    assert_same(first, engine.asked[0])
    assert_same(second, engine.asked[1])
    assert_same(await shown(ada, later, 1), engine.asked[2])
    for (turn_of, step), request in zip(
        ((turn, 1), (turn, 2), (later, 1)), engine.asked, strict=True
    ):
        manifest = await manifest_of(ada, turn_of, step)
        assert manifest["prompt_hash"] == sha256(request.messages)
        assert (manifest["model"], manifest["sampling"]["temperature"]) == ("tiny-1", 0.3)
    words = {section.name: section for section in first.sections}["The last words"]
    assert [entry.kind for entry in words.entries] == ["quote", "file", "words"]
    assert [section.name for section in first.sections][:2] == ["Instructions", "Tools"]
    assert (first.model, first.temperature, first.max_tokens) == ("tiny-1", 0.3, 77)
    assert (first.prompt_tokens, first.cached_tokens, first.completion_tokens) == (90, 40, 7)
    assert (first.finish, first.finish_reason) == ("tools", "tool_calls")
    assert (second.finish, second.finish_reason, second.steps) == ("answer", "stop", 2)
    assert not first.is_changed and first.shortening == 0 and first.left_out == 0


async def test_a_shortened_prompt_says_what_was_left_out(ada: Person) -> None:
    for number in range(9):
        await ada.says(f"question {number}")
        turn = await ada.turn()
        engine = Engine([answer(f"answer {number}")])
        await ask(ada, engine, turn, 1)
    await ada.says("and the last one")
    turn = await ada.turn()
    engine = Engine([PromptTooLong("too long"), answer("ok")])
    await ask(ada, engine, turn, 1)
    page = await shown(ada, turn, 1)
    assert page.shortening == 1 and page.left_out > 0
    assert_same(page, engine.asked[1])
    history = next(section for section in page.sections if section.name == "History")
    assert history.entries[0].title == "Left out"
    manifest = await manifest_of(ada, turn, 1)
    assert manifest["positions"] == [[page.left_out, 18]]  # nine turns of two messages, and one
    assert manifest["prompt_hash"] == sha256(engine.asked[1].messages)


async def test_a_step_without_an_answer_shows_its_prompt_and_the_engines_words(
    ada: Person,
) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    engine = Engine([InvalidRequest("the template refuses this")])
    with pytest.raises(ApplicationError):
        await ask(ada, engine, turn, 1)
    running = await shown(ada, turn, 1)
    await ada.stores.turns.settle(turn.turn_id, outcome="failed", reason="engine_refused")
    failed = await shown(ada, turn, 1)
    for page in (running, failed):
        assert_same(page, engine.asked[0])
        assert "the template refuses this" in page.error
        assert not page.is_answered and page.max_tokens == 77


async def test_a_changed_agent_a_missing_one_and_an_old_step_are_said_plainly(
    ada: Person,
) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    await ask(ada, Engine([answer("Hi.")]), turn, 1)
    assert (await shown(ada, turn, 1, replace(AGENT, instructions="Other."))).is_changed
    gone = await shown(ada, turn, 1, None)
    assert gone.problem == AGENT_GONE and gone.sections == ()
    async with ada.stores.database.write() as session:
        await session.execute(update(models.TurnStep).values(prompt_end=None))
    assert (await shown(ada, turn, 1)).problem == NOT_KEPT
    async with ada.stores.database.read() as session:
        assert await stored_step(session, turn.conversation_id, turn.turn_id, 2) is None
        assert await stored_step(session, "another", turn.turn_id, 1) is None
