"""A model that reads text alone is told of pictures, once its refusal is known without a try."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from roost_inference.errors import InvalidRequest
from roost_inference.testing.scripted import ScriptedEngine
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.config import ProviderConfig
from roost_platform.gateway.families.messages.reading import read_messages
from roost_platform.gateway.providers.engine import EngineProvider
from roost_platform.gateway.request import ModelRequest

KEY = "engine-key-of-the-test"
PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
PDF = {
    "type": "document",
    "title": "plan.pdf",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
}


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine(api_key=KEY) as server:
        yield server


def asked(*content: Any, **fields: Any) -> ModelRequest:
    message = {"role": "user", "content": list(content)}
    return read_messages({"max_tokens": 9, "messages": [message], **fields}, {})


async def test_pictures_and_files_become_lines_of_text(engine: ScriptedEngine) -> None:
    config = ProviderConfig(base_url=engine.base_url, api_key=SecretStr(KEY))
    provider = EngineProvider("other", config)
    request = asked({"type": "text", "text": "what is this?"}, PICTURE, PDF)
    for _ in range(2):
        answer = Answer()
        async for batch in provider.stream(request, "scripted", {}):
            answer.take(batch)
        text = answer.choices[0].text
        assert "what is this?" in text
        assert "image/png" in text and "plan.pdf" in text and "iVBOR" not in text
    assert len(engine.requests) == 2
    assert await provider.count_tokens(request, "scripted") is not None
    await provider.close()


async def test_another_refusal_stays_one(engine: ScriptedEngine) -> None:
    config = ProviderConfig(base_url=engine.base_url, api_key=SecretStr(KEY))
    provider = EngineProvider("other", config)
    told = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "x"}}]
    wrong = {"messages": [{"role": "user", "content": told}], "temperature": 9}
    with pytest.raises(InvalidRequest) as refused:
        async for _ in provider.stream(ModelRequest("chat", "m", wrong), "scripted", {}):
            pass
    assert engine.requests == [] and refused.value.http_status == 400
    await provider.close()
