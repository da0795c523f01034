"""Completions of plain text: of texts and tokens, several at once, echoed, streamed."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest

from roost_inference.errors import EngineFailed, QueueFull
from roost_inference.http.plain_text.replies import TextOffsets
from roost_inference.request import TokenLogprob
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.wire.completion_call import CHAT_ONLY, CHOICES_MAX

PATH = "/v1/completions"


@pytest.fixture
async def real(real_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{real_url}/v1", api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
async def strict(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="x", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


async def chunks(http: httpx2.AsyncClient, **fields: Any) -> list[dict[str, Any]]:
    reply = await http.post(PATH, json={"prompt": "Once", "stream": True, **fields})
    assert reply.status_code == 200, reply.text
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_the_same_prompt_in_every_form_goes_on_alike(real: openai.AsyncOpenAI) -> None:
    text = "The capital of France is"
    tokens = (await real.post("/../tokenize", body={"prompt": text}, cast_to=object))["tokens"]  # type: ignore[index]
    forms: list[Any] = [text, [text], tokens, [tokens]]
    answers = [
        await real.completions.create(model="", prompt=form, max_tokens=6, temperature=0)
        for form in forms
    ]
    assert {answer.choices[0].text for answer in answers} == {answers[0].choices[0].text}
    assert {answer.usage.prompt_tokens for answer in answers if answer.usage} == {len(tokens)}


async def test_a_stream_and_a_whole_answer_agree_choice_by_choice(
    real: openai.AsyncOpenAI,
) -> None:
    wanted: dict[str, Any] = {
        "model": "",
        "prompt": ["Once upon a time", "The sea is"],
        "max_tokens": 5,
        "n": 2,
        "seed": 5,
        "echo": True,
    }
    whole = await real.completions.create(**wanted)
    texts = [""] * 4
    async for chunk in await real.completions.create(**wanted, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    starts = ["Once upon a time", "Once upon a time", "The sea is", "The sea is"]
    for choice, text, start in zip(whole.choices, texts, starts, strict=True):
        assert choice.text.startswith(start) and text.startswith(start)
        assert len(choice.text) > len(start)
        assert choice.finish_reason == "length"
    assert whole.choices[0].text != whole.choices[1].text
    assert whole.usage is not None and whole.usage.completion_tokens == 20


async def test_logprobs_have_the_older_shape(real: openai.AsyncOpenAI) -> None:
    answer = await real.completions.create(
        model="", prompt="One, two, three,", max_tokens=5, temperature=0, logprobs=2
    )
    choice = answer.choices[0]
    logprobs = choice.logprobs
    assert logprobs is not None and logprobs.tokens and logprobs.text_offset
    assert "".join(logprobs.tokens) == choice.text
    assert logprobs.token_logprobs and logprobs.top_logprobs
    for number, token in enumerate(logprobs.tokens):
        top, own = logprobs.top_logprobs[number], logprobs.token_logprobs[number]
        assert top[token] == own == max(top.values()) <= 0
        assert 2 <= len(top) <= 3
        assert choice.text[logprobs.text_offset[number] :].startswith(token)


async def test_an_echoed_prompt_has_logprobs_as_well(real: openai.AsyncOpenAI) -> None:
    prompts = ["One, two, three,", "The sea"]
    answer = await real.completions.create(
        model="", prompt=prompts, max_tokens=2, temperature=0, logprobs=1, echo=True, n=2, seed=1
    )
    for choice in answer.choices:
        prompt, logprobs = prompts[choice.index // 2], choice.logprobs
        assert logprobs is not None and logprobs.tokens and logprobs.token_logprobs
        assert logprobs.top_logprobs and logprobs.text_offset
        assert "".join(logprobs.tokens) == choice.text and choice.text.startswith(prompt)
        assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
        assert all(value <= 0 for value in logprobs.token_logprobs[1:])
        sizes = {len(logprobs.tokens), len(logprobs.token_logprobs), len(logprobs.top_logprobs)}
        assert sizes == {len(logprobs.text_offset)}
        for token, offset in zip(logprobs.tokens, logprobs.text_offset, strict=True):
            assert choice.text[offset:].startswith(token)


async def test_offsets_of_an_echo_are_right_behind_control_tokens_and_split_characters(
    real: openai.AsyncOpenAI,
) -> None:
    prompt = "<|im_start|>user\nÖ 🦩 ok<|im_end|>\n<|im_start|>assistant\n"
    answer = await real.completions.create(
        model="", prompt=prompt, max_tokens=3, temperature=0, logprobs=1, echo=True
    )
    choice = answer.choices[0]
    assert choice.text.startswith(prompt) and choice.logprobs is not None
    tokens, offsets = choice.logprobs.tokens or [], choice.logprobs.text_offset or []
    assert tokens.count("<|im_start|>") == 2 and "�" in "".join(tokens)
    for token, offset in zip(tokens, offsets, strict=True):
        start = token.partition("�")[0]
        assert choice.text[offset:].startswith(start), (token, offset)
    assert offsets == sorted(offsets)
    assert offsets[tokens.index("user")] == len("<|im_start|>")
    assert choice.text[offsets[len(tokens) - 4] :].startswith(tokens[-4])


def test_offsets_count_characters_however_their_bytes_are_split() -> None:
    text = "aÖ🦩b"
    for size in range(1, 6):
        data = text.encode()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        offsets, before = TextOffsets(7), b""
        for piece in pieces:
            assert offsets.of(piece) == 7 + len(before.decode("utf-8", "ignore"))
            before += piece


async def test_the_clients_own_types_accept_the_answer(
    strict: openai.AsyncOpenAI, puppet: PuppetEngine
) -> None:
    puppet.answer = "ok"
    whole = await strict.completions.create(model="puppet", prompt=["a", "b"], echo=True)
    assert [choice.text for choice in whole.choices] == ["aok", "bok"]
    assert whole.object == "text_completion" and whole.id.startswith("cmpl-")


async def test_the_usage_comes_last_and_runs_along_if_asked_for(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = "ok"
    plain = await chunks(http)
    assert all("usage" not in chunk for chunk in plain)
    last = (await chunks(http, prompt=["a", "bc"], stream_options={"include_usage": True}))[-1]
    assert last["choices"] == [] and last["usage"]["prompt_tokens"] == 3
    assert last["usage"]["completion_tokens"] == 10
    options = {"include_usage": True, "continuous_usage_stats": True}
    running = await chunks(http, stream_options=options)
    assert all(chunk["usage"]["prompt_tokens"] == 4 for chunk in running)


async def test_logprobs_of_a_stream_go_on_where_the_last_chunk_ended(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    asking = asyncio.create_task(chunks(http, logprobs=0, echo=None))
    await puppet.next_request()
    for text in ("ab", "c"):
        puppet.say(text, logprobs=tuple(TokenLogprob(ord(c), c.encode(), -1.0) for c in text))
        await asyncio.sleep(0.05)
    puppet.finish()
    offsets = [
        offset
        for chunk in await asking
        if chunk["choices"][0]["logprobs"]
        for offset in chunk["choices"][0]["logprobs"]["text_offset"]
    ]
    assert offsets == [0, 1, 2]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": [1.5]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": ["a"] * (CHOICES_MAX + 1)}, "prompt"),
        ({"prompt": ["a"] * 20, "n": 2}, "n"),
        ({"n": CHOICES_MAX + 1}, "n"),
        ({"n": 0}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"suffix": "end"}, "suffix"),
        ({"echo": True, "logprobs": 0, "stream": True}, "echo"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 9}, "temperature"),
        ({"stream_options": {}}, "stream_options"),
        ({"guided_json": {}}, "guided_json"),
        ({"logit_bias": {"01": 1}}, "logit_bias"),
        ({"model": "other"}, "model"),
        ({"prompt": "x" * 60_000}, "prompt"),
        *(({name: {"a": 1}}, name) for name in sorted(CHAT_ONLY)),
    ],
)
async def test_a_request_that_can_not_be_obeyed_is_refused_by_its_field(
    http: httpx2.AsyncClient, puppet: PuppetEngine, fields: dict[str, Any], param: str
) -> None:
    reply = await http.post(PATH, json={"prompt": "Once", **fields})
    assert reply.status_code in (400, 404), reply.text
    assert reply.json()["error"]["param"] == param
    assert not puppet.requests


async def test_errors_of_the_engine_speak_of_the_prompt(real: openai.AsyncOpenAI) -> None:
    unfit: list[Any] = ["word " * 5000, [49152], [-1]]
    for prompt in unfit:
        with pytest.raises(openai.BadRequestError) as refused:
            await real.completions.create(model="", prompt=prompt)
        assert refused.value.param == "prompt"


async def test_other_fields_are_named(http: httpx2.AsyncClient, puppet: PuppetEngine) -> None:
    puppet.answer = "ok"
    body = {"prompt": "Once", "user": "me", "colour": 1, "suffix": None, "best_of": 1}
    answer = (await http.post(PATH, json=body)).json()
    assert [each["field"] for each in answer["warnings"]] == ["user", "colour"]
    streamed = await chunks(http, prompt=["a", "b"], colour=1)
    assert ["warnings" in chunk for chunk in streamed] == [False] * (len(streamed) - 1) + [True]


async def test_a_prompt_is_cut_where_the_request_says(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = "ok"
    fields = {"prompt": "x" * 5000 + "end", "truncate_prompt_tokens": 3, "echo": True}
    assert (await http.post(PATH, json=fields)).json()["choices"][0]["text"] == "endok"


async def test_sampling_and_forms_reach_the_engine(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    puppet.answer = "ok"
    fields = {
        "prompt": ["a", "b"],
        "n": 2,
        "seed": 7,
        "temperature": 0.5,
        "stop": "x",
        "min_tokens": 3,
        "structured_outputs": {"choice": ["a", "b"]},
        "session_id": "s",
        "cache_salt": "salt",
    }
    assert (await http.post(PATH, json=fields)).status_code == 200
    requests = list(puppet.requests.values())
    assert [request.sampling.seed for request in requests] == [7, 8, 9, 10]
    assert {request.sampling.temperature for request in requests} == {0.5}
    assert {(request.stop, request.min_tokens) for request in requests} == {(("x",), 3)}
    assert all(request.grammar for request in requests)
    # Only one at a time can go on with a session; what they share is the salt.
    assert {(r.session.session_id, r.session.cache_salt) for r in requests} == {(None, "salt")}


async def test_one_that_fails_ends_all_with_its_error(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    for stream in (False, True):
        body = {"prompt": ["a", "b"], "stream": stream}
        asking = asyncio.create_task(http.post(PATH, json=body))
        while len(puppet.requests) < 2:
            await asyncio.sleep(0.005)
        first, second = puppet.requests
        puppet.say("Well", second)
        puppet.finish("error", id=second, error=EngineFailed("the kernels failed"))
        reply = await asking
        assert "engine_failed" in reply.text
        assert reply.status_code == (200 if stream else 500)
        await puppet.idle()
        assert puppet.aborted == [first]
        puppet.requests.clear()
        puppet.aborted.clear()


async def test_where_one_finds_no_place_none_goes_on(
    http: httpx2.AsyncClient, puppet: PuppetEngine
) -> None:
    submit = puppet.submit

    def submit_one(request: Any, listener: Any) -> None:
        if puppet.requests:
            raise QueueFull("full")
        submit(request, listener)

    puppet.submit = submit_one  # type: ignore[method-assign]
    reply = await http.post(PATH, json={"prompt": ["a", "b", "c"]})
    assert reply.status_code == 429
    await puppet.idle()
    assert puppet.aborted == list(puppet.requests)
