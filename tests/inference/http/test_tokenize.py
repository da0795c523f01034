"""/tokenize counts a prompt as an answer to it does, in vLLM's form."""

from typing import Any

import httpx2

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "description": "Look at something.",
            "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
        },
    }
]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Look at the sky, please."},
]


async def test_a_prompt_has_the_tokens_that_its_answer_counts(real_url: str) -> None:
    cases: list[dict[str, Any]] = [{"messages": MESSAGES}, {"messages": MESSAGES, "tools": TOOLS}]
    for body in cases:
        async with httpx2.AsyncClient(base_url=real_url, timeout=30, trust_env=False) as http:
            counted = (await http.post("/tokenize", json=body)).json()
            answer = await http.post("/v1/chat/completions", json={**body, "max_tokens": 1})
        assert counted["count"] == answer.json()["usage"]["prompt_tokens"]
        assert len(counted["tokens"]) == counted["count"]
        assert counted["max_model_len"] == 4096


async def test_a_text_is_tokenized_as_it_is(http: httpx2.AsyncClient) -> None:
    one = (await http.post("/tokenize", json={"prompt": "Hello there"})).json()
    two = (await http.post("/tokenize", json={"prompt": "Hello there, my friend"})).json()
    assert 0 < one["count"] < two["count"]


async def test_what_is_neither_is_refused(http: httpx2.AsyncClient) -> None:
    bodies: list[Any] = [{}, {"prompt": 5}, {"messages": []}, []]
    for body in bodies:
        assert (await http.post("/tokenize", json=body)).status_code == 400
