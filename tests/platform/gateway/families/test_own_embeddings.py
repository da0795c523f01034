"""Embeddings of the bundled core through the gateway, by name and by alias."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from openai import AsyncOpenAI

from roost_inference.config import EngineConfig
from roost_inference.embeddings.service import EmbeddingService
from roost_inference.http.chat_service import EngineChatService
from roost_inference.http.listener import listening
from roost_inference.http.routes import ServiceHolder, build_app
from roost_inference.llama.embedder import LlamaEmbedder
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.testing.tiny_gguf import TinyShape, write_tiny
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    path = write_tiny(tmp_path / "tiny-bert.gguf", "bert", TinyShape(pooling=1))
    service = EmbeddingService(LlamaEmbedder(path, context_length=256))
    app = build_app(ServiceHolder(EngineChatService(PuppetEngine()), service), EngineConfig())
    async with listening(app) as url:
        overrides = {
            "engine": {"url": f"{url}/v1"},
            "models": {"vectors": {"targets": ["roost/tiny-bert"]}},
        }
        async with gateway_server(tmp_path, overrides=overrides) as server:
            yield server
    service.close()


@pytest.mark.parametrize("name", ["tiny-bert", "vectors", "roost/tiny-bert"])
async def test_the_bundled_core_makes_vectors_for_the_gateways_clients(
    gateway: GatewayServer, name: str
) -> None:
    client = AsyncOpenAI(api_key=gateway.secret, base_url=f"{gateway.url}/v1", max_retries=0)
    async with client:
        answer = await client.embeddings.create(model=name, input=["seven hills", "a ferry"])
        short = await client.embeddings.create(model=name, input="seven hills", dimensions=8)
    assert [len(entry.embedding) for entry in answer.data] == [64, 64]
    assert abs(np.linalg.norm(answer.data[0].embedding) - 1) < 1e-4
    assert answer.usage.prompt_tokens > 10 and len(short.data[0].embedding) == 8


async def test_the_model_that_answers_makes_none(gateway: GatewayServer) -> None:
    response = await gateway.post("/v1/embeddings", {"model": "puppet", "input": "a"})
    assert response.status_code in (400, 404), response.text
    assert "vectors" in response.text or "embeddings" in response.text


async def test_the_engine_s_own_names_have_the_window_of_the_model_that_answers(
    gateway: GatewayServer,
) -> None:
    client = AsyncOpenAI(api_key=gateway.secret, base_url=f"{gateway.url}/v1", max_retries=0)
    async with client:
        listed = [entry.model_dump() for entry in (await client.models.list()).data]
    windows = {entry["id"]: entry.get("max_model_len") for entry in listed}
    assert windows["roost"] == windows["default"] == windows["roost/puppet"] != 256
    assert windows["vectors"] == windows["roost/tiny-bert"] == 256
