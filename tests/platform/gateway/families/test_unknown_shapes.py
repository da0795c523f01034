"""Whatever a client or a provider sends, the answer is an answer or an error in its form."""

import contextlib
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.events import Finish, TextDelta
from roost_platform.gateway.families.chat.reading import read_chat
from roost_platform.gateway.families.chat.writing import ChatWriter, completion
from roost_platform.gateway.families.completions.reading import read_completion
from roost_platform.gateway.families.completions.writing import CompletionWriter
from roost_platform.gateway.families.completions.writing import completion as older_completion
from roost_platform.gateway.providers.chat_decoder import ChatDecoder
from roost_platform.testing.providers.gateway import gateway_server

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "logprobs": True}
OLDER = {"model": "m", "prompt": "hi", "logprobs": 2, "n": 2, "best_of": 3}
TOKEN = {"token": "a", "logprob": -1}
JUNK: list[Any] = [
    *(None, True, 0, 5, -1, 1.5, 10**30, "", "x", "length", "tool_calls", [], {}, [1], ["a"], [[]]),
    *([{}], {"a": 1}, {"content": 5}, {"content": ["a", 5]}, {"name": 5, "arguments": 5}),
    *({"content": [{"token": 5, "logprob": "x"}]}, {"content": [{**TOKEN, "top_logprobs": 5}]}),
    {"content": [{**TOKEN, "top_logprobs": [5, {"token": [], "logprob": {}}, TOKEN]}]},
    *([{"function": 5}], [{"function": {"name": [], "arguments": {}}, "index": {}}]),
    *([{"type": 5, "text": "a"}], [{"type": "text", "text": 5}], [{"content": [5, {}]}]),
]
ANY = st.sampled_from(JUNK)


def some(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=known)


MESSAGE = ANY | some(
    content=ANY, reasoning=ANY, refusal=ANY, tool_calls=ANY, function_call=ANY, role=ANY
)
CHOICE = some(
    index=st.integers(0, 2) | ANY, delta=MESSAGE, message=MESSAGE, finish_reason=ANY, logprobs=ANY
)
USAGE = ANY | some(prompt_tokens=ANY, completion_tokens=ANY, prompt_tokens_details=ANY)
CHUNK = ANY | some(
    **{"choices": st.lists(CHOICE, min_size=1, max_size=2) | ANY, "usage": USAGE, "model": ANY},
    **dict.fromkeys(("id", "system_fingerprint", "opens_reasoning", "metrics"), ANY),
)
FIRST = {"choices": [{"delta": {"content": "a"}}]}


@settings(max_examples=400, deadline=None)
@given(st.lists(CHUNK, max_size=3), st.booleans())
def test_any_json_of_a_provider_becomes_an_answer_or_an_error(chunks: list[Any], end: bool) -> None:
    decoder, answer = ChatDecoder(), Answer()
    writers = (
        ChatWriter(read_chat(BODY, {}), BODY, "1"),
        CompletionWriter(read_completion(OLDER, {}), OLDER, "1"),
    )
    with contextlib.suppress(EngineError):
        for chunk in [FIRST, *chunks]:
            events = decoder.feed(chunk)
            answer.take(events)
            for writer in writers:
                writer.write(events)
        if end:
            decoder.end_mark()
        answer.take(decoder.end())
        completion(read_chat(BODY, {}), BODY, "1", answer)
        older_completion(read_completion(OLDER, {}), OLDER, "1", answer)


async def test_every_refusal_is_in_the_form_of_the_family_and_has_an_id(tmp_path: Path) -> None:
    user = [{"role": "user", "content": "hi"}]
    async with gateway_server(tmp_path) as gateway:

        async def status(method: str, path: str, headers: dict[str, str], content: bytes) -> int:
            response = await gateway.client.request(
                method, f"{gateway.url}{path}", headers=headers, content=content
            )
            assert response.headers["x-request-id"] == headers.get("x-request-id", "").strip() or (
                response.headers["x-request-id"].startswith("req_")
            )
            if response.status_code != 200:
                assert set(response.json()["error"]) == {"message", "type", "param", "code"}
            return int(response.status_code)

        ours = {"authorization": f"Bearer {gateway.secret}", "x-request-id": "mine"}
        chat = "/v1/chat/completions"
        assert await status("POST", chat, ours, b"{") == 400
        assert await status("POST", chat, ours, b"[]") == 400
        assert await status("POST", chat, ours, b'{"messages": "x", "temperature": NaN}') == 400
        assert await status("POST", chat, {}, b"{}") == 401
        assert await status("GET", chat, ours, b"") == 405
        assert await status("POST", "/v1/nothing", ours, b"{}") == 404
        assert await status("POST", "/v1/completions", ours, b'{"prompt": 5}') == 400
        assert await status("POST", "/v1/embeddings", ours, b'{"input": 5}') == 400
        assert await status("GET", "/v1/models/nobody", ours, b"") == 404
        assert await status("GET", "/v1/models", ours, b"") == 200
        # What only the engine refuses keeps its name on the way back.
        body = {"model": "fast", "messages": user, "tools": [{"type": "web_search"}], "top_p": 0}
        response = await gateway.post(chat, body)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "top_p")


def test_a_last_chunk_that_repeats_the_answer_or_names_its_end_oddly_ends_it_once() -> None:
    text = {"role": "assistant", "content": "a"}
    for last in (
        {"delta": {}, "message": text, "finish_reason": "stop"},
        {"delta": {}, "finishReason": "STOP"},
    ):
        decoder = ChatDecoder()
        events = [*decoder.feed(FIRST), *decoder.feed({"choices": [last]}), *decoder.end()]
        assert [one.text for one in events if isinstance(one, TextDelta)] == ["a"]
        assert [one.reason for one in events if isinstance(one, Finish)] == ["stop"]
