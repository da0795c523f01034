"""The engine knows whether its template opens a block of reasoning, and says so."""

from collections.abc import Sequence

import pytest

from roost_inference.client.assembly import AnswerAssembly
from roost_inference.client.reasoning import open_block
from roost_inference.http.replies import Chunks, Wanted
from roost_inference.prompt.chat_template import ChatTemplate
from roost_inference.wire.parsing import parse_chat_call

USER = {"role": "user", "content": "hi"}
TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}<|assistant|>\n"


def tokens(text: str, special: bool) -> Sequence[int]:
    return list(text.encode())


@pytest.mark.parametrize(
    ("end", "tag"),
    [
        ("<think>\n", "<think>"),
        ("<think>\n\n</think>\n\n", ""),
        ("[THINK]", "[THINK]"),
        ("◁think▷", "◁think▷"),
        ("<|START_THINKING|>", "<|START_THINKING|>"),
        ("<|channel>thought", "<|channel>thought"),
        ("", ""),
    ],
)
def test_a_template_that_opens_a_block_is_known(end: str, tag: str) -> None:
    template = ChatTemplate(TURNS + end, tokenize=tokens)
    assert template.opening == tag
    prompt = template.render(parse_chat_call({"messages": [USER]}))
    assert open_block(prompt.text) == tag


@pytest.mark.parametrize(
    ("fields", "is_free"),
    [
        ({}, True),
        ({"response_format": {"type": "text"}}, True),
        ({"response_format": {"type": "json_object"}}, False),
        ({"tool_choice": "auto"}, True),
        ({"tool_choice": "required"}, False),
    ],
)
def test_an_answer_that_has_to_begin_with_something_else_has_no_reasoning(
    fields: dict[str, object], is_free: bool
) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    call = parse_chat_call({"messages": [USER], "tools": tools, **fields})
    assert call.begins_freely == is_free


def test_the_first_chunk_tells_it_and_the_client_listens() -> None:
    chunks = Chunks(id="1", model="m", created=0, wanted=Wanted(), opening="<think>")
    assert b'"opens_reasoning": "<think>"' in chunks.first()
    answer = AnswerAssembly("m")
    answer.add({"choices": [{"delta": {"content": ""}}], "opens_reasoning": "<think>"})
    shown = [
        answer.add({"choices": [{"delta": {"content": text}}]}) for text in ("why", "</think>Hi")
    ]
    answer.add({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    answer.end()
    assert [delta.replaces for delta in shown] == [False, False]
    assert (answer.completed().text, answer.completed().reasoning) == ("Hi", "why")
