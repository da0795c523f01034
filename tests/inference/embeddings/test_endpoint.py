"""POST /v1/embeddings in OpenAI's form, bounded, and never in the way of answers."""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from numpy.typing import NDArray

from roost_inference.config import EngineConfig
from roost_inference.embeddings import service as service_module
from roost_inference.embeddings.call import INPUTS_MAX
from roost_inference.embeddings.service import REQUESTS_WAITING_MAX, EmbeddingService
from roost_inference.errors import EngineUnavailable
from roost_inference.http.chat_service import EngineChatService
from roost_inference.http.listener import listening
from roost_inference.http.routes import ServiceHolder, build_app
from roost_inference.llama.embedder import LlamaEmbedder
from roost_inference.loading import open_embeddings
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.testing.tiny_gguf import TinyShape, write_tiny

PATH = "/v1/embeddings"
DIMENSIONS = 64


class SlowEmbedder:
    """Makes a vector only when the test lets it."""

    name, pooling, dimensions, context_length, vocabulary_size = "slow", "mean", 4, 64, 300

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.slices: list[int] = []

    def tokenize(self, text: str) -> list[int]:
        return [3 + byte for byte in text.encode()]

    def embed(self, texts: Sequence[Any]) -> NDArray[np.float32]:
        self.begun.set()
        assert self.go_on.wait(30)
        self.slices.append(len(texts))
        return np.ones((len(texts), 4), np.float32)

    def interrupt(self) -> None:
        self.go_on.set()

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingService]:
    path = write_tiny(
        tmp_path_factory.mktemp("bert") / "tiny-bert.gguf", "bert", TinyShape(pooling=1)
    )
    service = EmbeddingService(LlamaEmbedder(path, context_length=128))
    yield service
    service.close()


async def client_of(service: EmbeddingService | None) -> AsyncIterator[httpx2.AsyncClient]:
    puppet = PuppetEngine()
    puppet.answer = "hello"
    holder = ServiceHolder(EngineChatService(puppet), service)
    async with (
        listening(build_app(holder, EngineConfig(max_body_bytes=2_000_000))) as url,
        httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client,
    ):
        yield client


@pytest.fixture
async def http(embeddings: EmbeddingService) -> AsyncIterator[httpx2.AsyncClient]:
    async for client in client_of(embeddings):
        yield client


async def vectors(http: httpx2.AsyncClient, **body: Any) -> list[Any]:
    response = await http.post(PATH, json=body)
    assert response.status_code == 200, response.text
    return [entry["embedding"] for entry in response.json()["data"]]


async def test_a_text_a_list_tokens_and_lists_of_tokens_are_answered_in_order(
    http: httpx2.AsyncClient, embeddings: EmbeddingService
) -> None:
    (one,) = await vectors(http, input="seven hills")
    two = await vectors(http, input=["a ferry", "seven hills"], model="tiny-bert")
    assert np.allclose(two[1], one, atol=1e-4) and not np.allclose(two[0], one, atol=1e-2)
    tokens = embeddings._embedder.tokenize("seven hills")
    (from_tokens,) = await vectors(http, input=tokens)
    lists = await vectors(http, input=[tokens, tokens[:3]])
    assert np.allclose(from_tokens, one, atol=1e-4) and np.allclose(lists[0], one, atol=1e-4)
    assert len(one) == DIMENSIONS and abs(np.linalg.norm(one) - 1) < 1e-4


