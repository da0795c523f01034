"""Odd pieces of answers, as public reports show them of real engines and of proxies before them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roost_inference.client.assembly import UNFINISHED, AnswerAssembly, AnswerUnfinished, Completed
from roost_inference.client.dialects.ends import without_end_tokens
from roost_inference.client.events import event_batches
from roost_inference.errors import EngineError, EngineFailed, EngineRefused, EngineUnavailable


def chunk(delta: Any = None, reason: str | None = None, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason, **choice}]}


def stream(*pieces: Any) -> str:
    said = (one if isinstance(one, str) else json.dumps(one) for one in pieces)
    return "".join(f"data: {one}\n\n" for one in said)


async def read(body: str) -> Completed:
    async def parts() -> AsyncIterator[bytes]:
        data = body.encode()
        for start in range(0, len(data), 7):
            yield data[start : start + 7]

    answer = AnswerAssembly("m", ("f",))
    shown = ""
    async for batch in event_batches(parts()):
        for event in batch:
            if event.is_end:
                answer.end_mark()
                break
            delta = answer.add(event.value, is_event_error=event.is_error)
            shown = delta.text if delta.replaces else shown + delta.text
    last = answer.end()
    shown = last.text if last.replaces else shown + last.text
    completed = answer.completed()
    assert shown == completed.text
    return completed


HI = {"content": "Hi"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        # Gemini's last chunk has the field under its own name.
        (stream(chunk(HI), {"choices": [{"delta": {}, "finishReason": "STOP"}]}), "stop"),
        (stream(chunk(HI, "null"), chunk({}, "COMPLETE")), "stop"),
        (stream(chunk(HI, "eos_token")), "stop"),
        (stream(chunk(HI, "guardrail_intervened")), "content_filter"),
        # Each chunk says "stop" before the answer is over.
        (stream(chunk({"content": "H"}, "stop"), chunk({"content": "i"}, "stop")), "stop"),
        # The last chunk repeats the whole message beside an empty delta.
        (stream(chunk(HI), chunk({}, "stop", message={"role": "assistant", **HI})), "stop"),
        (stream(chunk(HI), chunk(None, "stop", message=HI)), "stop"),
        # Signs of life that are no JSON of an answer.
        (stream("ping", "[keep-alive]", "null", chunk(HI, "stop")), "stop"),
        # All chunks as one list.
        (json.dumps([chunk({"content": "H"}), chunk({"content": "i"}, "stop")]), "stop"),
        # Control tokens of a wrong template.
        (stream(chunk({"content": "Hi<|im"}), chunk({"content": "_end|>\n"}, "stop")), "stop"),
        (stream(chunk({"content": "Hi\n<|eot_id|></s>"}, "stop")), "stop"),
    ],
)
async def test_odd_pieces_make_the_same_answer(body: str, reason: str) -> None:
    completed = await read(body)
    assert (completed.text, completed.finish_reason) == ("Hi", reason)


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (
            stream(chunk(HI), chunk({}, "error", error={"code": 502, "message": "Upstream died"})),
            EngineUnavailable,
            "Upstream died",
        ),
        (
            stream(chunk(HI), {"choices": [], "x_groq": {"error": "over capacity"}}),
            EngineFailed,
            "over capacity",
        ),
        (
            stream(chunk(HI), {"base_resp": {"status_code": 1027, "status_msg": "sensitive"}}),
            EngineFailed,
            "sensitive",
        ),
        (
            json.dumps({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
            EngineRefused,
            "insufficient balance",
        ),
        (
            json.dumps({"code": "InvalidApiKey", "message": "Invalid API-key provided."}),
            EngineRefused,
            "Invalid API-key",
        ),
        (json.dumps({"error_code": 17, "error_msg": "daily limit"}), EngineFailed, "daily limit"),
        (json.dumps({"error": ["no memory", "try later"]}), EngineFailed, "no memory; try later"),
        (
            stream(chunk({"content": ""}, "function_call_filter: MALFORMED_FUNCTION_CALL")),
            EngineFailed,
            "malformed_function_call",
        ),
    ],
)
async def test_an_error_inside_an_answer_is_told_wherever_it_stands(
    body: str, kind: type[EngineError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await read(body)


async def test_counts_of_tokens_are_read_under_every_name() -> None:
    groq = {"x_groq": {"usage": {"prompt_tokens": 5, "completion_tokens": 2}}}
    plain = {"usage": {"input_tokens": 5, "output_tokens": 2}}
    for usage in (groq, plain):
        completed = await read(stream(chunk(HI, "stop"), {"choices": [], **usage}))
        assert (completed.prompt_tokens, completed.completion_tokens) == (5, 2)


async def test_a_call_that_is_announced_and_does_not_come_is_no_answer() -> None:
    with pytest.raises(EngineFailed, match="names none"):
        await read(stream(chunk({"content": " "}), chunk({}, "tool_calls")))
    with pytest.raises(AnswerUnfinished) as raised:
        await read(stream(chunk({"content": "Let me look."}), chunk({}, "tool_calls")))
    assert raised.value.completed.finish_reason == UNFINISHED


def call(arguments: str, id: str = "x", name: str | None = "f") -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return chunk({"tool_calls": [{"index": 0, "id": id, "function": function}]})


@pytest.mark.parametrize(
    "body",
    [
        stream(call('{"a": 1}'), call('{"a": 1}'), chunk({}, "tool_calls")),
        stream(call('{"a"'), call(": 1}", id="another", name=None), chunk({}, "tool_calls")),
    ],
)
async def test_a_call_that_comes_again_or_under_other_ids_is_one_call(body: str) -> None:
    completed = await read(body)
    assert [(one.name, one.arguments) for one in completed.tool_calls] == [("f", '{"a": 1}')]


@pytest.mark.parametrize(
    "text",
    [
        "ChatML ends with <|im_end|>",
        "It is `<|im_end|>`",
        "<s>old</s>",
        "Use `</s>",
        "<|im_end|> comes first",
        "plain",
        "",
    ],
)
def test_tokens_that_an_answer_speaks_of_stay(text: str) -> None:
    assert without_end_tokens(text) == text
