"""What is cached stays cached: each prompt of a session begins with all tokens of the last one."""

import json
import random
from dataclasses import replace

from roost.agent import Agent
from roost.builtin.concierge import concierge
from roost_inference.client.engine_client import ChatRequest
from roost_inference.prompt.chat_template import ChatTemplate, Prompt
from roost_inference.prompt.exact_tokens import GeneratedAnswer
from roost_inference.testing.harness import CHATML
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.wire.message import Message
from roost_inference.wire.parsing import parse_chat_call
from roost_workflows.ports import TranscriptMessage, TurnContext, TurnRecord
from roost_workflows.turn.requests import build_request

TOKENIZE = PuppetEngine().tokenize
TEMPLATE = ChatTemplate(CHATML, tokenize=lambda text, special: TOKENIZE(text, special=special))
WROTE = {
    "": '<tool_call>\n{"name":  "calculator", "arguments": {"expression":"2+2"}}\n</tool_call>',
    "It is 4.": " It is 4.",
    "Glad to.": "Glad to. ",
}
CALL = ("id1", "calculator", '{"expression": "2+2"}')
TALK = (
    TranscriptMessage("user", "What is 2+2?", quoted={"author": "bot", "excerpt": "2+2"}),
    TranscriptMessage("assistant", "", tool_calls=(CALL,)),
    TranscriptMessage("tool", "4", tool_call_id="id1", name="calculator", status="ok"),
    TranscriptMessage("assistant", "It is 4."),
    TranscriptMessage("user", "Thanks!"),
    TranscriptMessage("assistant", "Glad to."),
    TranscriptMessage("user", "And 3+3?"),
)
# How much of the talk each of its model calls sees, and the call's step in its turn.
CALLS = ((1, 1), (3, 2), (5, 1), (7, 1))


TURN = TurnRecord("t", "c", "s", 1, "concierge", False)
CONTEXT = TurnContext(TURN, "1", "Ada", "telegram", "key", "salt", TALK)


def request(
    seen: int, step: int, context: TurnContext = CONTEXT, agent: Agent = concierge
) -> ChatRequest:
    context = replace(context, messages=TALK[:seen])
    return build_request(agent, context, step=step, last=False, shorter=0)


def recall(place: int, message: Message) -> GeneratedAnswer | None:
    """What the engine wrote itself keeps its own tokens, as in a session."""
    if message.role != "assistant":
        return None
    text = WROTE[message.content or ""]
    return GeneratedAnswer(text, tuple(TOKENIZE(text)))


def rendered(asked: ChatRequest) -> Prompt:
    body = {"messages": list(asked.messages), "tools": list(asked.tools)}
    return TEMPLATE.render(parse_chat_call(json.loads(json.dumps(body))), recall)


def test_every_prompt_begins_with_all_tokens_of_the_one_before_and_of_its_answer() -> None:
    prompts = [rendered(request(seen, step)).tokens for seen, step in CALLS]
    for before, after, (seen, _) in zip(prompts, prompts[1:], CALLS, strict=False):
        written = TOKENIZE(WROTE[TALK[seen].content])
        assert after[: len(before)] == before
        assert after[len(before) : len(before) + len(written)] == written


def test_nothing_of_the_person_the_channel_or_the_tenant_stands_in_a_prompt() -> None:
    other = replace(
        CONTEXT, person_id="2", person_name="Grace", channel="whatsapp", cache_salt="pepper"
    )
    assert rendered(request(7, 1, other)).tokens == rendered(request(7, 1)).tokens


def test_the_order_in_which_tools_are_declared_in_code_changes_no_token() -> None:
    usual = request(1, 1)
    names = [tool["function"]["name"] for tool in usual.tools]
    assert names == sorted(names)
    shuffled = random.Random(1).sample(list(concierge.tools), len(concierge.tools))
    other = request(1, 1, agent=replace(concierge, tools=shuffled))
    assert json.dumps(other.tools) == json.dumps(usual.tools)
