"""Texts as tokens and back."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import pytest

from roost_inference.testing.puppet import CONTROL, PuppetEngine

USER = {"role": "user", "content": "hi"}


@pytest.fixture
async def real_http(real_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=real_url, timeout=60, trust_env=False) as client:
        yield client


@pytest.mark.parametrize(
    "text", ["Hello", "", "wörld 👩‍🚀 ∑", "a <|im_start|>b", "\n\n \t", "x" * 5000]
)
async def test_a_text_comes_back_from_its_tokens(real_http: httpx2.AsyncClient, text: str) -> None:
    body = {"prompt": text, "return_token_strs": True}
    made = (await real_http.post("/tokenize", json=body)).json()
    assert made["count"] == len(made["tokens"]) == len(made["token_strs"])
    back = (await real_http.post("/detokenize", json={"tokens": made["tokens"]})).json()
    assert back == {"prompt": text}


async def test_tokens_have_texts_only_if_asked_for(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/tokenize", json={"prompt": "a"})).json()["token_strs"] is None
    body = {"messages": [USER], "return_token_strs": True, "add_generation_prompt": False}
    texts = (await http.post("/tokenize", json=body)).json()["token_strs"]
    assert "".join(texts) == "<|user|>hi<|end|>"


async def test_bos_is_counted_where_the_models_texts_begin_with_it(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.model = replace(puppet.model, bos=CONTROL[0], adds_bos=True)
    for special, count in ((None, 3), (True, 3), (False, 2)):
        body = {"prompt": "ab", "add_special_tokens": special}
        assert (await http.post("/tokenize", json=body)).json()["count"] == count
    begun = {"prompt": f"{CONTROL[0]}ab"}
    assert (await http.post("/tokenize", json=begun)).json()["count"] == 3
    puppet.answer = "ok"
    for fields in ({}, {"add_special_tokens": False}):
        await http.post("/v1/completions", json={"prompt": "ab", **fields})
        assert (puppet.last.prompt_tokens[0] == 256) is (not fields)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [1.5]}, "tokens[0]"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [300]}, "tokens"),
        ("/tokenize", {}, "messages"),
        ("/tokenize", {"prompt": 7}, "prompt"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": "no"}, "add_special_tokens"),
        ("/tokenize", {"messages": [USER], "chat_template": "x"}, "chat_template"),
    ],
)
async def test_what_has_no_tokens_is_refused(
    http: httpx2.AsyncClient, path: str, body: object, param: str
) -> None:
    reply = await http.post(path, json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text


async def test_other_fields_are_named(http: httpx2.AsyncClient) -> None:
    for path, body in (
        ("/tokenize", {"prompt": "a", "colour": 1}),
        ("/tokenize", {"messages": [USER], "colour": 1}),
        ("/detokenize", {"tokens": [97], "colour": 1}),
    ):
        answer = (await http.post(path, json=body)).json()
        assert [warning["field"] for warning in answer["warnings"]] == ["colour"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"prompt": "a"}),
        ("/tokenize", {"messages": [USER]}),
        ("/detokenize", {"tokens": [97]}),
    ],
)
async def test_tokens_of_a_model_that_is_not_there_are_refused(
    http: httpx2.AsyncClient, path: str, body: dict[str, object]
) -> None:
    reply = await http.post(path, json={**body, "model": "another"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert (await http.post(path, json={**body, "model": "puppet"})).status_code == 200


async def test_the_wish_for_texts_is_true_or_false_for_messages_too(
    http: httpx2.AsyncClient,
) -> None:
    body = {"messages": [USER], "return_token_strs": "yes"}
    reply = await http.post("/tokenize", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "return_token_strs")
