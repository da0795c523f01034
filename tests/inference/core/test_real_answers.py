"""Answers with options on the real kernels and the bundled model, over the wire."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from roost_inference.engine import Engine
from roost_inference.http.listener import listening
from roost_inference.server import build_server

CHAT = "/v1/chat/completions"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string", "maxLength": 30},
                        "country": {"type": "string", "maxLength": 30},
                    },
                    "required": ["city", "country"],
                },
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["place", "unit"],
        },
    },
}


@pytest.fixture
async def real(engine: Engine) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        listening(build_server(engine)) as base_url,
        httpx2.AsyncClient(base_url=base_url, timeout=100, trust_env=False) as client,
    ):
        yield client


async def ask(http: httpx2.AsyncClient, question: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    body = {"messages": messages, "max_tokens": 24, "temperature": 0, **fields}
    response = await http.post(CHAT, json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def texts(answer: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in answer["choices"]]


async def test_choices_of_a_real_model_share_their_prompt(
    real: httpx2.AsyncClient, engine: Engine
) -> None:
    computed = engine.stats().prompt_tokens_total - engine.stats().cached_tokens_total
    answer = await ask(
        real,
        "Name an animal, any animal. " * 12,
        **{"n": 4, "temperature": 1.0, "seed": 3, "cache_salt": "choices", "ignore_eos": True},
    )
    stats = engine.stats()
    length = answer["usage"]["prompt_tokens"]
    assert length > 80 and answer["usage"]["completion_tokens"] == 4 * 24
    assert stats.prompt_tokens_total - stats.cached_tokens_total - computed == length + 3
    assert len(set(texts(answer))) == 4 and all(texts(answer))
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]


async def test_logprobs_of_a_real_model_join_to_the_text(real: httpx2.AsyncClient) -> None:
    regex = "(🙂|🦉|é|日本|naïve ){6}"
    stops: tuple[list[str], ...] = ([], ["日", "ve"])
    for stop in stops:
        answer = await ask(
            real,
            "Show me emojis",
            **{"logprobs": True, "top_logprobs": 3, "temperature": 1.0, "seed": 1},
            **{"max_tokens": 60, "structured_outputs": {"regex": regex}, "stop": stop},
        )
        (choice,) = answer["choices"]
        joined = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"])
        text = choice["message"]["content"].encode()
        assert joined.startswith(text) and choice["finish_reason"] == "stop"
        if not stop:
            assert joined == text
            assert any("\ufffd" in entry["token"] for entry in choice["logprobs"]["content"]), (
                "no character spans tokens, so nothing was shown"
            )


@pytest.mark.parametrize("least", [1, 20])
async def test_a_least_length_holds_on_a_real_model(real: httpx2.AsyncClient, least: int) -> None:
    answer = await ask(
        real, "Answer with one word: yes or no?", min_tokens=least, return_token_ids=True
    )
    assert answer["usage"]["completion_tokens"] >= least
    (choice,) = answer["choices"]
    assert len(choice["token_ids"]) == answer["usage"]["completion_tokens"]


async def test_a_stop_token_of_a_real_model_is_named(
    real: httpx2.AsyncClient, engine: Engine
) -> None:
    plain = await ask(real, "Count to ten.", return_token_ids=True, cache_salt="first")
    said = plain["choices"][0]["token_ids"]
    stop = next(token for token in said[3:] if token not in said[:3])
    stopped = await ask(
        real, "Count to ten.", return_token_ids=True, cache_salt="second", stop_token_ids=[stop]
    )
    (choice,) = stopped["choices"]
    assert (choice["finish_reason"], choice.get("stop_reason")) == ("stop", stop), (said, choice)
    assert choice["token_ids"][-1] == stop
    assert plain["choices"][0]["message"]["content"].startswith(choice["message"]["content"])
    assert stopped["prompt_token_ids"] == plain["prompt_token_ids"]


async def test_a_bad_word_is_not_said_by_a_real_model(real: httpx2.AsyncClient) -> None:
    question = "What is the capital of France?"
    assert "Paris" in texts(await ask(real, question))[0]
    assert "Paris" not in texts(await ask(real, question, bad_words=["Paris"]))[0]


@pytest.mark.parametrize("choice", ["required", "named"])
async def test_a_real_model_calls_a_forced_tool_once_and_by_its_schema(
    real: httpx2.AsyncClient, choice: str
) -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    for seed in range(3):
        answer = await ask(
            real,
            "What is the weather in Dallas, in fahrenheit?",
            tools=[WEATHER],
            tool_choice=named if choice == "named" else "required",
            **{"max_tokens": 200, "temperature": 1.0, "seed": seed},
        )
        (found,) = answer["choices"]
        assert found["finish_reason"] == "tool_calls"
        (call,) = found["message"]["tool_calls"]
        arguments = json.loads(call["function"]["arguments"])
        assert set(arguments) == {"place", "unit"} and set(arguments["place"]) == {
            "city",
            "country",
        }


async def test_a_structured_output_of_a_real_model_has_its_form(real: httpx2.AsyncClient) -> None:
    for form, fits in (
        ({"choice": ["positive", "negative"]}, {"positive", "negative"}.__contains__),
        ({"regex": r"\w+@\w+\.com"}, lambda text: text.endswith(".com") and "@" in text),
        ({"grammar": 'root ::= "SELECT " [a-z]+ ";"'}, lambda text: text[-1] == ";"),
    ):
        (text,) = texts(
            await ask(
                real, "vLLM is wonderful!", structured_outputs=form, max_tokens=80, temperature=0.8
            )
        )
        assert fits(text) or len(text) > 60, text