async def test_usage_counts_all_tokens_and_the_model_is_named(http: httpx2.AsyncClient) -> None:
    response = await http.post(PATH, json={"input": [[5, 6, 7], [8]]})
    body = response.json()
    assert body["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert body["model"] == "tiny-bert" and body["object"] == "list"
    assert [entry["index"] for entry in body["data"]] == [0, 1]


async def test_base64_holds_the_same_numbers(http: httpx2.AsyncClient) -> None:
    (plain,) = await vectors(http, input="hills", encoding_format="float")
    (packed,) = await vectors(http, input="hills", encoding_format="base64")
    assert np.array_equal(np.frombuffer(base64.b64decode(packed), "<f4"), np.float32(plain))


async def test_fewer_dimensions_are_the_first_ones_at_length_one(http: httpx2.AsyncClient) -> None:
    (whole,) = await vectors(http, input="hills")
    (short,) = await vectors(http, input="hills", dimensions=16)
    wanted = np.array(whole[:16]) / np.linalg.norm(whole[:16])
    assert len(short) == 16 and np.allclose(short, wanted, atol=1e-5)


async def test_openais_client_reads_the_vectors(http: httpx2.AsyncClient) -> None:
    client = openai.AsyncOpenAI(base_url=f"{http.base_url}/v1", api_key="none", max_retries=0)
    async with client:
        answer = await client.embeddings.create(model="tiny-bert", input=["a", "b"])
    assert [len(entry.embedding) for entry in answer.data] == [DIMENSIONS] * 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", 5]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": [10**30]}, "input"),
        ({"input": ["a"] * (INPUTS_MAX + 1)}, "input"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": DIMENSIONS + 1}, "dimensions"),
        ({"input": "a", "model": 5}, "model"),
        ({"input": "a", "truncate": "END"}, "truncate"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_its_field(
    http: httpx2.AsyncClient, body: dict[str, Any], field: str
) -> None:
    response = await http.post(PATH, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == field


async def test_a_text_longer_than_the_context_is_refused_and_named(
    http: httpx2.AsyncClient,
) -> None:
    response = await http.post(PATH, json={"input": ["short", "long " * 100]})
    error = response.json()["error"]
    assert response.status_code == 400 and error["code"] == "context_length_exceeded"
    assert "tokens at 1; the model reads at most 128" in error["message"]


async def test_too_many_tokens_in_all_are_refused(
    http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "REQUEST_TOKENS_MAX", 100)
    response = await http.post(PATH, json={"input": ["x" * 60, "y" * 60]})
    assert response.status_code == 400 and "more than 100 tokens" in response.text


async def test_the_model_is_listed_behind_the_one_that_answers_and_shown_in_health(
    http: httpx2.AsyncClient,
) -> None:
    listed = (await http.get("/v1/models")).json()["data"]
    assert [entry["id"] for entry in listed][1:] == ["tiny-bert"]
    assert listed[1]["task"] == "embed" and listed[1]["dimensions"] == DIMENSIONS
    assert (await http.get("/v1/models/tiny-bert")).status_code == 200
    health = (await http.get("/health")).json()["embeddings"]
    assert health["pooling"] == "mean" and health["context_length"] == 128


async def test_another_models_name_is_not_found(http: httpx2.AsyncClient) -> None:
    response = await http.post(PATH, json={"input": "a", "model": "ada"})
    assert response.status_code == 404 and "tiny-bert" in response.json()["error"]["message"]


async def test_without_an_embedding_model_the_setting_is_named() -> None:
    async for http in client_of(None):
        response = await http.post(PATH, json={"input": "a"})
        assert response.status_code == 404
        assert "ROOST_ENGINE__EMBEDDING_MODEL" in response.json()["error"]["message"]


def test_a_missing_file_of_an_embedding_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"none\.gguf does not exist"):
        open_embeddings(EngineConfig(embedding_model=tmp_path / "none.gguf"))


# Beside others


async def test_chats_are_answered_while_vectors_are_computed() -> None:
    slow = SlowEmbedder()
    service = EmbeddingService(slow)
    async for http in client_of(service):
        waiting = asyncio.create_task(http.post(PATH, json={"input": "a"}))
        assert await asyncio.to_thread(slow.begun.wait, 30)
        chat = {"messages": [{"role": "user", "content": "hi"}]}
        assert (await http.post("/v1/chat/completions", json=chat)).status_code == 200
        slow.go_on.set()
        assert (await waiting).status_code == 200
    service.close()


async def test_a_short_request_does_not_wait_for_all_of_a_long_one() -> None:
    slow = SlowEmbedder()
    service = EmbeddingService(slow)
    async for http in client_of(service):
        long = asyncio.create_task(http.post(PATH, json={"input": ["x" * 60] * 20}))
        assert await asyncio.to_thread(slow.begun.wait, 30)
        short = asyncio.create_task(http.post(PATH, json={"input": ["a", "b"]}))
        while service.report()["waiting"] != 1:
            await asyncio.sleep(0.01)
        slow.go_on.set()
        assert (await short).status_code == (await long).status_code == 200
    assert 2 in slow.slices[:4], "its one slice came between those of the long request"
    service.close()


async def test_requests_beyond_the_queue_get_a_429() -> None:
    slow = SlowEmbedder()
    service = EmbeddingService(slow)
    async for http in client_of(service):
        first = asyncio.create_task(http.post(PATH, json={"input": "a"}))
        assert await asyncio.to_thread(slow.begun.wait, 30)
        rest = [
            asyncio.create_task(http.post(PATH, json={"input": "a"}))
            for _ in range(REQUESTS_WAITING_MAX + 3)
        ]
        while service.report()["waiting"] != REQUESTS_WAITING_MAX:
            await asyncio.sleep(0.01)
        while sum(task.done() for task in rest) < 3:  # those that found no place
            await asyncio.sleep(0.01)
        slow.go_on.set()
        codes = [answer.status_code for answer in await asyncio.gather(first, *rest)]
        assert codes.count(429) == 3 and codes.count(200) == REQUESTS_WAITING_MAX + 1
    service.close()


async def test_a_client_that_leaves_ends_its_request_after_the_slice() -> None:
    slow = SlowEmbedder()
    service = EmbeddingService(slow)
    async for http in client_of(service):
        leaving = asyncio.create_task(http.post(PATH, json={"input": ["x" * 60] * 20}))
        assert await asyncio.to_thread(slow.begun.wait, 30)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await asyncio.sleep(0.3)
        slow.go_on.set()
        assert (await http.post(PATH, json={"input": "a"})).status_code == 200
        assert len(slow.slices) <= 3, "nineteen slices were not computed"
    service.close()


async def test_a_service_that_stops_says_so_to_those_that_wait() -> None:
    slow = SlowEmbedder()
    service = EmbeddingService(slow)
    async for http in client_of(service):
        waiting = [asyncio.create_task(http.post(PATH, json={"input": "a"})) for _ in range(3)]
        assert await asyncio.to_thread(slow.begun.wait, 30)
        while service.report()["waiting"] != 2:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(service.close)
        codes = [answer.status_code for answer in await asyncio.gather(*waiting)]
        assert set(codes) <= {200, 503} and 503 in codes
        assert (await http.post(PATH, json={"input": "a"})).status_code == 503
