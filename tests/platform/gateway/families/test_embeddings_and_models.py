"""Embeddings and the list of models, in OpenAI's client and in Anthropic's."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from openai import AsyncOpenAI
from sqlalchemy import select

from roost_inference.errors import InvalidRequest
from roost_platform.db import models
from roost_platform.gateway.families.embeddings.reading import (
    INPUT_TOKENS_MAX,
    INPUTS_MAX,
    read_embeddings,
)
from roost_platform.gateway.families.models.listing import FRESH_S, MODELS_MAX, ModelList
from roost_platform.gateway.keys.ports import GatewayKey
from roost_platform.testing.providers.fake_provider import (
    FakeProvider,
    Reply,
    fake_provider,
    json_reply,
)
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server

VECTOR = [0.5, -1.0, 2.0]
LISTED = [
    {"id": "big/one", "created": 5, "owned_by": "them", "context_length": 4096},
    {"id": "m", "meta": {"n_ctx_train": 2048}},
    {"no": "id"},
]


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as provider:
        provider.answers["/v1/models"] = lambda body: json_reply({"data": LISTED})
        yield provider


@pytest.fixture
async def gateway(tmp_path: Path, provider: FakeProvider) -> AsyncIterator[GatewayServer]:
    overrides: dict[str, Any] = {
        "providers": {
            "other": {"base_url": provider.url},
            "gone": {"base_url": "http://127.0.0.1:9", "connect_timeout_s": 0.2},
        },
        "models": {
            "vectors": {"targets": ["gone/m", "other/m"]},
            "sized": {"targets": ["other/m", "other/big/one"]},
        },
        "gateway": {"retries": 0},
    }
    async with gateway_server(tmp_path, overrides=overrides) as server:
        yield server


def client_of(gateway: GatewayServer, secret: str = "") -> AsyncOpenAI:
    key, base = secret or gateway.secret, f"{gateway.url}/v1"
    return AsyncOpenAI(api_key=key, base_url=base, max_retries=0)


def floats(body: Any, vector: Any = None) -> Reply:
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    count = 1 if isinstance(inputs[0], int) else len(inputs)
    given = VECTOR if vector is None else vector
    entries = [{"index": number, "embedding": given} for number in reversed(range(count))]
    return json_reply({"data": entries, "usage": {"prompt_tokens": 7, "total_tokens": 7}})


def _always(answer: Any, body: Any) -> Reply:
    return json_reply(answer)


async def test_vectors_come_in_either_form_through_the_router_and_are_counted(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    provider.answers["/v1/embeddings"] = floats
    async with client_of(gateway) as client:
        inputs: list[Any] = ["hi", ["a", "b"], [1, 2, 3], [[1], [2, 3]]]
        for one in inputs:
            # The client itself asks for base64 and unpacks it.
            answer = await client.embeddings.create(model="vectors", input=one)
            assert [entry.embedding for entry in answer.data] == [VECTOR] * len(answer.data)
            assert [entry.index for entry in answer.data] == list(range(len(answer.data)))
        assert answer.usage.total_tokens == 7
        packed = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
        provider.answers["/v1/embeddings"] = lambda body: floats(body, packed)
        plain = await client.embeddings.create(
            model="vectors", input="hi", encoding_format="float", dimensions=3
        )
        assert plain.data[0].embedding == VECTOR
        with pytest.raises(openai.BadRequestError) as short:
            await client.embeddings.create(model="vectors", input="hi", dimensions=2)
        assert short.value.param == "dimensions"
        with pytest.raises(openai.BadRequestError) as none:
            await client.embeddings.create(model="fast", input="hi")
        assert none.value.code == "embeddings_not_supported"
        # The engine's answer about embeddings says nothing about its chats.
        chat = await client.chat.completions.create(
            model="fast", messages=[{"role": "user", "content": "hi"}]
        )
        assert chat.choices
    await gateway.until_idle()
    async with gateway.database.read() as session:
        rows = list(await session.scalars(select(models.GatewayCall)))
    counted = [row for row in rows if row.family == "embeddings" and row.outcome == "ok"]
    assert len(counted) == 5 and {row.input_tokens for row in counted} == {7}
    assert {row.target for row in counted} == {"other/m"}
    assert all(row.output_tokens == 0 and row.held_tokens < 10 for row in counted)


async def test_a_key_without_money_gets_no_vectors(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    _, poor = await gateway.new_key("poor", budget_tokens=1)
    body = {"model": "vectors", "input": "a long text that costs more than one token"}
    response = await gateway.post("/v1/embeddings", body, secret=poor)
    assert response.status_code == 429
    assert [path for path, _ in provider.requests if path == "/v1/embeddings"] == []


async def test_what_is_no_vector_is_not_passed_on(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    broken: list[Any] = [None, [], ["x"], [True], "!!", "AAA=", {"a": 1}, [10**400], "AADAfw=="]
    answers: list[Any] = [{"data": [{"index": 0, "embedding": one}]} for one in broken]
    for answer in [*answers, {"data": []}, {"data": [{"index": 1, "embedding": VECTOR}]}, {}]:
        provider.answers["/v1/embeddings"] = partial(_always, answer)
        response = await gateway.post("/v1/embeddings", {"model": "other/m", "input": "hi"})
        code = response.json()["error"]["code"]
        assert (response.status_code, code) == (502, "unreadable_answer"), answer


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        # llama.cpp: test_embedding_invalid_input
        ({"input": []}, "input"),
        ({"input": {"content": "string"}}, "input"),
        ({"input": [12, "string"]}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": ["a"] * (INPUTS_MAX + 1)}, "input"),
        ({"input": [1] * (INPUT_TOKENS_MAX + 1)}, "input"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "user": 5}, "user"),
    ],
)
def test_a_request_for_embeddings_is_checked(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_embeddings({"model": "m", **fields})
    assert refused.value.param == param


async def test_both_clients_list_the_models_that_their_key_may_use(
    gateway: GatewayServer,
) -> None:
    async with client_of(gateway) as client:
        listed = {model.id: model.model_dump() async for model in client.models.list()}
        assert {"fast", "vectors", "sized", "other/m", "other/big/one"} <= set(listed)
        assert {"default", "roost"} <= set(listed)
        assert listed["roost/scripted"]["owned_by"] == "roost"
        assert listed["other/big/one"]["context_length"] == 4096
        assert listed["sized"]["max_model_len"] == 2048  # of its smallest target
        one = await client.models.retrieve("other/big/one")
        assert (one.id, one.created, one.owned_by) == ("other/big/one", 5, "them")
        for name in ("default", "roost", "scripted"):  # the last one only the engine knows
            own = await client.models.retrieve(name)
            assert (own.id, own.owned_by) == (name, "roost")
        for unknown in ("nobody", "other/nobody", "nowhere/m"):
            with pytest.raises(openai.NotFoundError) as refused:
                await client.models.retrieve(unknown)
            assert refused.value.code == "model_not_found"
    _, narrow = await gateway.new_key("narrow", models=("fast",))
    async with client_of(gateway, narrow) as client:
        assert [model.id async for model in client.models.list()] == ["fast"]
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("vectors")
    async with anthropic.AsyncAnthropic(
        api_key=gateway.secret, base_url=gateway.url, max_retries=0
    ) as claude:
        paged = [model.id async for model in claude.models.list(limit=2)]
        assert sorted(paged) == sorted(listed)
        kept = await claude.models.retrieve("sized")
        assert (kept.type, kept.display_name, kept.max_input_tokens) == ("model", "sized", 2048)
        with pytest.raises(anthropic.NotFoundError) as gone:
            await claude.models.retrieve("nobody")
        assert isinstance(gone.value.body, dict)
        assert gone.value.body["request_id"] == gone.value.request_id
        with pytest.raises(anthropic.AuthenticationError):
            await claude.with_options(api_key="sk-roost-no").models.list()


async def test_a_silent_provider_does_not_block_the_list_and_is_asked_once_a_minute(
    gateway: GatewayServer, provider: FakeProvider
) -> None:
    provider.answers["/v1/models"] = lambda body: Reply(end="never")
    now = 1000.0
    catalogue = gateway.app.serving.router.catalogue
    listing = ModelList(catalogue, lambda: now, wait_s=0.05)
    key = GatewayKey("k", "k")
    names = [model.name for model in await listing.all(key)]
    assert "fast" in names and not any(name.startswith("other/") for name in names)
    await listing.all(key)
    assert len(provider.requests) == 1  # it is still being asked
    await listing.close()

    provider.answers["/v1/models"] = lambda body: json_reply({"data": LISTED})
    listing = ModelList(catalogue, lambda: now)
    for _ in range(3):
        assert "other/m" in [model.name for model in await listing.all(key)]
    assert len(provider.requests) == 2
    many = [{"id": f"m{number}"} for number in range(MODELS_MAX + 5)]
    provider.answers["/v1/models"] = lambda body: json_reply({"data": many})
    now += FRESH_S
    assert "other/m" in [model.name for model in await listing.all(key)]  # the old list meanwhile
    async with asyncio.timeout(10):
        while listing._known["other"].asking is not None:
            await asyncio.sleep(0.01)
    names = [model.name for model in await listing.all(key)]
    assert sum(name.startswith("other/") for name in names) == MODELS_MAX
    await listing.close()
