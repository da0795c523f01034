"""One engine computes a prompt, another one goes on with its KV and writes the same answer."""

from typing import Any

from roost_inference.kv.block import BLOCK_TOKENS, TAIL_TOKENS_MIN
from roost_inference.testing.peers.handover_side import TEXT, Side, side, text_of, told, until


async def test_the_decode_side_computes_one_token_and_writes_the_same(
    prefill: Side, decode: Side
) -> None:
    expected = text_of(await prefill.ask(TEXT, cache_salt="alone"))
    offer = await prefill.offer()
    assert offer["do_remote_prefill"] is True
    assert offer["remote_num_tokens"] > 3 * 128
    computed = sum(decode.backend.decoded)
    answer = await decode.ask(TEXT, offer)
    assert text_of(answer) == expected
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == told(answer)["tokens"]
    assert told(answer)["tokens"] == answer["usage"]["prompt_tokens"] - 1
    assert sum(decode.backend.decoded) - computed == 6, "the last token, and five of the answer"
    await until(lambda: prefill.leases() == (0, {"done": 1}))
    assert decode.handover.figures.tokens == {"tcp": offer["remote_num_tokens"]}


async def test_a_stream_goes_on_as_well(prefill: Side, decode: Side) -> None:
    offer = await prefill.offer()
    response = await decode.post(TEXT, offer, stream=True)
    assert response.status_code == 200 and response.text.rstrip().endswith("[DONE]")
    assert decode.handover.figures.used_tokens > 0


async def test_completions_are_handed_over(prefill: Side, decode: Side) -> None:
    body: dict[str, Any] = {"prompt": TEXT, "max_tokens": 1, "temperature": 0, "ignore_eos": True}
    transfer = {"kv_transfer_params": {"do_remote_decode": True}}
    first = (await prefill.http.post("/v1/completions", json={**body, **transfer})).json()
    body["max_tokens"] = 5
    expected = (await prefill.http.post("/v1/completions", json=body)).json()
    body["kv_transfer_params"] = first["kv_transfer_params"]
    answer = (await decode.http.post("/v1/completions", json=body)).json()
    assert answer["choices"][0]["text"] == expected["choices"][0]["text"]
    tail = len(TEXT) % BLOCK_TOKENS
    assert told(answer)["tokens"] == len(TEXT) - tail and tail < TAIL_TOKENS_MIN


async def test_engines_of_another_build_compute_and_release(prefill: Side) -> None:
    async with side(identity="other") as decode:
        offer = await prefill.offer()
        answer = await decode.ask(TEXT, offer)
        assert "handover" not in answer["metrics"]["kv"]
        assert decode.handover.figures.failures == {"compat": 1}
    await until(lambda: prefill.leases() == (0, {"released": 1}))


async def test_a_prompt_of_another_salt_is_not_found(prefill: Side, decode: Side) -> None:
    offer = await prefill.offer(cache_salt="mine")
    answer = await decode.ask(TEXT, offer, cache_salt="yours")
    assert told(answer)["tokens"] == 0
    assert decode.handover.figures.failures == {"missing": 1}
    await until(lambda: prefill.leases()[0] == 0)


async def test_health_and_metrics_tell_of_it(prefill: Side, decode: Side) -> None:
    offer = await prefill.offer()
    assert (await prefill.http.get("/health")).json()["handover"]["leases"] == {"open": 1}
    await decode.ask(TEXT, offer)
    health = (await decode.http.get("/health")).json()["handover"]
    assert health["role"] == "decode"
    assert health["tokens"] == {"tcp": offer["remote_num_tokens"]}
    text = (await decode.http.get("/metrics")).text
    assert 'roost_kv_handover_tokens_total{model_name="toy",source="tcp"}' in text
    assert 'source="external_kv_transfer"' in text
    await until(lambda: prefill.leases()[0] == 0)
    text = (await prefill.http.get("/metrics")).text
    assert 'roost_kv_leases_ended_total{model_name="toy",state="done"} 1.0' in text


async def test_retained_tails_outlive_longer_ones(prefill: Side, decode: Side) -> None:
    """A longer turn of the same session would drop the tail that is offered."""
    offer = await prefill.offer(session_id="s")
    first = await prefill.ask(TEXT, session_id="s", max_tokens=40)
    await until(lambda: not prefill.engine.has_tasks)
    answer = await decode.ask(TEXT, offer)
    assert told(answer)["tokens"] == answer["usage"]["prompt_tokens"] - 1
    assert text_of(first).startswith(text_of(answer))
